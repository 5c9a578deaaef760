/* y = silu(gate) up,  silu(x) = x s,  s = 1 / (1 + exp(-x))                      Shazeer 2020, eq. 6
 * dgate = dy up s (1 + gate (1 - s)),  dup = dy gate s */
#include "autograd/ops.h"
#include "autograd/rows.h"
#include "autograd/vecmath.h"

enum { GATE, UP };

MLA_VECTOR static void value_piece(int64_t count, const float *gate, const float *up, float *y) {
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) y[j] = gate[j] / (1 + expf(-gate[j])) * up[j];
}

static void swiglu_forward(const mla_node *n) {
    const float *gate = n->in[GATE]->data, *up = n->in[UP]->data;
    float *y = n->out->data;
    const int64_t count = mla_count(n->out);
    #pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += MLA_PIECE) value_piece(mla_piece(count, i), gate + i, up + i, y + i);
}

MLA_VECTOR static void gradient_piece(int64_t count, const float *gate, const float *up, const float *dy,
                                      float *dgate, float *dup) {
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) {
        const float s = 1 / (1 + expf(-gate[j]));
        dgate[j] = dy[j] * up[j] * s * (1 + gate[j] * (1 - s));
        dup[j] = dy[j] * gate[j] * s;
    }
}

static void swiglu_backward(const mla_node *n) {
    const float *gate = n->in[GATE]->data, *up = n->in[UP]->data, *dy = n->out->grad;
    float *dgate = n->grad[GATE], *dup = n->grad[UP];
    const int64_t count = mla_count(n->out);
    #pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += MLA_PIECE) {
        float gate_piece[MLA_PIECE], up_piece[MLA_PIECE];
        const int64_t length = mla_piece(count, i);
        gradient_piece(length, gate + i, up + i, dy + i, gate_piece, up_piece);
        if (dgate) mla_deliver(n->mode[GATE], length, gate_piece, dgate + i);
        if (dup) mla_deliver(n->mode[UP], length, up_piece, dup + i);
    }
}

static const mla_op swiglu = {.name = "swiglu", .forward = swiglu_forward, .backward = swiglu_backward,
                              .keeps = MLA_INPUT(GATE) | MLA_INPUT(UP)};

mla_tensor *mla_swiglu(mla_tape *tape, mla_tensor *gate, mla_tensor *up) {
    mla_node *n = mla_op_begin_f32(tape, &swiglu, 2, (mla_tensor *[]){gate, up});
    if (!n) return mla_inert(tape);
    if (!mla_same_shape(gate, up)) return mla_op_refuse(n, "gate and up must have one shape");
    return mla_op_finish(n, MLA_F32, gate->ndim, gate->shape);
}
