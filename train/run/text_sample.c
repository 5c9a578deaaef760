#include "train/run/text_sample.h"
#include "train/hugging_face/tokenizer_files.h"

#include <stdlib.h>
#include <string.h>

void mla_text_sample_free(mla_text_sample *s) {
    for (int64_t i = 0; i < s->count; i++) free((char *)s->chunks[i].bytes);
    free(s->chunks);
    *s = (mla_text_sample){0};
}

mla_status mla_text_sample_add(mla_context *context, mla_text_sample *s, const char *bytes, int64_t length) {
    mla_status status = mla_grow(context, &s->chunks, &s->capacity, s->count + 1, sizeof *s->chunks, "a sample");
    if (status || !length) return status;
    char *copy = mla_alloc(context, length, 1, "a sample of the text");
    if (!copy) return MLA_ERROR_MEMORY;
    memcpy(copy, bytes, (size_t)length);
    s->chunks[s->count++] = (mla_text_chunk){copy, length};
    s->bytes += length;
    return MLA_OK;
}

bool mla_tokenizer_is_file(const char *name) { return strcmp(name, "bytes") && strcmp(name, "bpe"); }

mla_status mla_tokenizer_make(mla_context *context, const char *name, int64_t vocab_size, const mla_text_sample *sample,
                              mla_tokenizer **out) {
    const mla_bpe_options bpe = {.vocab_size = (int32_t)vocab_size};
    mla_status status;
    if (!strcmp(name, "bytes")) status = mla_tokenizer_bytes(context, out);
    else if (!strcmp(name, "bpe")) status = mla_tokenizer_train(context, out, &bpe, sample->chunks, sample->count);
    else status = mla_tokenizer_load_files(context, out, name);
    if (status || mla_tokenizer_separator(*out) >= 0) return status;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "%s: the tokenizer has no token that ends a document; add <|endoftext|> to its added_tokens", name);
}
