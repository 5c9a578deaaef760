/* z = x + dropout(y, p),  x and z f32
 * dx = dz, shared and not copied;  dy = dz m / (1-p), or dz where nothing is dropped (shared, too, where y is f32) */
#include "autograd/base/vecmath.h"
#include "autograd/ops.h"
#include "autograd/ops/fused/dropout.h"

enum { X, Y };

MLA_VECTOR static void add_piece(int64_t count, const float *x, const float *y, float *z) {
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) z[j] = x[j] + y[j];
}

static void plain_forward(const mla_node *n) {
    const float *x = n->in[X]->data;
    float *z = n->out->data;
    const int64_t count = mla_count(n->out);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < count; i += MLA_PIECE) {
        float buffer[MLA_PIECE];
        const int64_t length = mla_piece(count, i);
        add_piece(length, x + i, mla_load(mla_data(n->in[Y]), i, length, buffer), z + i);
    }
}

/* For y of bf16. */
static void narrowing_backward(const mla_node *n) {
    const float *dz = n->out->grad;
    const int64_t count = mla_count(n->out);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < count; i += MLA_PIECE)
        mla_store(mla_in_gradient(n, Y), n->mode[Y], i, mla_piece(count, i), dz + i);
}

static void dropping_forward(const mla_node *n) {
    mla_drop(n, *(float *)n->attributes, n->in[X]->data, mla_data(n->in[Y]), MLA_SET, mla_data(n->out));
}

static void dropping_backward(const mla_node *n) {
    if (n->mode[Y]) mla_drop(n, *(float *)n->attributes, NULL, mla_out_gradient(n), n->mode[Y], mla_in_gradient(n, Y));
}

static const mla_op plain = {.name = "residual_add",
                             .forward = plain_forward,
                             .attributes = sizeof(float),
                             .passes = MLA_INPUT(X) | MLA_INPUT(Y)};
static const mla_op narrowing = {.name = "residual_add",
                                 .forward = plain_forward,
                                 .backward = narrowing_backward,
                                 .attributes = sizeof(float),
                                 .passes = MLA_INPUT(X)};
static const mla_op dropping = {.name = "residual_add",
                                .forward = dropping_forward,
                                .backward = dropping_backward,
                                .attributes = sizeof(float),
                                .passes = MLA_INPUT(X)};

mla_tensor *mla_residual_add(mla_tape *tape, mla_tensor *x, mla_tensor *y, float p) {
    const bool drops = p != 0 && mla_tape_step(tape)->training;
    mla_node *n = mla_op_begin_real(tape,
                                    drops                 ? &dropping
                                    : y->dtype == MLA_F32 ? &plain
                                                          : &narrowing,
                                    2, (mla_tensor *[]){x, y});
    if (!n) return mla_inert(tape);
    if (!mla_same_shape(x, y)) return mla_op_refuse(n, "x and y must have one shape");
    if (x->dtype != MLA_F32) return mla_op_refuse(n, "x must be f32");
    if (!mla_drop_is_valid(p)) return mla_op_refuse(n, "p must be at least 0 and below 1, not %g", (double)p);
    *(float *)n->attributes = p;
    return mla_op_finish(n, MLA_F32, x->ndim, x->shape);
}
