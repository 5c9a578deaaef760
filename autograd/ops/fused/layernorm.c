/* y = g xhat + b,  xhat = (x - mean) r,  r = 1 / sqrt(variance + eps)                    Ba et al. 2016
 * dx = r (g dy - mean(g dy) - xhat mean(g dy xhat)),  dg = sum over rows of dy xhat,  db = sum over rows of dy */
#include "autograd/base/vecmath.h"
#include "autograd/op.h"
#include "autograd/ops.h"

#include <string.h>

enum { X, GAIN, BIAS };
enum { MOMENTS }; /* saved, one per row */

typedef struct {
    float mean, r;
} moments;

MLA_VECTOR static moments moments_of(int64_t width, const float *x, float eps) {
    float sum = 0, squares = 0;
    MLA_SIMD_SUM(sum)
    for (int64_t j = 0; j < width; j++) sum += x[j];
    const float mean = sum / (float)width;
    MLA_SIMD_SUM(squares)
    for (int64_t j = 0; j < width; j++) squares += (x[j] - mean) * (x[j] - mean);
    return (moments){mean, 1 / sqrtf(squares / (float)width + eps)};
}

MLA_VECTOR static void normalise_row(int64_t width, const float *x, moments m, const float *g, const float *b,
                                     float *y) {
    MLA_SIMD
    for (int64_t j = 0; j < width; j++) y[j] = g[j] * (x[j] - m.mean) * m.r + (b ? b[j] : 0);
}

static void layernorm_forward(const mla_node *n) {
    const mla_tensor *x = n->in[X], *bias = n->in[BIAS];
    const int64_t rows = mla_rows(x), width = mla_width(x);
    const float eps = *(float *)n->attributes;
    const mla_values y = mla_data(n->out);
    moments *m = n->saved[MOMENTS];
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < rows; i++) {
        float *buffer = mla_thread_rows(n->scratch, 2, width);
        const float *from = mla_load(mla_data(x), i * width, width, buffer);
        float *row = mla_target(y, MLA_SET, i * width, buffer + width);
        m[i] = moments_of(width, from, eps);
        normalise_row(width, from, m[i], n->in[GAIN]->data, bias ? bias->data : NULL, row);
        mla_store(y, MLA_SET, i * width, width, row);
    }
}

MLA_VECTOR static void x_gradient_row(int64_t width, const float *x, moments m, const float *g, const float *dy,
                                      float *dx) {
    float sum = 0, product = 0;
    MLA_SIMD_SUM(sum, product)
    for (int64_t j = 0; j < width; j++) {
        sum += g[j] * dy[j];
        product += g[j] * dy[j] * (x[j] - m.mean);
    }
    const float shift = sum / (float)width, pull = m.r * m.r * product / (float)width;
    MLA_SIMD
    for (int64_t j = 0; j < width; j++) dx[j] = m.r * (g[j] * dy[j] - shift - (x[j] - m.mean) * pull);
}

MLA_VECTOR static void gain_gradient_row(int64_t width, const float *x, moments m, const float *dy, float *dg,
                                         float *db) {
    MLA_SIMD
    for (int64_t j = 0; j < width; j++) {
        dg[j] += dy[j] * (x[j] - m.mean) * m.r;
        db[j] += dy[j];
    }
}

/* The partial sums of a chunk of rows: dg, then db. */
static void backward_rows(const mla_node *n, int64_t from, int64_t to, float *buffer, float *dg, float *db) {
    const int64_t width = mla_width(n->in[X]);
    const moments *m = n->saved[MOMENTS];
    const mla_values dx = mla_in_gradient(n, X);
    memset(dg, 0, (size_t)width * sizeof *dg);
    memset(db, 0, (size_t)width * sizeof *db);
    for (int64_t i = from; i < to; i++) {
        const float *x = mla_load(mla_data(n->in[X]), i * width, width, buffer);
        const float *dy = mla_load(mla_out_gradient(n), i * width, width, buffer + width);
        if (n->mode[GAIN] || n->mode[BIAS]) gain_gradient_row(width, x, m[i], dy, dg, db);
        if (!n->mode[X]) continue;
        float *row = mla_target(dx, n->mode[X], i * width, buffer + 2 * width);
        x_gradient_row(width, x, m[i], n->in[GAIN]->data, dy, row);
        mla_store(dx, n->mode[X], i * width, width, row);
    }
}

static void layernorm_backward(const mla_node *n) {
    const mla_context *context = mla_tape_context(n->tape);
    const int64_t rows = mla_rows(n->in[X]), width = mla_width(n->in[X]);
    const int64_t chunk = mla_chunk_rows(rows), chunks = mla_chunk_count(rows);
    float *dg = n->scratch, *db = dg + chunks * width, *buffers = db + chunks * width;
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < chunks; i++)
        backward_rows(n, i * chunk, (i + 1) * chunk < rows ? (i + 1) * chunk : rows, mla_thread_rows(buffers, 3, width),
                      dg + i * width, db + i * width);
    if (n->mode[GAIN])
        mla_sum_rows(context, n->mode[GAIN], chunks, width, (mla_values){dg, MLA_F32}, NULL, n->grad[GAIN]);
    if (n->mode[BIAS])
        mla_sum_rows(context, n->mode[BIAS], chunks, width, (mla_values){db, MLA_F32}, NULL, n->grad[BIAS]);
}

static const mla_op layernorm = {.name = "layernorm",
                                 .forward = layernorm_forward,
                                 .backward = layernorm_backward,
                                 .attributes = sizeof(float),
                                 .keeps = MLA_INPUT(X) | MLA_INPUT(GAIN)};

mla_tensor *mla_layernorm(mla_tape *tape, mla_tensor *x, mla_tensor *gain, mla_tensor *bias, float eps, mla_dtype out) {
    mla_node *n = mla_op_begin_real(tape, &layernorm, 3, (mla_tensor *[]){x, gain, bias});
    if (!n) return mla_inert(tape);
    if (!mla_is_row_of(gain, x) || (bias && !mla_is_row_of(bias, x)))
        return mla_op_refuse(n, "gain and bias must be one row of f32 as wide as x");
    if (!(eps >= 0)) return mla_op_refuse(n, "eps must be 0 or more, not %g", (double)eps);
    *(float *)n->attributes = eps;
    mla_op_save(n, MOMENTS, mla_rows(x) * (int64_t)sizeof(moments));
    n->forward_scratch = mla_thread_rows_size(mla_tape_context(tape), 2, mla_width(x));
    n->backward_scratch = 2 * mla_chunk_count(mla_rows(x)) * mla_width(x) * (int64_t)sizeof(float) +
                          mla_thread_rows_size(mla_tape_context(tape), 3, mla_width(x));
    return mla_op_finish(n, out, x->ndim, x->shape);
}
