/* Python's regular expressions over the names of modules, as adapter_config.json has them, within limits: a pattern
 * from a file may ask for any amount of work. Not for others than train/adapter. */
#ifndef MLA_TRAIN_ADAPTER_PATTERN_H
#define MLA_TRAIN_ADAPTER_PATTERN_H

#include "autograd/base/context.h"

/* Whether `before` PATTERN `behind`, pieces of one expression, match the whole name (re.fullmatch). Where they do and
 * `number` is not NULL, it gets the digits of the group (?P<idx>...), -1 without. MLA_ERROR_FORMAT names a pattern that
 * is none, or asks for too much; `where` begins the message. */
typedef struct {
    const char *before, *pattern, *behind;
} mla_pattern;
mla_status mla_pattern_match(mla_context *context, const char *where, mla_pattern pattern, const char *name, bool *out,
                             int64_t *number);

#endif
