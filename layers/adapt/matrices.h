/* Matrices in double precision, row by row, for what is computed once of a trained model's weights. */
#ifndef MLA_LAYERS_ADAPT_MATRICES_H
#define MLA_LAYERS_ADAPT_MATRICES_H

#include "autograd/base/context.h"

/* Zeros; the caller frees them. NULL: MLA_ERROR_MEMORY. */
double *mla_matrix_create(mla_context *context, int64_t rows, int64_t columns);

/* out (m,n) = a (m,k) times b (k,n), or b (n,k) transposed */
void mla_matrix_multiply(const mla_context *context, int64_t m, int64_t n, int64_t k, const double *a, const double *b,
                         bool transposed, double *out);

/* Adds a share of the mean of the diagonal of a (n,n) to it; 1 where that is zero. */
void mla_matrix_lift(int64_t n, double *a, double share);

/* Makes the rows of a (n,n) orthonormal, each with what those before it leave of it. A row with nothing of its own
 * becomes the first unit vector that has. */
void mla_matrix_orthonormalise(int64_t n, double *rows);

/* out (n,m) += aᵀ b over `count` rows: a (count,n), b (count,m), which are f32. Errors: memory, those of products. */
mla_status mla_matrix_add_products(mla_context *context, int64_t count, int64_t n, const float *a, int64_t m,
                                   const float *b, double *out);

#endif
