/* From logits to the next token's id: a pure function of the logits, the seed and the position, so that a
 * text can be made again from any place, on any machine that gives the same logits. */
#ifndef MLA_TRAIN_INFERENCE_SAMPLING_H
#define MLA_TRAIN_INFERENCE_SAMPLING_H

#include "autograd/base/context.h"

/* The zero value is greedy. */
typedef struct {
    double temperature; /* divides the logits; 0: greedy, the id with the largest logit, of equals the
                           smallest */
    int64_t top_k;      /* only the k most probable ids are drawn, of equals the smallest; 0: all */
    double top_p;       /* then only the fewest that together have this share of the probability; 0: all */
    uint64_t seed;
    uint64_t sequence; /* of several texts with one seed, which: each has chances of its own */
} mla_sampling;

/* Room for one id while it is weighed. */
typedef struct {
    double weight;
    int32_t id;
} mla_candidate;

/* MLA_ERROR_ARGUMENT names the value that is out of range. */
mla_status mla_sampling_check(mla_context *context, const mla_sampling *sampling);

/* Draws an id in [0, count) for this position of the text; scratch has room for `count` candidates. The
 * options have been checked. MLA_ERROR_NUMERIC where a logit is not finite. */
mla_status mla_sample(mla_context *context, const mla_sampling *sampling, const float *logits, int64_t count,
                      int64_t position, mla_candidate *scratch, int32_t *id);

#endif
