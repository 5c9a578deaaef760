/* Products of few rows with a weight, as decoding makes them: bound by reading the weight, which is read once, as it
 * lies, in f32 or bf16. (oneDNN reads f32 at two thirds of this speed, and has no product of bf16 on AVX2.) */
#ifndef MLA_AUTOGRAD_KERNELS_FEW_ROWS_H
#define MLA_AUTOGRAD_KERNELS_FEW_ROWS_H

#include "autograd/kernels/rows.h"

#include <stdbool.h>

/* y (m,n) = x (m,k) Wᵀ [+ bias (n)], W (n,k); each of f32 or bf16, the sums f32. */
typedef struct {
    int64_t m, n, k;
    mla_values x, w, y;
    const float *bias; /* or NULL */
} mla_few_rows;

enum { MLA_MOST_FEW_ROWS = 8 };

/* Whether such a product is made here: 1 to MLA_MOST_FEW_ROWS rows, k a multiple of 16. */
bool mla_few_rows_fit(int64_t m, int64_t k);
/* The room that it takes, in floats. */
int64_t mla_few_rows_room(int64_t m, int64_t k);

/* With all threads of the context; outside parallel regions. A row of y does not depend on the other rows, nor on the
 * number of threads. */
void mla_few_rows_multiply(const mla_context *context, const mla_few_rows *product, float *room);

#endif
