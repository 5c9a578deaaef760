/* Which keys a query sees. */
#ifndef MLA_AUTOGRAD_KERNELS_ATTENTION_MASK_H
#define MLA_AUTOGRAD_KERNELS_ATTENTION_MASK_H

#include <stdbool.h>
#include <stdint.h>

/* A value: the zero value is all keys. */
typedef struct {
    bool causal; /* position t sees positions up to t; needs as many keys as queries */
    /* Documents in one sequence: (B,T), outlives the step; the first position that each one sees, from 0 to itself;
     * needs causal. NULL: 0. Blocks of keys before it cost nothing. */
    const int32_t *starts;
} mla_attention_mask;

#endif
