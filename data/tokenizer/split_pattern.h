/* From Oniguruma's way of writing patterns to PCRE2's (see data/tokenizer/split.h). */
#ifndef MLA_DATA_TOKENIZER_SPLIT_PATTERN_H
#define MLA_DATA_TOKENIZER_SPLIT_PATTERN_H

#include "autograd/base/context.h"

/* Rewrites `pattern` so that PCRE2 (UTF, UCP, MULTILINE, newline LF) matches as Oniguruma does. *out is
 * terminated, free() it. Errors: MLA_ERROR_FORMAT for what means different things in the two. */
mla_status mla_split_translate(mla_context *context, char **out, const char *pattern);

#endif
