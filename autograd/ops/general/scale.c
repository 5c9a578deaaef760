/* y = f x,  dx = f dy */
#include "autograd/base/vecmath.h"
#include "autograd/op.h"
#include "autograd/ops.h"

MLA_VECTOR static void scale_piece(int64_t count, float factor, const float *x, mla_grad_mode mode, float *y) {
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) mla_put(mode, y + j, factor * x[j]);
}

static void scale_all(const mla_node *n, const float *x, mla_grad_mode mode, float *y) {
    const float factor = *(float *)n->attributes;
    const int64_t count = mla_count(n->out);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < count; i += MLA_PIECE) scale_piece(mla_piece(count, i), factor, x + i, mode, y + i);
}

static void scale_forward(const mla_node *n) { scale_all(n, n->in[0]->data, MLA_SET, n->out->data); }
static void scale_backward(const mla_node *n) { scale_all(n, n->out->grad, n->mode[0], n->grad[0]); }

static const mla_op scale = {
    .name = "scale", .forward = scale_forward, .backward = scale_backward, .attributes = sizeof(float)};

mla_tensor *mla_scale(mla_tape *tape, mla_tensor *x, float factor) {
    mla_node *n = mla_op_begin_f32(tape, &scale, 1, &x);
    if (!n) return mla_inert(tape);
    *(float *)n->attributes = factor;
    return mla_op_finish(n, MLA_F32, x->ndim, x->shape);
}
