/* The first few of some names for a message, and how many there are. Begins as {0}.
 *
 *     mla_few_names missing = {0};
 *     ... mla_few_names_add(&missing, name) ...
 *     if (missing.count) return mla_fail(..., "%lld are missing: %s", (long long)missing.count, missing.text); */
#ifndef MLA_AUTOGRAD_BASE_FEW_NAMES_H
#define MLA_AUTOGRAD_BASE_FEW_NAMES_H

#include <stdint.h>

typedef struct {
    int64_t count;
    char text[640]; /* "a, b, c, d, ..." */
} mla_few_names;

void mla_few_names_add(mla_few_names *list, const char *name);

#endif
