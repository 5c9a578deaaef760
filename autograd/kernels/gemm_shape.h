/* The shape of a matrix product:
 *
 *     C (m,n) = op(A) (m,k) op(B) (k,n)  [+ C]  [+ bias (n)] */
#ifndef MLA_AUTOGRAD_KERNELS_GEMM_SHAPE_H
#define MLA_AUTOGRAD_KERNELS_GEMM_SHAPE_H

#include "autograd/base/dtype.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t m, n, k;
    bool a_transposed;     /* A is stored as (k,m) */
    bool b_transposed;     /* B is stored as (n,k), as weights are */
    int64_t lda, ldb, ldc; /* elements from row to row as stored; 0: dense */
    mla_dtype a_type, b_type, c_type;
    bool accumulate;    /* add to C */
    bool bias;          /* add a row of n f32 to each row of C */
    bool single_thread; /* called by each thread of a parallel region for itself */
    bool varying_rows;  /* A has another number of rows, as stored, in each call: autograd/kernels/gemm.h */
    bool b_packed;      /* B is in the layout that oneDNN is fastest with, by mla_gemm_pack; ldb is of B before that */
} mla_gemm_shape;

typedef struct mla_gemm_layout mla_gemm_layout; /* of a packed B: see autograd/kernels/gemm.h */

/* Elements to leave between rows of a matrix that is made for products alone. Rows that are a power of two long have
 * their columns in a few lines of the first cache, and cost products half of their speed (seen with AVX2). */
enum { MLA_ROW_GAP = 32 };

#endif
