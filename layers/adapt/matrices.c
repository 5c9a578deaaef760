#include "layers/adapt/matrices.h"
#include "autograd/kernels/gemm.h"
#include "layers/adapt/orthogonal_rows.h"

#include <stdlib.h>

enum { CHUNK = 1024 };

double *mla_matrix_create(mla_context *context, int64_t rows, int64_t columns) {
    return mla_alloc(context, rows * columns, sizeof(double), "a matrix");
}

void mla_matrix_multiply(const mla_context *context, int64_t m, int64_t n, int64_t k, const double *a, const double *b,
                         bool transposed, double *out) {
    const int64_t step = transposed ? k : 1, next = transposed ? 1 : n;
    #pragma omp parallel for num_threads(mla_context_threads(context))
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) out[i * n + j] = 0;
        for (int64_t l = 0; l < k; l++)
            for (int64_t j = 0; j < n; j++) out[i * n + j] += a[i * k + l] * b[l * next + j * step];
    }
}

void mla_matrix_lift(int64_t n, double *a, double share) {
    double trace = 0;
    for (int64_t i = 0; i < n; i++) trace += a[i * n + i];
    for (int64_t i = 0; i < n; i++) a[i * n + i] += trace > 0 ? share * trace / (double)n : 1;
}

/* Takes from a row what it has of those before it, twice, for what rounding leaves; false where nothing is
 * left. */
static bool orthonormalise(int64_t n, double *rows, int64_t i) {
    double *row = rows + i * n;
    const double before = mla_row_length(n, row);
    for (int64_t p = 0; p < 2 * i; p++) {
        const double *other = rows + p % i * n;
        double part = 0;
        for (int64_t j = 0; j < n; j++) part += row[j] * other[j];
        for (int64_t j = 0; j < n; j++) row[j] -= part * other[j];
    }
    const double length = mla_row_length(n, row);
    if (!(length > 1e-9 * before)) return false;
    for (int64_t j = 0; j < n; j++) row[j] /= length;
    return true;
}

void mla_matrix_orthonormalise(int64_t n, double *rows) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t unit = 0; !orthonormalise(n, rows, i); unit++)
            for (int64_t j = 0; j < n; j++) rows[i * n + j] = j == unit;
}

mla_status mla_matrix_add_products(mla_context *context, int64_t count, int64_t n, const float *a, int64_t m,
                                   const float *b, double *out) {
    float *part = mla_alloc(context, n * m, sizeof *part, "moments");
    if (!part) return MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < count && !mla_error_status(context); i += CHUNK) {
        const int64_t rows = count - i < CHUNK ? count - i : CHUNK;
        mla_gemm_now(context, &(mla_gemm_shape){.m = n, .n = m, .k = rows, .a_transposed = true}, a + i * n, b + i * m,
                     part, NULL);
        for (int64_t j = 0; j < n * m; j++) out[j] += (double)part[j];
    }
    free(part);
    return mla_error_status(context);
}
