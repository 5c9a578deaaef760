/* The decoder of a tokenizer.json with byte_fallback: what a token of the vocabulary stands for in text. Spaces are
 * written as another character there, and <0x0A> is a byte. Texts lose a space at their beginning, which encoding put
 * there. */
#include "autograd/json/tree.h"
#include "data/tokenizer/tokenizer_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    mla_context *context;
    const char *name; /* of the file */
    mla_tokenizer *tokenizer;
    const char *from, *to; /* what is replaced in a token, and by what; NULL: nothing */
    bool bytes;            /* <0x0A> is the byte 10 */
    bool joined;           /* behind Fuse: what follows is done to the whole text */
} decoder_t;

/* ---- reading ---- */

static mla_status refuse(const decoder_t *d, const char *what) {
    return mla_fail(d->context, MLA_ERROR_FORMAT, "%s: decoder%s", d->name, what);
}

static mla_status set_replacement(decoder_t *d, const char *from, const char *to) {
    if (d->joined) return refuse(d, ": a replacement behind Fuse is not supported");
    if (d->from) return refuse(d, ": a second replacement is not supported");
    d->from = from;
    d->to = to;
    return MLA_OK;
}

static mla_status read_replace(decoder_t *d, const json_t *step) {
    const char *from = mla_json_text_of(json_object_get(step, "pattern"), "String");
    if (!*from) return refuse(d, " Replace: the pattern is no String");
    return set_replacement(d, from, mla_json_text_of(step, "content"));
}

static mla_status read_byte_fallback(decoder_t *d, const json_t *step) {
    (void)step;
    if (d->joined) return refuse(d, " ByteFallback behind Fuse is not supported");
    d->bytes = true;
    return MLA_OK;
}

static mla_status read_fuse(decoder_t *d, const json_t *step) {
    (void)step;
    d->joined = true;
    return MLA_OK;
}

static mla_status read_strip(decoder_t *d, const json_t *step) {
    mla_beginning *b = &d->tokenizer->beginning;
    const json_int_t start = json_integer_value(json_object_get(step, "start"));
    const char *content = mla_json_text_of(step, "content");
    if (start < 0 || start > 255 || json_integer_value(json_object_get(step, "stop")) != 0 || !*content || content[1])
        return refuse(d, " Strip: only some ASCII characters at the start of a text can be taken away");
    if (!d->joined || b->strip) return refuse(d, " Strip is only supported once, behind Fuse");
    b->strip = (int)start;
    b->character = *content;
    return MLA_OK;
}

/* The character that stands for a space is left out of the first token, but where no text begins with one. */
static mla_status read_metaspace(decoder_t *d, const json_t *step) {
    const char *replacement = mla_json_text_of(step, "replacement");
    mla_beginning *b = &d->tokenizer->beginning;
    if (!*replacement || strlen(replacement) >= sizeof b->dropped)
        return refuse(d, " Metaspace: the replacement is not one character");
    if (strcmp(mla_json_text_of(step, "prepend_scheme"), "never") &&
        !json_is_false(json_object_get(step, "add_prefix_space")))
        strcpy(b->dropped, replacement);
    return set_replacement(d, replacement, " ");
}

static mla_status read_step(decoder_t *d, const json_t *step) {
    static const struct {
        const char *type;
        mla_status (*read)(decoder_t *d, const json_t *step);
    } kinds[] = {{"Replace", read_replace},
                 {"ByteFallback", read_byte_fallback},
                 {"Fuse", read_fuse},
                 {"Strip", read_strip},
                 {"Metaspace", read_metaspace}};
    const char *type = mla_json_text_of(step, "type");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(type, kinds[i].type)) return kinds[i].read(d, step);
    return mla_fail(d->context, MLA_ERROR_FORMAT,
                    "%s: decoder \"%.40s\" is not supported: a vocabulary with byte_fallback is read with Replace, "
                    "ByteFallback, Fuse, Strip and Metaspace",
                    d->name, type);
}

static mla_status read_steps(decoder_t *d, const json_t *json) {
    const json_t *step;
    mla_status status = MLA_OK;
    size_t i;
    if (strcmp(mla_json_text_of(json, "type"), "Sequence")) return read_step(d, json);
    json_array_foreach(json_object_get(json, "decoders"), i, step) if (!status) status = read_step(d, step);
    return status;
}

/* ---- carrying out ---- */

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

int mla_fallback_byte(const char *text, int64_t length) {
    if (length != 6 || memcmp(text, "<0x", 3) || text[5] != '>') return -1;
    const int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static mla_status replace(const decoder_t *d, const char *text, int64_t length, mla_bytes *out) {
    mla_status status = MLA_OK;
    for (const char *found; d->from && !status && (found = memmem(text, (size_t)length, d->from, strlen(d->from)));) {
        status = mla_bytes_append(d->context, out, text, found - text);
        if (!status) status = mla_bytes_append(d->context, out, d->to, (int64_t)strlen(d->to));
        length -= found - text + (int64_t)strlen(d->from);
        text = found + strlen(d->from);
    }
    return status ? status : mla_bytes_append(d->context, out, text, length);
}

/* The bytes of all tokens move to a text of their own, in which they are what they stand for. */
static mla_status decode_tokens(decoder_t *d) {
    mla_tokenizer *t = d->tokenizer;
    mla_bytes *out = &t->decoded;
    mla_status status = MLA_OK;
    for (int32_t i = 0; i < t->size && !status; i++) {
        mla_token *token = &t->tokens[i];
        const int byte = token->bytes && d->bytes ? mla_fallback_byte(token->bytes, token->length) : -1;
        const int64_t before = out->count;
        if (!token->bytes) continue;
        status = byte >= 0 ? mla_bytes_append(d->context, out, &(char){(char)byte}, 1)
                           : replace(d, token->bytes, token->length, out);
        token->length = out->count - before;
    }
    const char *at = out->bytes;
    for (int32_t i = 0; i < t->size && !status; i++) {
        if (!t->tokens[i].bytes) continue;
        t->tokens[i].bytes = at ? at : ""; /* where all of them are empty */
        at += t->tokens[i].length;
    }
    return status;
}

mla_status mla_tokenizer_read_decoder(mla_context *context, mla_tokenizer *tokenizer, const json_t *json,
                                      const char *name) {
    decoder_t d = {.context = context, .name = name, .tokenizer = tokenizer};
    const mla_status status = read_steps(&d, json);
    return status ? status : decode_tokens(&d);
}

/* ---- the beginning of a text ---- */

int64_t mla_tokenizer_strip(const mla_tokenizer *tokenizer, const char *bytes, int64_t length) {
    int64_t count = 0;
    while (count < tokenizer->beginning.strip && count < length && bytes[count] == tokenizer->beginning.character)
        count++;
    return count;
}

mla_status mla_tokenizer_first(mla_context *context, const mla_tokenizer *tokenizer, int32_t id, mla_bytes *out) {
    const decoder_t d = {.context = context, .from = tokenizer->beginning.dropped, .to = ""};
    const mla_token *token = &tokenizer->tokens[id];
    const bool whole = !*d.from || (token->length == 1 && token->spelled == 6); /* a byte is no such character */
    return whole ? mla_bytes_append(context, out, token->bytes, token->length)
                 : replace(&d, token->spelling, token->spelled, out);
}
