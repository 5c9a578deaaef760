/* Splits text into the pieces within which BPE merges, as the pre-tokenizers of Hugging Face's `tokenizers`
 * do: each pattern in turn cuts every piece at the beginning and the end of its matches.
 *
 * There the patterns are read by Oniguruma, here by PCRE2. To mean the same in both, a pattern may contain
 * characters, classes, \p{..} with a one- or two-letter category, \s \S \d \D \r \n \t \f \x{..}, groups
 * (also
 * (?i: (?= (?! (?<= (?<! (?>), alternatives, repetitions, ^ and $ (beginning and end of a line). The rest
 * (\w, \b, nested classes, scripts, ...) is refused. So is a pattern that can match the empty string. */
#ifndef MLA_DATA_TOKENIZER_SPLIT_H
#define MLA_DATA_TOKENIZER_SPLIT_H

#include "autograd/base/context.h"

typedef struct mla_split mla_split;                 /* compiled patterns; shared by threads */
typedef struct mla_split_scratch mla_split_scratch; /* what matching writes to; one per thread */

/* Called with every piece, in the order of the text; together they are the text. */
typedef mla_status mla_split_visit(void *user, const char *piece, int64_t length);

/* What becomes of the matches of a pattern: pieces of their own, or joined to what is beside them, as the behaviors of
 * `tokenizers` are. Neighbouring matches stay apart but with MLA_SPLIT_CONTIGUOUS. */
typedef enum {
    MLA_SPLIT_ISOLATED,
    MLA_SPLIT_MERGED_WITH_PREVIOUS,
    MLA_SPLIT_MERGED_WITH_NEXT,
    MLA_SPLIT_CONTIGUOUS
} mla_split_behavior;

/* Compiles `count` patterns (0 is allowed: the text is one piece). Error: MLA_ERROR_FORMAT names the pattern
 * and what is wrong with it. */
mla_status mla_split_create(mla_context *context, mla_split **out, const char *const *patterns, int count);
void mla_split_destroy(mla_split *split);

/* Sets the behavior of one pattern, at first MLA_SPLIT_ISOLATED; invert: what it does not match counts as its matches.
 */
void mla_split_set_behavior(mla_split *split, int pattern, mla_split_behavior behavior, bool invert);

mla_status mla_split_scratch_create(mla_context *context, mla_split_scratch **out);
void mla_split_scratch_destroy(mla_split_scratch *scratch);

/* Visits the pieces of any bytes. Stretches of invalid UTF-8 are pieces of their own; the patterns see the
 * valid text on either side as separate texts. Stops at the first status that is not MLA_OK. */
mla_status mla_split_run(mla_context *context, const mla_split *split, mla_split_scratch *scratch, const char *bytes,
                         int64_t length, mla_split_visit *visit, void *user);

/* The next match of the first pattern in valid UTF-8, from `at` on; *begin and *end are `length` if there is none. */
mla_status mla_split_find(mla_context *context, const mla_split *split, mla_split_scratch *scratch, const char *bytes,
                          int64_t length, int64_t at, int64_t *begin, int64_t *end);

#endif
