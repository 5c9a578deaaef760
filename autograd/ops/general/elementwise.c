/* y = f(x), element by element:  dx = dy f'(x), where f' is computed from the x or the y that was kept. */
#include "autograd/base/vecmath.h"
#include "autograd/op.h"
#include "autograd/ops.h"

/* ---- the functions: a value, and a slope in terms of what is kept ---- */

static inline float exp_value(float x) { return expf(x); }
static inline float exp_slope(float y) { return y; }

static inline float log_value(float x) { return logf(x); }
static inline float log_slope(float x) { return 1 / x; }

/* By the exponential function, and near 0 by Cephes' polynomial, where the former would cancel. */
static inline float tanh_value(float x) {
    const float a = fabsf(x), z = x * x;
    const float far = copysignf(1 - 2 / (expf(2 * a) + 1), x);
    const float slope = (((-5.70498872745e-3f * z + 2.06390887954e-2f) * z - 5.37397155531e-2f) * z +
                         1.33314422036e-1f) *
                            z -
                        3.33332819422e-1f;
    return a < 0.625f ? x + x * z * slope : far;
}
static inline float tanh_slope(float y) { return 1 - y * y; }

static inline float sigmoid_value(float x) { return 1 / (1 + expf(-x)); }
static inline float sigmoid_slope(float y) { return y * (1 - y); }

static inline float relu_value(float x) { return x > 0 ? x : 0; }
static inline float relu_slope(float y) { return y > 0 ? 1 : 0; }

static inline float silu_value(float x) { return x * sigmoid_value(x); }
static inline float silu_slope(float x) {
    const float s = sigmoid_value(x);
    return s * (1 + x * (1 - s));
}

/* Φ(x) = erfc(-x/√2) / 2, by a fit with a relative error below 1.2e-7 (Numerical Recipes, erfcc). */
static inline float normal_below(float x) {
    const float z = fabsf(x) * (float)M_SQRT1_2, t = 1 / (1 + 0.5f * z);
    const float fit =
        -1.26551223f +
        t * (1.00002368f +
             t * (0.37409196f +
                  t * (0.09678418f +
                       t * (-0.18628806f +
                            t * (0.27886807f +
                                 t * (-1.13520398f + t * (1.48851587f + t * (-0.82215223f + t * 0.17087277f))))))));
    const float tail = 0.5f * t * expf(fit - z * z);
    return x > 0 ? 1 - tail : tail;
}

static inline float gelu_value(float x) { return x * normal_below(x); }
static inline float gelu_slope(float x) {
    return normal_below(x) + x * expf(-0.5f * x * x) * (float)(M_SQRT1_2 * M_2_SQRTPI / 2);
}

/* x (1 + tanh(u)) / 2 = x / (1 + exp(-2u)),  u = sqrt(2/π) (x + 0.044715 x³)      Hendrycks & Gimpel 2016 */
static const float tanh_factor = (float)(M_SQRT1_2 * M_2_SQRTPI);
static inline float gelu_tanh_share(float x) { return sigmoid_value(2 * tanh_factor * (x + 0.044715f * x * x * x)); }
static inline float gelu_tanh_value(float x) { return x * gelu_tanh_share(x); }
static inline float gelu_tanh_slope(float x) {
    const float s = gelu_tanh_share(x);
    return s + x * s * (1 - s) * 2 * tanh_factor * (1 + 3 * 0.044715f * x * x);
}

/* ---- their loops: only a macro can make a vector loop of each ---- */

typedef struct {
    mla_op op; /* first, so that a node's op is also its elementwise */
    void (*value)(int64_t count, const float *x, float *y);
    void (*gradient)(int64_t count, const float *kept, const float *dy, float *dx);
} elementwise;

static void elementwise_forward(const mla_node *n) {
    const elementwise *e = (const elementwise *)n->op;
    const mla_values x = mla_data(n->in[0]), y = mla_data(n->out);
    const int64_t count = mla_count(n->out);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < count; i += MLA_PIECE) {
        float buffer[2][MLA_PIECE], *out = mla_target(y, MLA_SET, i, buffer[1]);
        const int64_t length = mla_piece(count, i);
        e->value(length, mla_load(x, i, length, buffer[0]), out);
        mla_store(y, MLA_SET, i, length, out);
    }
}

static void elementwise_backward(const mla_node *n) {
    const elementwise *e = (const elementwise *)n->op;
    const mla_values kept = mla_data(e->op.keeps == MLA_OUTPUT ? n->out : n->in[0]);
    const mla_values dy = mla_out_gradient(n), dx = mla_in_gradient(n, 0);
    const int64_t count = mla_count(n->out);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < count; i += MLA_PIECE) {
        float buffer[3][MLA_PIECE], *out = mla_target(dx, n->mode[0], i, buffer[2]);
        const int64_t length = mla_piece(count, i);
        e->gradient(length, mla_load(kept, i, length, buffer[0]), mla_load(dy, i, length, buffer[1]), out);
        mla_store(dx, n->mode[0], i, length, out);
    }
}

static mla_tensor *elementwise_apply(mla_tape *tape, const elementwise *e, mla_tensor *x) {
    mla_node *n = mla_op_begin_real(tape, &e->op, 1, &x);
    return n ? mla_op_finish(n, x->dtype, x->ndim, x->shape) : mla_inert(tape);
}

#define ELEMENTWISE(NAME, KEPT)                                                                             \
    MLA_VECTOR static void NAME##_values(int64_t count, const float *x, float *y) {                         \
        MLA_SIMD                                                                                            \
        for (int64_t j = 0; j < count; j++) y[j] = NAME##_value(x[j]);                                      \
    }                                                                                                       \
    MLA_VECTOR static void NAME##_gradients(int64_t count, const float *kept, const float *dy, float *dx) { \
        MLA_SIMD                                                                                            \
        for (int64_t j = 0; j < count; j++) dx[j] = dy[j] * NAME##_slope(kept[j]);                          \
    }                                                                                                       \
    static const elementwise NAME##_elementwise = {                                                         \
        {.name = #NAME, .forward = elementwise_forward, .backward = elementwise_backward, .keeps = (KEPT)}, \
        NAME##_values,                                                                                      \
        NAME##_gradients};

ELEMENTWISE(exp, MLA_OUTPUT)
ELEMENTWISE(log, MLA_INPUT(0))
ELEMENTWISE(tanh, MLA_OUTPUT)
ELEMENTWISE(sigmoid, MLA_OUTPUT)
ELEMENTWISE(relu, MLA_OUTPUT)
ELEMENTWISE(gelu, MLA_INPUT(0))
ELEMENTWISE(gelu_tanh, MLA_INPUT(0))
ELEMENTWISE(silu, MLA_INPUT(0))

mla_tensor *mla_exp(mla_tape *tape, mla_tensor *x) { return elementwise_apply(tape, &exp_elementwise, x); }
mla_tensor *mla_log(mla_tape *tape, mla_tensor *x) { return elementwise_apply(tape, &log_elementwise, x); }
mla_tensor *mla_tanh(mla_tape *tape, mla_tensor *x) { return elementwise_apply(tape, &tanh_elementwise, x); }
mla_tensor *mla_sigmoid(mla_tape *tape, mla_tensor *x) { return elementwise_apply(tape, &sigmoid_elementwise, x); }
mla_tensor *mla_relu(mla_tape *tape, mla_tensor *x) { return elementwise_apply(tape, &relu_elementwise, x); }
mla_tensor *mla_gelu(mla_tape *tape, mla_tensor *x) { return elementwise_apply(tape, &gelu_elementwise, x); }
mla_tensor *mla_gelu_tanh(mla_tape *tape, mla_tensor *x) { return elementwise_apply(tape, &gelu_tanh_elementwise, x); }
mla_tensor *mla_silu(mla_tape *tape, mla_tensor *x) { return elementwise_apply(tape, &silu_elementwise, x); }
