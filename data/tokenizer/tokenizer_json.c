/* tokenizer.json, read. Nothing in the file is trusted: each id must be that of one token at most; every byte must have
 * a token; merges must join tokens that exist into one that exists. The parts that say what is done to text are read by
 * normalizer.c, pre_tokenizer.c, decoder.c and frame.c. */
#include "autograd/base/utf8.h"
#include "autograd/json/tree.h"
#include "data/tokenizer/byte_alphabet.h"
#include "data/tokenizer/tokenizer_internal.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { largest_id = (1 << 24) - 1 };

typedef struct {
    mla_context *context;
    const char *name; /* of the file */
    json_t *root, *model, *vocabulary, *added;
    mla_tokenizer *tokenizer;
    int64_t text_length; /* of tokenizer->text so far; it is as long as the JSON, which is enough */
    mla_byte_alphabet alphabet;
} reader_t;

__attribute__((format(printf, 2, 3))) static mla_status refuse(const reader_t *r, const char *format, ...) {
    char words[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    return mla_fail(r->context, MLA_ERROR_FORMAT, "%s: %s", r->name, words);
}

/* --- Vocabulary ---------------------------------------------------------------------------------------- */

/* The place of an id that has no token yet. */
static mla_status new_token(reader_t *r, const char *text, const json_t *id, mla_token **out) {
    const json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
    if (value < 0 || value >= r->tokenizer->size) return refuse(r, "token \"%.80s\" has no id, or one below 0", text);
    *out = &r->tokenizer->tokens[value];
    if ((*out)->bytes) return refuse(r, "id %lld belongs to two tokens, one is \"%.80s\"", (long long)value, text);
    (*out)->bytes = (*out)->spelling = r->tokenizer->text + r->text_length;
    return MLA_OK;
}

static mla_status read_added_token(reader_t *r, const json_t *entry) {
    const char *content = mla_json_text_of(entry, "content");
    const json_t *id = json_object_get(entry, "id"), *in_model = json_object_get(r->vocabulary, content);
    mla_tokenizer *t = r->tokenizer;
    mla_token *token = NULL;
    if (!*content) return refuse(r, "added_tokens: an entry has no content");
    if (in_model && !json_equal(id, in_model))
        return refuse(r, "token \"%.80s\" has one id in added_tokens and another in the vocabulary", content);
    mla_status status = new_token(r, content, id, &token);
    if (status) return status;
    token->length = token->spelled = token->taken = (int64_t)strlen(content);
    token->special = mla_json_is_on(entry, "special", false);
    memcpy(t->text + r->text_length, content, (size_t)token->length);
    r->text_length += token->length;
    t->added[t->added_count++] = (mla_added_token){.id = (int32_t)json_integer_value(id),
                                                   .content = token->bytes,
                                                   .content_length = token->length,
                                                   .special = token->special,
                                                   .lstrip = mla_json_is_on(entry, "lstrip", false),
                                                   .rstrip = mla_json_is_on(entry, "rstrip", false),
                                                   .single_word = mla_json_is_on(entry, "single_word", false),
                                                   .normalized = mla_json_is_on(entry, "normalized", !token->special)};
    return MLA_OK;
}

static mla_status read_added(reader_t *r) {
    mla_tokenizer *t = r->tokenizer;
    mla_status status = MLA_OK;
    t->added = mla_alloc(r->context, (int64_t)json_array_size(r->added), sizeof *t->added, "added tokens");
    if (!t->added) return MLA_ERROR_MEMORY;
    for (size_t i = 0; i < json_array_size(r->added) && !status; i++)
        status = read_added_token(r, json_array_get(r->added, i));
    return status;
}

static bool is_there(const mla_tokenizer *t, const char *text, const json_t *id) {
    const json_int_t value = json_integer_value(id);
    const mla_token *token = value >= 0 && value < t->size ? &t->tokens[value] : NULL;
    return token && token->bytes && token->length == (int64_t)strlen(text) &&
           !memcmp(token->bytes, text, (size_t)token->length);
}

/* How the vocabulary writes a token; spelled as an added token, it is there already. */
static mla_status read_spelling(reader_t *r, const char *text, const json_t *id, mla_token **token) {
    mla_tokenizer *t = r->tokenizer;
    char *room = t->text + r->text_length;
    const int64_t length = (int64_t)strlen(text);
    *token = NULL;
    if (is_there(t, text, id)) {
        *token = &t->tokens[json_integer_value(id)];
        return MLA_OK;
    }
    const mla_status status = new_token(r, text, id, token);
    if (status) return status;
    if (t->byte_level) (*token)->length = mla_byte_alphabet_read(&r->alphabet, room, text);
    else memcpy(room, text, (size_t)((*token)->length = length));
    if ((*token)->length <= 0 && t->byte_level)
        return refuse(r, "token \"%.80s\" is not written in the byte-level alphabet", text);
    (*token)->spelled = (*token)->length;
    (*token)->taken = !t->byte_level && mla_fallback_byte(text, length) >= 0 ? 1 : (*token)->length;
    r->text_length += (*token)->length;
    return MLA_OK;
}

/* byte_fallback: a character that is a token is looked up in text. */
static mla_status note_character(reader_t *r, const char *text, const mla_token *token) {
    mla_tokenizer *t = r->tokenizer;
    const int64_t length = (int64_t)strlen(text);
    if (t->byte_level || token->special || !length || mla_utf8_length(text, length) != length) return MLA_OK;
    mla_piece *piece = mla_piece_insert(r->context, &t->characters, text, length);
    if (piece) piece->value = token - t->tokens;
    return piece ? MLA_OK : MLA_ERROR_MEMORY;
}

static mla_status read_vocabulary(reader_t *r) {
    const char *text;
    json_t *id;
    mla_token *token;
    json_object_foreach(r->vocabulary, text, id) {
        mla_status status = read_spelling(r, text, id, &token);
        if (!status) status = note_character(r, text, token);
        if (status) return status;
    }
    return MLA_OK;
}

/* Ids reach from 0 to the largest that a token has; some may have none. */
static mla_status find_size(reader_t *r) {
    const char *text;
    json_t *id, *entry;
    json_int_t largest = -1;
    size_t i;
    json_object_foreach(r->vocabulary, text, id) if (json_integer_value(id) > largest) largest = json_integer_value(id);
    json_array_foreach(r->added, i, entry) {
        id = json_object_get(entry, "id");
        if (json_integer_value(id) > largest) largest = json_integer_value(id);
    }
    if (largest < 0 || largest > largest_id)
        return refuse(r, "the largest id of a token is %lld: expected 0 to %d", (long long)largest, largest_id);
    r->tokenizer->size = (int32_t)largest + 1;
    return MLA_OK;
}

static mla_status read_tokens(reader_t *r, int64_t json_length) {
    mla_tokenizer *t = r->tokenizer;
    if (find_size(r)) return mla_error_status(r->context);
    t->tokens = mla_alloc(r->context, t->size, sizeof *t->tokens, "the vocabulary");
    t->text = mla_alloc(r->context, json_length, 1, "the vocabulary");
    if (!t->tokens || !t->text) return MLA_ERROR_MEMORY;
    mla_status status = read_added(r);
    return status ? status : read_vocabulary(r);
}

static mla_status read_bytes(reader_t *r) {
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        if (r->tokenizer->byte_level) mla_byte_alphabet_write(&r->alphabet, text, &(char){(char)byte}, 1);
        else snprintf(text, sizeof text, "<0x%02X>", (unsigned)byte);
        const json_t *id = json_object_get(r->vocabulary, text);
        if (!id)
            return refuse(r, "the vocabulary has no token \"%s\" for the byte 0x%02x; all 256 are needed", text, byte);
        r->tokenizer->byte_ids[byte] = (int32_t)json_integer_value(id);
    }
    return MLA_OK;
}

static void find_separator(mla_tokenizer *t) {
    const char *const names[] = {mla_endoftext, "<|end_of_text|>", "<｜end▁of▁sentence｜>", "</s>", "<eos>"};
    t->separator = -1;
    for (size_t n = 0; n < sizeof names / sizeof *names && t->separator < 0; n++)
        t->separator = mla_tokenizer_added(t, names[n]);
}

/* --- Merges -------------------------------------------------------------------------------------------- */

/* The two parts of a merge, "a b" or ["a", "b"], as one text that must be a token; *left is a's length. */
static mla_status join_merge(const reader_t *r, const json_t *merge, size_t at, char **joined, size_t *left) {
    const char *text = json_string_value(merge), *space = text ? strchr(text, ' ') : NULL;
    const char *a = space ? text : json_string_value(json_array_get(merge, 0));
    const char *b = space ? space + 1 : json_string_value(json_array_get(merge, 1));
    if (!a || !b || (text && strchr(b, ' ')) || (!text && json_array_size(merge) != 2))
        return refuse(r, "merge %zu is not a pair of tokens", at);
    *left = space ? (size_t)(space - text) : strlen(a);
    if (!(*joined = mla_alloc(r->context, (int64_t)(*left + strlen(b) + 1), 1, "a merge"))) return MLA_ERROR_MEMORY;
    memcpy(*joined, a, *left);
    strcpy(*joined + *left, b);
    return MLA_OK;
}

static mla_status id_of(const reader_t *r, const char *token, size_t length, size_t at, int32_t *id) {
    const json_t *entry = json_object_getn(r->vocabulary, token, length);
    if (!entry) return refuse(r, "merge %zu: \"%.*s\" is not in the vocabulary", at, (int)length, token);
    *id = (int32_t)json_integer_value(entry);
    return MLA_OK;
}

static mla_status read_merge(reader_t *r, const json_t *merge, size_t at) {
    mla_tokenizer *t = r->tokenizer;
    char *joined = NULL;
    size_t left = 0;
    int32_t a = 0, b = 0, whole = 0;
    mla_status status = join_merge(r, merge, at, &joined, &left);
    if (!status) status = id_of(r, joined, left, at, &a);
    if (!status) status = id_of(r, joined + left, strlen(joined + left), at, &b);
    if (!status) status = id_of(r, joined, strlen(joined), at, &whole);
    if (!status && !t->tokens[whole].special) { /* text never becomes a special token by merging */
        const int64_t value = (int64_t)mla_pair((int32_t)at, whole);
        int64_t *slot = mla_pair_insert(r->context, &t->merges, mla_pair(a, b), 0);
        if (slot) *slot = value;
        else status = MLA_ERROR_MEMORY;
    }
    free(joined);
    return status;
}

static mla_status read_merges(reader_t *r) {
    const json_t *merges = json_object_get(r->model, "merges");
    mla_status status = MLA_OK;
    if (!json_is_array(merges) || json_array_size(merges) > INT32_MAX) return refuse(r, "model: no merges");
    for (size_t i = 0; i < json_array_size(merges) && !status; i++)
        status = read_merge(r, json_array_get(merges, i), i);
    return status;
}

/* ignore_merges: a piece that is a token becomes that token, whatever the merges would make of it. */
static mla_status read_whole_pieces(reader_t *r) {
    mla_tokenizer *t = r->tokenizer;
    const char *text;
    json_t *id;
    if (!mla_json_is_on(r->model, "ignore_merges", false)) return MLA_OK;
    json_object_foreach(r->vocabulary, text, id) {
        const mla_token *token = &t->tokens[json_integer_value(id)];
        if (token->special) continue;
        mla_piece *piece = mla_piece_insert(r->context, &t->whole, token->bytes, token->length);
        if (!piece) return MLA_ERROR_MEMORY;
        piece->value = json_integer_value(id);
    }
    return MLA_OK;
}

/* --- The whole ----------------------------------------------------------------------------------------- */

static mla_status read_model(reader_t *r) {
    const char *type = mla_json_text_of(r->model, "type");
    const json_t *dropout = json_object_get(r->model, "dropout");
    /* Files of old versions have no type; what has merges is BPE. */
    if (strcmp(*type || !json_object_get(r->model, "merges") ? type : "BPE", "BPE"))
        return refuse(
            r,
            "model \"%.40s\" is not supported, only BPE with a byte-level alphabet or byte_fallback: take a model "
            "with such a tokenizer, or train one (mla prepare --tokenizer bpe)",
            type);
    if (!json_is_object(r->vocabulary)) return refuse(r, "model: no vocabulary");
    if (json_number_value(dropout) != 0) return refuse(r, "model: dropout is not supported");
    if (*mla_json_text_of(r->model, "continuing_subword_prefix") || *mla_json_text_of(r->model, "end_of_word_suffix"))
        return refuse(r, "model: continuing_subword_prefix and end_of_word_suffix are not supported");
    return MLA_OK;
}

/* How the vocabulary writes what is no character of it. */
static mla_status read_alphabet(reader_t *r) {
    const mla_status status = mla_tokenizer_read_pre_tokenizer(r->context, r->tokenizer,
                                                               json_object_get(r->root, "pre_tokenizer"), r->name);
    if (status || r->tokenizer->byte_level || mla_json_is_on(r->model, "byte_fallback", false)) return status;
    return refuse(r, "model: neither a ByteLevel pre_tokenizer nor byte_fallback: characters that are not in the "
                     "vocabulary would be lost; take a model with a tokenizer that writes any text, or train one (mla "
                     "prepare --tokenizer bpe)");
}

static mla_status keep_json(reader_t *r) {
    mla_tokenizer *t = r->tokenizer;
    t->json = json_dumps(r->root, JSON_INDENT(2));
    if (!t->json) return mla_fail(r->context, MLA_ERROR_MEMORY, "no memory for the JSON of %s", r->name);
    t->json_length = (int64_t)strlen(t->json);
    t->hash = XXH3_64bits(t->json, (size_t)t->json_length);
    return MLA_OK;
}

static mla_status read_document(reader_t *r, int64_t length) {
    r->model = json_object_get(r->root, "model");
    r->vocabulary = json_object_get(r->model, "vocab");
    r->added = json_object_get(r->root, "added_tokens");
    mla_byte_alphabet_make(&r->alphabet);
    mla_status status = read_model(r);
    if (!status)
        status = mla_normalizer_read(r->context, &r->tokenizer->normalizer, json_object_get(r->root, "normalizer"),
                                     r->name);
    if (!status) status = read_alphabet(r);
    if (!status) status = read_tokens(r, length);
    if (!status) status = read_bytes(r);
    if (!status) status = read_merges(r);
    if (!status) status = read_whole_pieces(r);
    if (!status) status = mla_tokenizer_index_added(r->context, r->tokenizer);
    if (!status && !r->tokenizer->byte_level)
        status = mla_tokenizer_read_decoder(r->context, r->tokenizer, json_object_get(r->root, "decoder"), r->name);
    if (!status)
        status = mla_tokenizer_read_frame(r->context, r->tokenizer, json_object_get(r->root, "post_processor"),
                                          r->name);
    if (status) return status;
    find_separator(r->tokenizer);
    return keep_json(r);
}

mla_status mla_tokenizer_parse_named(mla_context *context, mla_tokenizer **out, const char *json, int64_t length,
                                     const char *name) {
    reader_t r = {.context = context, .name = name};
    char where[PATH_MAX + 2];
    *out = NULL;
    snprintf(where, sizeof where, "%s: ", name);
    mla_status status = mla_json_read(context, where, json, length, 0, &r.root);
    if (status) return status;
    r.tokenizer = mla_alloc(context, 1, sizeof *r.tokenizer, "a tokenizer");
    status = r.tokenizer ? read_document(&r, length) : MLA_ERROR_MEMORY;
    json_decref(r.root);
    if (status) mla_tokenizer_destroy(r.tokenizer);
    else *out = r.tokenizer;
    return status;
}
