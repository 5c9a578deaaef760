/* Rows of scores: what attention's passes do between their products. */
#ifndef MLA_AUTOGRAD_KERNELS_FLASH_ROWS_H
#define MLA_AUTOGRAD_KERNELS_FLASH_ROWS_H

#include "autograd/kernels/flash_tiles.h"

/* Of one query, over the keys seen so far: the maximum of its scores, the sum of their exponentials relative to it, and
 * what these weigh of the values (V). */
typedef struct {
    float *max, *total, *sum;
} mla_online_softmax;

/* Takes in the scores (width) of a stretch of keys, of which the query sees `seen`: they become exponentials relative
 * to the new maximum, 0 for keys that it does not see; what was summed before is rescaled. */
void mla_flash_take_scores(const mla_flash *a, mla_stretch seen, int64_t width, float *s, mla_online_softmax x);

/* Writes the output and the log-sum-exp of query t. */
void mla_flash_finish(const mla_flash *a, const mla_flash_operands *x, int64_t b, int64_t t, int64_t h,
                      mla_online_softmax done);

float mla_flash_dot(int64_t count, const float *x, const float *y);

/* A row of scores (width) to P, and of dP to scale * dS; 0 for keys that the query does not see. */
typedef struct {
    float *scores, *dp;
    float lse, dot; /* of the query: its log-sum-exp, and dO . O */
} mla_score_row;
void mla_flash_score_gradient(const mla_flash *a, mla_stretch seen, int64_t width, mla_score_row x);

#endif
