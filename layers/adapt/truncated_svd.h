/* The part of a matrix that its largest singular values make. */
#ifndef MLA_LAYERS_ADAPT_TRUNCATED_SVD_H
#define MLA_LAYERS_ADAPT_TRUNCATED_SVD_H

#include "autograd/base/context.h"

/* b (rows,rank) times a (rank,columns) is w (rows,columns) cut to its `rank` largest singular values: a = sqrt(S) Vᵀ,
 * b = U sqrt(S), largest first. By subspace iteration in double precision: where singular values lie close together
 * behind the cut, a mixture of them. MLA_ERROR_ARGUMENT: a rank below 1 or above the smaller of rows and columns;
 * MLA_ERROR_MEMORY. */
mla_status mla_truncated_svd(mla_context *context, int64_t rows, int64_t columns, const float *w, int64_t rank,
                             float *a, float *b);

#endif
