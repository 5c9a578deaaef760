/* What is done to text before it is split: the normalizers of Hugging Face's `tokenizers`. */
#ifndef MLA_DATA_TOKENIZER_NORMALIZER_H
#define MLA_DATA_TOKENIZER_NORMALIZER_H

#include "data/tokenizer/marked_text.h"
#include "data/tokenizer/split.h"
#include "data/tokenizer/unicode.h"

struct json_t; /* of jansson */

typedef struct mla_normalizer mla_normalizer; /* shared by threads */

/* Reads the normalizer of the tokenizer.json `name`; NULL and null: none, which changes nothing. The caller destroys
 * *out. MLA_ERROR_FORMAT names one that is not supported. */
mla_status mla_normalizer_read(mla_context *context, mla_normalizer **out, const struct json_t *json, const char *name);

/* Whether the first characters of a text may have nothing in their place. NULL: no. */
bool mla_normalizer_may_drop(const mla_normalizer *normalizer);
void mla_normalizer_destroy(mla_normalizer *normalizer);

/* What normalizing writes to; one per thread, begins as {0}. Regular expressions need `split`, which is the owner's. */
typedef struct {
    mla_marked_buffer result, steps[2];
    mla_unicode_scratch unicode;
    mla_split_scratch *split;
} mla_normalizer_scratch;
void mla_normalizer_scratch_free(mla_normalizer_scratch *scratch);

/* The normalized text, in the scratch until the next call, or `text` itself where nothing changes. Stretches of invalid
 * UTF-8 stay as they are; the valid text on either side is normalized as separate texts. NULL for a normalizer is none.
 */
mla_status mla_normalizer_run(mla_context *context, const mla_normalizer *normalizer, mla_normalizer_scratch *scratch,
                              const mla_marked_text *text, mla_marked_text *out);

#endif
