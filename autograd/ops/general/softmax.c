/* y = exp(x - max) / sum of exp(x - max), for each row; with `causal`, position t of (..., T, S) sees s <= t
 * dx = y (dy - sum of dy y) */
#include "autograd/base/vecmath.h"
#include "autograd/op.h"
#include "autograd/ops.h"

#include <string.h>

MLA_VECTOR static void softmax_row(int64_t width, const float *x, float *y) {
    float largest = x[0], sum = 0;
    MLA_SIMD_MAX(largest)
    for (int64_t j = 0; j < width; j++) largest = x[j] > largest ? x[j] : largest;
    MLA_SIMD_SUM(sum)
    for (int64_t j = 0; j < width; j++) {
        y[j] = expf(x[j] - largest);
        sum += y[j];
    }
    const float share = 1 / sum;
    MLA_SIMD
    for (int64_t j = 0; j < width; j++) y[j] *= share;
}

/* How many elements of row i take part. */
static int64_t seen(const mla_node *n, int64_t i) {
    const int64_t width = mla_width(n->out);
    if (!*(bool *)n->attributes) return width;
    const int64_t position = i % n->out->shape[n->out->ndim - 2];
    return position + 1 < width ? position + 1 : width;
}

static void softmax_forward(const mla_node *n) {
    const int64_t rows = mla_rows(n->out), width = mla_width(n->out);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < rows; i++) {
        const int64_t count = seen(n, i);
        softmax_row(count, mla_row(n->in[0], i), mla_row(n->out, i));
        memset(mla_row(n->out, i) + count, 0, (size_t)(width - count) * sizeof(float));
    }
}

MLA_VECTOR static void gradient_row(int64_t width, const float *y, const float *dy, mla_grad_mode mode, float *dx) {
    float product = 0;
    MLA_SIMD_SUM(product)
    for (int64_t j = 0; j < width; j++) product += dy[j] * y[j];
    MLA_SIMD
    for (int64_t j = 0; j < width; j++) mla_put(mode, dx + j, y[j] * (dy[j] - product));
}

static void softmax_backward(const mla_node *n) {
    const int64_t rows = mla_rows(n->out), width = mla_width(n->out);
    const float *dy = n->out->grad;
    float *dx = n->grad[0];
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < rows; i++)
        gradient_row(width, mla_row(n->out, i), dy + i * width, n->mode[0], dx + i * width);
}

static const mla_op softmax = {.name = "softmax",
                               .forward = softmax_forward,
                               .backward = softmax_backward,
                               .attributes = sizeof(bool),
                               .keeps = MLA_OUTPUT};

mla_tensor *mla_softmax(mla_tape *tape, mla_tensor *x, bool causal) {
    mla_node *n = mla_op_begin_f32(tape, &softmax, 1, &x);
    if (!n) return mla_inert(tape);
    if (causal && x->ndim < 2) return mla_op_refuse(n, "a causal softmax needs x (..., T, S)");
    *(bool *)n->attributes = causal;
    return mla_op_finish(n, MLA_F32, x->ndim, x->shape);
}
