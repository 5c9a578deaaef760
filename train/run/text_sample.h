/* Copies of texts, for a tokenizer that is trained on them. */
#ifndef MLA_TRAIN_RUN_TEXT_SAMPLE_H
#define MLA_TRAIN_RUN_TEXT_SAMPLE_H

#include "data/tokenizer/bpe.h"
#include "data/tokenizer/tokenizer.h"

enum { MLA_SAMPLE_BYTES = 64 << 20 }; /* that are enough */

/* Begins as {0}; freed by mla_text_sample_free. */
typedef struct {
    mla_text_chunk *chunks;
    int64_t count, capacity;
    int64_t bytes;
} mla_text_sample;

mla_status mla_text_sample_add(mla_context *context, mla_text_sample *sample, const char *bytes, int64_t length);
void mla_text_sample_free(mla_text_sample *sample);

/* Whether a tokenizer is not made here, but read from a file or folder of this name. */
bool mla_tokenizer_is_file(const char *name);

/* The tokenizer that is called so: "bytes"; "bpe", trained on the sample to vocab_size tokens; or a tokenizer.json or
 * the folder of one.
 * Errors: those of the tokenizer; MLA_ERROR_ARGUMENT for one without a token that separates documents. */
mla_status mla_tokenizer_make(mla_context *context, const char *name, int64_t vocab_size, const mla_text_sample *sample,
                              mla_tokenizer **out);

#endif
