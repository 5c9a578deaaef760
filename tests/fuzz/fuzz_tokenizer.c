/* Parts of a tokenizer.json and a text, with zeros between them: normalizer, pre_tokenizer, post_processor,
 * added_tokens, decoder, text. With a decoder the vocabulary is one of byte_fallback. Refused, or a tokenizer that
 * writes itself, gives ids of its own for any bytes, and gives those bytes back where nothing in it changes text. */
#include "data/tokenizer/bpe.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS = 5 };
static const char *const keys[PARTS] = {"normalizer", "pre_tokenizer", "post_processor", "added_tokens", "decoder"};

/* The next part of the input; the last is all that is left. */
static json_t *take_part(const uint8_t **data, size_t *size) {
    const uint8_t *end = memchr(*data, 0, *size);
    const size_t length = end ? (size_t)(end - *data) : *size;
    json_t *json = json_loadb((const char *)*data, length, JSON_DECODE_ANY, NULL);
    *data += length + (end != NULL);
    *size -= length + (end != NULL);
    return json;
}

static json_t *fallback_model(void) {
    static const char *const words[] = {"▁", "a", "b", "▁a", "▁ab", "é"};
    json_t *vocabulary = json_object();
    char name[8];
    for (int i = 0; i < 256; i++) {
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
        json_object_set_new(vocabulary, name, json_integer(i));
    }
    for (int i = 0; i < 6; i++) json_object_set_new(vocabulary, words[i], json_integer(257 + i));
    return json_pack("{s:s, s:b, s:b, s:[[s,s],s], s:o}", "type", "BPE", "byte_fallback", 1, "ignore_merges", 0,
                     "merges", "▁", "a", "▁a b", "vocab", vocabulary);
}

/* The byte tokenizer with some of its parts replaced. */
static char *make_json(mla_context *context, const uint8_t **data, size_t *size) {
    mla_tokenizer *bytes;
    if (mla_tokenizer_bytes(context, &bytes)) abort();
    char *text = mla_tokenizer_json(context, bytes);
    json_t *root = json_loads(text, 0, NULL);
    mla_tokenizer_destroy(bytes);
    free(text);
    for (int i = 0; i < PARTS; i++) {
        json_t *part = take_part(data, size);
        if (part && i == PARTS - 1) json_object_set_new(root, "model", fallback_model());
        if (part) json_object_set_new(root, keys[i], part);
    }
    text = json_dumps(root, 0);
    json_decref(root);
    return text;
}

static bool changes_text(const char *text) {
    return !strstr(text, "\"normalizer\": null") || strstr(text, "\"byte_fallback\": true") ||
           strstr(text, "strip\": true");
}

static void check_encoding(mla_context *context, const mla_tokenizer *t, const mla_encoder_options *o, const char *text,
                           int64_t length, bool exact) {
    mla_encoder *encoder;
    mla_id_list ids = {0};
    mla_bytes back = {0};
    if (mla_encoder_create(context, &encoder, t, o)) abort();
    if (mla_encoder_encode(context, encoder, text, length, &ids)) abort();
    if (mla_tokenizer_decode(context, t, ids.ids, ids.count, &back)) abort();
    if (exact && !o->frame && (back.count != length || (length && memcmp(back.bytes, text, (size_t)length)))) abort();
    mla_encoder_destroy(encoder);
    free(ids.ids);
    free(back.bytes);
}

static void check_marks(mla_context *context, const mla_tokenizer *t, const char *text, int64_t length) {
    mla_encoder *encoder;
    mla_id_list ids = {0};
    mla_bytes marks = {0};
    char *asked = malloc((size_t)length + 1);
    for (int64_t i = 0; i < length; i++) asked[i] = text[i] & 1;
    const mla_marked_text marked = {.bytes = text, .marks = asked, .length = length};
    if (mla_encoder_create(context, &encoder, t, NULL)) abort();
    if (mla_encoder_encode_marked(context, encoder, &marked, &ids, &marks) || ids.count != marks.count) abort();
    mla_encoder_destroy(encoder);
    free(ids.ids);
    free(marks.bytes);
    free(asked);
}

static void check(mla_context *context, const mla_tokenizer *t, const char *text, int64_t length) {
    mla_tokenizer *again;
    char *json = mla_tokenizer_json(context, t);
    for (int i = 0; i < 6; i++)
        check_encoding(context, t, &(mla_encoder_options){.added = (mla_added)(i / 2), .frame = i % 2}, text, length,
                       !changes_text(json));
    check_marks(context, t, text, length);
    if (mla_tokenizer_parse(context, &again, json, (int64_t)strlen(json))) abort();
    if (mla_tokenizer_hash(again) != mla_tokenizer_hash(t)) abort();
    mla_tokenizer_destroy(again);
    free(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mla_context *context;
    mla_tokenizer *tokenizer;
    if (mla_context_create(&context, NULL)) return 0;
    char *json = make_json(context, &data, &size);
    const mla_status status = mla_tokenizer_parse(context, &tokenizer, json, (int64_t)strlen(json));
    if (status != mla_error_status(context) || (status && tokenizer)) abort();
    mla_clear_error(context);
    if (!status) check(context, tokenizer, (const char *)data, (int64_t)size);
    mla_tokenizer_destroy(tokenizer);
    mla_context_destroy(context);
    free(json);
    return 0;
}
