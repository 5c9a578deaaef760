/* y = silu(gate) up,  silu(x) = x s,  s = 1 / (1 + exp(-x))                      Shazeer 2020, eq. 6
 * dgate = dy up s (1 + gate (1 - s)),  dup = dy gate s */
#include "autograd/base/vecmath.h"
#include "autograd/op.h"
#include "autograd/ops.h"

enum { GATE, UP };

MLA_VECTOR static void value_piece(int64_t count, const float *gate, const float *up, float *y) {
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) y[j] = gate[j] / (1 + expf(-gate[j])) * up[j];
}

static void swiglu_forward(const mla_node *n) {
    const mla_values gate = mla_data(n->in[GATE]), up = mla_data(n->in[UP]), y = mla_data(n->out);
    const int64_t count = mla_count(n->out);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < count; i += MLA_PIECE) {
        float buffer[3][MLA_PIECE], *out = mla_target(y, MLA_SET, i, buffer[2]);
        const int64_t length = mla_piece(count, i);
        value_piece(length, mla_load(gate, i, length, buffer[0]), mla_load(up, i, length, buffer[1]), out);
        mla_store(y, MLA_SET, i, length, out);
    }
}

MLA_VECTOR static void gradient_piece(int64_t count, const float *gate, const float *up, const float *dy, float *dgate,
                                      float *dup) {
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) {
        const float s = 1 / (1 + expf(-gate[j]));
        dgate[j] = dy[j] * up[j] * s * (1 + gate[j] * (1 - s));
        dup[j] = dy[j] * gate[j] * s;
    }
}

static void swiglu_backward(const mla_node *n) {
    const mla_values gate = mla_data(n->in[GATE]), up = mla_data(n->in[UP]), dy = mla_out_gradient(n);
    const mla_values dgate = mla_in_gradient(n, GATE), dup = mla_in_gradient(n, UP);
    const int64_t count = mla_count(n->out);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < count; i += MLA_PIECE) {
        float buffer[5][MLA_PIECE];
        float *for_gate = mla_target(dgate, n->mode[GATE], i, buffer[3]),
              *for_up = mla_target(dup, n->mode[UP], i, buffer[4]);
        const int64_t length = mla_piece(count, i);
        gradient_piece(length, mla_load(gate, i, length, buffer[0]), mla_load(up, i, length, buffer[1]),
                       mla_load(dy, i, length, buffer[2]), for_gate, for_up);
        mla_store(dgate, n->mode[GATE], i, length, for_gate);
        mla_store(dup, n->mode[UP], i, length, for_up);
    }
}

static const mla_op swiglu = {
    .name = "swiglu", .forward = swiglu_forward, .backward = swiglu_backward, .keeps = MLA_INPUT(GATE) | MLA_INPUT(UP)};

mla_tensor *mla_swiglu(mla_tape *tape, mla_tensor *gate, mla_tensor *up) {
    mla_node *n = mla_op_begin_real(tape, &swiglu, 2, (mla_tensor *[]){gate, up});
    if (!n) return mla_inert(tape);
    if (!mla_same_shape(gate, up) || gate->dtype != up->dtype)
        return mla_op_refuse(n, "gate and up must have one shape and type");
    return mla_op_finish(n, gate->dtype, gate->ndim, gate->shape);
}
