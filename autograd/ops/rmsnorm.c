/* y = g x r,  r = 1 / sqrt(mean(x²) + eps)                             Zhang & Sennrich 2019, eq. 4
 * dx = r (g dy - x r² mean(g dy x)),  dg = sum over rows of dy x r */
#include "autograd/ops.h"
#include "autograd/rows.h"
#include "autograd/vecmath.h"

#include <string.h>

enum { X, GAIN };
enum { R }; /* saved, one per row */

MLA_VECTOR static float normalise_row(int64_t width, const float *x, const float *g, float eps, float *y) {
    float squares = 0;
    MLA_SIMD_SUM(squares)
    for (int64_t j = 0; j < width; j++) squares += x[j] * x[j];
    const float r = 1 / sqrtf(squares / (float)width + eps);
    MLA_SIMD
    for (int64_t j = 0; j < width; j++) y[j] = g[j] * x[j] * r;
    return r;
}

static void rmsnorm_forward(const mla_node *n) {
    const mla_tensor *x = n->in[X];
    const int64_t rows = mla_rows(x), width = mla_width(x);
    const float *g = n->in[GAIN]->data, eps = *(float *)n->attributes;
    float *r = n->saved[R];
    #pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rows; i++) r[i] = normalise_row(width, mla_row(x, i), g, eps, mla_row(n->out, i));
}

MLA_VECTOR static void x_gradient_row(int64_t width, const float *x, const float *g, float r, const float *dy,
                                      mla_grad_mode mode, float *dx) {
    float product = 0;
    MLA_SIMD_SUM(product)
    for (int64_t j = 0; j < width; j++) product += g[j] * dy[j] * x[j];
    const float pull = r * r * product / (float)width;
    MLA_SIMD
    for (int64_t j = 0; j < width; j++) mla_put(mode, dx + j, r * (g[j] * dy[j] - x[j] * pull));
}

MLA_VECTOR static void gain_gradient_row(int64_t width, const float *x, float r, const float *dy, float *dg) {
    MLA_SIMD
    for (int64_t j = 0; j < width; j++) dg[j] += dy[j] * x[j] * r;
}

/* dg: the partial sums of this chunk of rows. */
static void backward_rows(const mla_node *n, int64_t from, int64_t to, float *dg) {
    const mla_tensor *x = n->in[X];
    const int64_t width = mla_width(x);
    const float *r = n->saved[R], *dy = n->out->grad;
    float *dx = n->grad[X];
    memset(dg, 0, (size_t)width * sizeof *dg);
    for (int64_t i = from; i < to; i++) {
        if (n->mode[GAIN]) gain_gradient_row(width, mla_row(x, i), r[i], dy + i * width, dg);
        if (n->mode[X])
            x_gradient_row(width, mla_row(x, i), n->in[GAIN]->data, r[i], dy + i * width, n->mode[X], dx + i * width);
    }
}

static void rmsnorm_backward(const mla_node *n) {
    const int64_t rows = mla_rows(n->in[X]), width = mla_width(n->in[X]);
    const int64_t chunk = mla_chunk_rows(rows), chunks = mla_chunk_count(rows);
    float *dg = n->scratch;
    #pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < chunks; i++)
        backward_rows(n, i * chunk, (i + 1) * chunk < rows ? (i + 1) * chunk : rows, dg + i * width);
    if (n->mode[GAIN]) mla_sum_rows(n->mode[GAIN], chunks, width, dg, NULL, n->grad[GAIN]);
}

static const mla_op rmsnorm = {.name = "rmsnorm", .forward = rmsnorm_forward, .backward = rmsnorm_backward,
                               .keeps = MLA_INPUT(X) | MLA_INPUT(GAIN)};

mla_tensor *mla_rmsnorm(mla_tape *tape, mla_tensor *x, mla_tensor *gain, float eps) {
    mla_node *n = mla_op_begin_f32(tape, &rmsnorm, 2, (mla_tensor *[]){x, gain});
    if (!n) return mla_inert(tape);
    if (!mla_is_row_of(gain, x)) return mla_op_refuse(n, "the gain must be one row as wide as x");
    if (!(eps >= 0)) return mla_op_refuse(n, "eps must be 0 or more, not %g", (double)eps);
    *(float *)mla_op_attributes(n, sizeof eps) = eps;
    mla_op_save(n, R, mla_rows(x) * (int64_t)sizeof(float));
    n->backward_scratch = mla_chunk_count(mla_rows(x)) * mla_width(x) * (int64_t)sizeof(float);
    return mla_op_finish(n, MLA_F32, x->ndim, x->shape);
}
