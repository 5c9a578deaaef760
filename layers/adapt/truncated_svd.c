#include "layers/adapt/truncated_svd.h"
#include "autograd/base/random.h"
#include "layers/adapt/orthogonal_rows.h"

#include <math.h>
#include <stdlib.h>

enum { MORE = 8, ITERATIONS = 40 };

/* W as it is or transposed, at least as high as it is wide: rows x n. Subspaces are kept as k rows of n. */
typedef struct {
    int64_t rows, n, k;
    int threads;
    const float *w;
    bool transposed;
    double *gram;  /* (n,n): WᵀW */
    double *basis; /* (k,n), orthonormal */
    double *image; /* (k,n) */
    double *small; /* (k,k): basis gram basisᵀ, then its eigenvectors as rows, as long as their eigenvalues */
} space;

static double element(const space *s, int64_t i, int64_t j) {
    return (double)(s->transposed ? s->w[j * s->rows + i] : s->w[i * s->n + j]);
}

static void make_gram(space *s) {
    #pragma omp parallel for num_threads(s->threads) schedule(dynamic)
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = 0;
            for (int64_t r = 0; r < s->rows; r++) sum += element(s, r, i) * element(s, r, j);
            s->gram[i * s->n + j] = s->gram[j * s->n + i] = sum;
        }
}

static double dot(int64_t n, const double *x, const double *y) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

/* image = basis gram */
static void apply_gram(space *s) {
    #pragma omp parallel for num_threads(s->threads) collapse(2) schedule(static)
    for (int64_t i = 0; i < s->k; i++)
        for (int64_t j = 0; j < s->n; j++) s->image[i * s->n + j] = dot(s->n, s->basis + i * s->n, s->gram + j * s->n);
}

/* basis = rows of image, made orthonormal; twice, for what rounding leaves. A row that vanishes stays zero. */
static void orthonormalise(space *s) {
    for (int64_t i = 0; i < s->k; i++) {
        double *row = s->basis + i * s->n;
        for (int64_t j = 0; j < s->n; j++) row[j] = s->image[i * s->n + j];
        const double before = sqrt(dot(s->n, row, row));
        for (int64_t p = 0; p < 2 * i; p++) {
            const double *other = s->basis + p % i * s->n, part = dot(s->n, row, other);
            for (int64_t j = 0; j < s->n; j++) row[j] -= part * other[j];
        }
        const double norm = sqrt(dot(s->n, row, row));
        for (int64_t j = 0; j < s->n; j++) row[j] = norm > 1e-14 * before ? row[j] / norm : 0;
    }
}

/* The eigenvectors of the gram within the subspace, times their eigenvalues. */
static void diagonalise(space *s) {
    apply_gram(s);
    for (int64_t i = 0; i < s->k * s->k; i++)
        s->small[i] = dot(s->n, s->image + i / s->k * s->n, s->basis + i % s->k * s->n);
    mla_orthogonal_rows(s->k, s->k, s->small);
}

/* One singular value: sqrt(S) v into `across` (n apart by one), W v / sqrt(S) into `along`. v is scratch of n. */
static void write_one(space *s, const double *turn, double *v, float *across, int64_t across_step, float *along,
                      int64_t along_step) {
    const double value = mla_row_length(s->k, turn);
    const double root = pow(value, 0.25); /* of the singular value, itself the root of the eigenvalue */
    for (int64_t j = 0; j < s->n; j++) {
        v[j] = 0;
        for (int64_t i = 0; i < s->k && value > 0; i++) v[j] += turn[i] / value * s->basis[i * s->n + j];
        across[j * across_step] = (float)(root * v[j]);
    }
    for (int64_t r = 0; r < s->rows; r++) {
        double sum = 0;
        for (int64_t j = 0; j < s->n; j++) sum += element(s, r, j) * v[j];
        along[r * along_step] = (float)(root > 0 ? sum / root : 0);
    }
}

static void write_all(space *s, int64_t rank, float *a, float *b) {
    for (int64_t i = 0; i < rank; i++) {
        const double *turn = s->small + i * s->k;
        if (s->transposed) write_one(s, turn, s->image, b + i, rank, a + i * s->rows, 1);
        else write_one(s, turn, s->image, a + i * s->n, 1, b + i, rank);
    }
}

static void begin(space *s) {
    for (int64_t i = 0; i < s->k * s->n; i++) {
        uint32_t bits[4];
        mla_random_bits(mla_random_stream(1, "subspace", 0, 0, 0), (uint64_t)i, bits);
        s->image[i] = (double)bits[0] / 0x1p31 - 1;
    }
}

mla_status mla_truncated_svd(mla_context *context, int64_t rows, int64_t columns, const float *w, int64_t rank,
                             float *a, float *b) {
    space s = {.w = w,
               .transposed = rows < columns,
               .rows = rows < columns ? columns : rows,
               .n = rows < columns ? rows : columns,
               .threads = mla_context_threads(context)};
    if (rank < 1 || rank > s.n)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "a matrix of %lld by %lld can be cut to a rank from 1 to %lld, not %lld", (long long)rows,
                        (long long)columns, (long long)s.n, (long long)rank);
    s.k = rank + MORE < s.n ? rank + MORE : s.n;
    const int64_t count = s.n * s.n + 2 * s.k * s.n + s.k * s.k;
    s.gram = mla_alloc(context, count, sizeof *s.gram, "a decomposition");
    if (!s.gram) return MLA_ERROR_MEMORY;
    s.basis = s.gram + s.n * s.n;
    s.image = s.basis + s.k * s.n;
    s.small = s.image + s.k * s.n;
    make_gram(&s);
    begin(&s);
    for (int i = 0; i < ITERATIONS; i++) {
        orthonormalise(&s);
        apply_gram(&s);
    }
    orthonormalise(&s);
    diagonalise(&s);
    write_all(&s, rank, a, b);
    free(s.gram);
    return MLA_OK;
}
