/* Products of few rows with a weight, as decoding makes them: bound by reading the weight, which is read once, as it
 * lies, in f32 or bf16. (For 2 to 8 rows oneDNN takes a third longer on AVX2, where it has no product of bf16.) */
#ifndef MLA_AUTOGRAD_KERNELS_FEW_ROWS_H
#define MLA_AUTOGRAD_KERNELS_FEW_ROWS_H

#include "autograd/kernels/gemm_shape.h"
#include "autograd/kernels/rows.h"

/* y (m,n) = x (m,k) Wᵀ [+ bias (n)], W (n,k); each of f32 or bf16, the sums f32. */
typedef struct {
    int64_t m, n, k;
    mla_values x, w, y;
    const float *bias;           /* or NULL */
    int64_t x_row, w_row, y_row; /* elements from row to row; 0: dense */
} mla_few_rows;

enum { MLA_MOST_FEW_ROWS = 8 };

/* With all threads of the context; outside parallel regions. A row of y does not depend on the other rows, nor on the
 * number of threads. More than MLA_MOST_FEW_ROWS are faster elsewhere. room: mla_few_rows_room floats. */
void mla_few_rows_multiply(const mla_context *context, const mla_few_rows *product, float *room);
int64_t mla_few_rows_room(int64_t m, int64_t k);

/* The same in parts, each by one thread: x is prepared, in `room`, where a row has mla_few_rows_stride(k) floats; then
 * rows [from, end) of W are multiplied, and what is read of product->x is what was prepared. */
static inline int64_t mla_few_rows_stride(int64_t k) { return k + MLA_ROW_GAP; }
void mla_few_rows_prepare(const mla_few_rows *product, float *room);
void mla_few_rows_part(const mla_few_rows *product, const float *prepared, int64_t from, int64_t end);

/* y (m,n) += x (m,k) W, W (k,n) of f32 or bf16, x and y f32, by one thread. */
typedef struct {
    int64_t m, n, k;
    const float *x;
    mla_values w;
    float *y;
    int64_t x_row, w_row, y_row; /* elements from row to row */
} mla_weighted_rows;
void mla_add_weighted_rows(const mla_weighted_rows *product);

#endif
