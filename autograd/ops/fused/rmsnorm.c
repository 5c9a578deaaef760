/* y = g x r,  r = 1 / sqrt(mean(x²) + eps)                             Zhang & Sennrich 2019, eq. 4
 * dx = r (g dy - x r² mean(g dy x)),  dg = sum over rows of dy x r */
#include "autograd/base/vecmath.h"
#include "autograd/op.h"
#include "autograd/ops.h"

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
    const mla_values y = mla_data(n->out);
    float *r = n->saved[R];
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < rows; i++) {
        float *buffer = mla_thread_rows(n->scratch, 2, width);
        float *row = mla_target(y, MLA_SET, i * width, buffer + width);
        r[i] = normalise_row(width, mla_load(mla_data(x), i * width, width, buffer), g, eps, row);
        mla_store(y, MLA_SET, i * width, width, row);
    }
}

MLA_VECTOR static void x_gradient_row(int64_t width, const float *x, const float *g, float r, const float *dy,
                                      float *dx) {
    float product = 0;
    MLA_SIMD_SUM(product)
    for (int64_t j = 0; j < width; j++) product += g[j] * dy[j] * x[j];
    const float pull = r * r * product / (float)width;
    MLA_SIMD
    for (int64_t j = 0; j < width; j++) dx[j] = r * (g[j] * dy[j] - x[j] * pull);
}

MLA_VECTOR static void gain_gradient_row(int64_t width, const float *x, float r, const float *dy, float *dg) {
    MLA_SIMD
    for (int64_t j = 0; j < width; j++) dg[j] += dy[j] * x[j] * r;
}

/* dg: the partial sums of this chunk of rows. */
static void backward_rows(const mla_node *n, int64_t from, int64_t to, float *buffer, float *dg) {
    const int64_t width = mla_width(n->in[X]);
    const mla_values dx = mla_in_gradient(n, X);
    const float *r = n->saved[R];
    memset(dg, 0, (size_t)width * sizeof *dg);
    for (int64_t i = from; i < to; i++) {
        const float *x = mla_load(mla_data(n->in[X]), i * width, width, buffer);
        const float *dy = mla_load(mla_out_gradient(n), i * width, width, buffer + width);
        if (n->mode[GAIN]) gain_gradient_row(width, x, r[i], dy, dg);
        if (!n->mode[X]) continue;
        float *row = mla_target(dx, n->mode[X], i * width, buffer + 2 * width);
        x_gradient_row(width, x, n->in[GAIN]->data, r[i], dy, row);
        mla_store(dx, n->mode[X], i * width, width, row);
    }
}

static void rmsnorm_backward(const mla_node *n) {
    const int64_t rows = mla_rows(n->in[X]), width = mla_width(n->in[X]);
    const int64_t chunk = mla_chunk_rows(rows), chunks = mla_chunk_count(rows);
    float *dg = n->scratch, *buffers = dg + chunks * width;
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < chunks; i++)
        backward_rows(n, i * chunk, (i + 1) * chunk < rows ? (i + 1) * chunk : rows, mla_thread_rows(buffers, 3, width),
                      dg + i * width);
    if (n->mode[GAIN])
        mla_sum_rows(mla_tape_context(n->tape), n->mode[GAIN], chunks, width, (mla_values){dg, MLA_F32}, NULL,
                     n->grad[GAIN]);
}

static const mla_op rmsnorm = {.name = "rmsnorm",
                               .forward = rmsnorm_forward,
                               .backward = rmsnorm_backward,
                               .attributes = sizeof(float),
                               .keeps = MLA_INPUT(X) | MLA_INPUT(GAIN)};

mla_tensor *mla_rmsnorm(mla_tape *tape, mla_tensor *x, mla_tensor *gain, float eps, mla_dtype out) {
    mla_node *n = mla_op_begin_real(tape, &rmsnorm, 2, (mla_tensor *[]){x, gain});
    if (!n) return mla_inert(tape);
    if (!mla_is_row_of(gain, x)) return mla_op_refuse(n, "the gain must be one row of f32 as wide as x");
    if (!(eps >= 0)) return mla_op_refuse(n, "eps must be 0 or more, not %g", (double)eps);
    *(float *)n->attributes = eps;
    mla_op_save(n, R, mla_rows(x) * (int64_t)sizeof(float));
    n->forward_scratch = mla_thread_rows_size(mla_tape_context(tape), 2, mla_width(x));
    n->backward_scratch = mla_chunk_count(mla_rows(x)) * mla_width(x) * (int64_t)sizeof(float) +
                          mla_thread_rows_size(mla_tape_context(tape), 3, mla_width(x));
    return mla_op_finish(n, out, x->ndim, x->shape);
}
