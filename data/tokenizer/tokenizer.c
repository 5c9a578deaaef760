#include "data/tokenizer/tokenizer.h"

#include "autograd/base/file.h"
#include "data/tokenizer/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

const char *const mla_endoftext = "<|endoftext|>";

enum { largest_file = 256 << 20 }; /* the largest tokenizers known have some 30 MB */

mla_status mla_tokenizer_parse(mla_context *context, mla_tokenizer **out, const char *json, int64_t length) {
    return mla_tokenizer_parse_named(context, out, json, length, "tokenizer");
}

mla_status mla_tokenizer_load(mla_context *context, mla_tokenizer **out, const char *path) {
    char *json;
    int64_t length;
    *out = NULL;
    mla_status status = mla_file_read(context, &json, &length, path, largest_file);
    if (!status) status = mla_tokenizer_parse_named(context, out, json, length, path);
    free(json);
    return status;
}

mla_status mla_tokenizer_save(mla_context *context, const mla_tokenizer *tokenizer, const char *path) {
    return mla_file_write(context, path, tokenizer->json, tokenizer->json_length);
}

char *mla_tokenizer_json(mla_context *context, const mla_tokenizer *tokenizer) {
    char *copy = mla_alloc(context, tokenizer->json_length + 1, 1, "the tokenizer's JSON");
    if (copy) memcpy(copy, tokenizer->json, (size_t)tokenizer->json_length);
    return copy;
}

uint64_t mla_tokenizer_hash(const mla_tokenizer *tokenizer) { return tokenizer->hash; }
int32_t mla_tokenizer_vocab_size(const mla_tokenizer *tokenizer) { return tokenizer->size; }
int32_t mla_tokenizer_separator(const mla_tokenizer *tokenizer) { return tokenizer->separator; }

int32_t mla_tokenizer_added(const mla_tokenizer *tokenizer, const char *text) {
    for (int64_t i = 0; i < tokenizer->added_count; i++) {
        const mla_added_token *added = &tokenizer->added[i];
        if (added->content_length == (int64_t)strlen(text) && !memcmp(added->content, text, strlen(text)))
            return added->id;
    }
    return -1;
}

void mla_tokenizer_destroy(mla_tokenizer *tokenizer) {
    if (!tokenizer) return;
    for (int64_t i = 0; i < tokenizer->added_count; i++) free(tokenizer->added[i].pattern);
    mla_normalizer_destroy(tokenizer->normalizer);
    mla_split_destroy(tokenizer->split);
    mla_pair_free(&tokenizer->merges);
    mla_piece_free(&tokenizer->whole);
    mla_piece_free(&tokenizer->characters);
    free(tokenizer->decoded.bytes);
    free(tokenizer->json);
    free(tokenizer->tokens);
    free(tokenizer->text);
    free(tokenizer->added);
    free(tokenizer->before.ids);
    free(tokenizer->behind.ids);
    free(tokenizer);
}

mla_status mla_tokenizer_token(mla_context *context, const mla_tokenizer *tokenizer, int32_t id, const char **bytes,
                               int64_t *length) {
    if (id < 0 || id >= tokenizer->size)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "token id %d is not in the vocabulary of %d (0 to %d)", id,
                        tokenizer->size, tokenizer->size - 1);
    *bytes = tokenizer->tokens[id].bytes ? tokenizer->tokens[id].bytes : "";
    *length = tokenizer->tokens[id].length;
    return MLA_OK;
}

mla_status mla_tokenizer_spelling(mla_context *context, const mla_tokenizer *tokenizer, int32_t id, const char **bytes,
                                  int64_t *length) {
    const mla_status status = mla_tokenizer_token(context, tokenizer, id, bytes, length);
    if (status || !tokenizer->tokens[id].bytes) return status;
    *bytes = tokenizer->tokens[id].spelling;
    *length = tokenizer->tokens[id].spelled;
    return MLA_OK;
}

mla_status mla_tokenizer_decode_on(mla_context *context, const mla_tokenizer *tokenizer, const int32_t *ids,
                                   int64_t count, mla_bytes *out) {
    const int64_t before = out->count;
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < count && !status; i++) {
        const char *bytes;
        int64_t length;
        status = mla_tokenizer_token(context, tokenizer, ids[i], &bytes, &length);
        if (!status) status = mla_bytes_append(context, out, bytes, length);
    }
    if (status) out->count = before;
    return status;
}

mla_status mla_tokenizer_decode(mla_context *context, const mla_tokenizer *tokenizer, const int32_t *ids, int64_t count,
                                mla_bytes *out) {
    if (!count) return MLA_OK;
    const int64_t before = out->count, first = ids[0] >= 0 && ids[0] < tokenizer->size;
    mla_status status = first ? mla_tokenizer_first(context, tokenizer, ids[0], out) : MLA_OK;
    if (!status) status = mla_tokenizer_decode_on(context, tokenizer, ids + first, count - first, out);
    if (status) out->count = before;
    if (out->count == before) return status;
    const int64_t gone = mla_tokenizer_strip(tokenizer, out->bytes + before, out->count - before);
    if (gone) memmove(out->bytes + before, out->bytes + before + gone, (size_t)(out->count - before - gone));
    out->count -= gone;
    return MLA_OK;
}

mla_status mla_tokenizer_encode(mla_context *context, const mla_tokenizer *tokenizer, const char *bytes, int64_t length,
                                mla_id_list *out) {
    mla_encoder *encoder;
    mla_status status = mla_encoder_create(context, &encoder, tokenizer, NULL);
    if (!status) status = mla_encoder_encode(context, encoder, bytes, length, out);
    mla_encoder_destroy(encoder);
    return status;
}
