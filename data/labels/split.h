/* Which examples are held out, chosen by their content: the same examples, in any order, give the same choice. */
#ifndef MLA_DATA_LABELS_SPLIT_H
#define MLA_DATA_LABELS_SPLIT_H

#include "autograd/base/context.h"

typedef struct {
    uint64_t content; /* hash of what it is */
    int64_t stratum;  /* its class, or what else is to have the same share on both sides */
    bool held_out;    /* out */
} mla_split_row;

/* Of each stratum the share, rounded, but at least one where it has two; rows of equal content go together, so a
 * stratum of equal ones stays in training. With one stratum for all and the hashes of groups as contents, whole groups
 * are held out, about that share of them. share: at least 0, below 1. Only error: MLA_ERROR_MEMORY. */
mla_status mla_split(mla_context *context, int64_t count, mla_split_row *rows, double share);

#endif
