/* z = x + dropout(y, p)
 * dx = dz, shared and not copied;  dy = dz m / (1-p), or dz where nothing is dropped */
#include "autograd/ops.h"
#include "autograd/ops/dropout.h"
#include "autograd/rows.h"
#include "autograd/vecmath.h"

enum { X, Y };

MLA_VECTOR static void add_piece(int64_t count, const float *x, const float *y, float *z) {
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) z[j] = x[j] + y[j];
}

static void plain_forward(const mla_node *n) {
    const float *x = n->in[X]->data, *y = n->in[Y]->data;
    float *z = n->out->data;
    const int64_t count = mla_count(n->out);
    #pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += MLA_PIECE) add_piece(mla_piece(count, i), x + i, y + i, z + i);
}

static void dropping_forward(const mla_node *n) {
    mla_drop(n, *(float *)n->attributes, n->in[X]->data, n->in[Y]->data, MLA_SET, n->out->data);
}

static void dropping_backward(const mla_node *n) {
    if (n->mode[Y]) mla_drop(n, *(float *)n->attributes, NULL, n->out->grad, n->mode[Y], n->grad[Y]);
}

static const mla_op plain = {.name = "residual_add", .forward = plain_forward,
                             .passes = MLA_INPUT(X) | MLA_INPUT(Y)};
static const mla_op dropping = {.name = "residual_add", .forward = dropping_forward,
                                .backward = dropping_backward, .passes = MLA_INPUT(X)};

mla_tensor *mla_residual_add(mla_tape *tape, mla_tensor *x, mla_tensor *y, float p) {
    const bool drops = p != 0 && mla_tape_step(tape)->training;
    mla_node *n = mla_op_begin_f32(tape, drops ? &dropping : &plain, 2, (mla_tensor *[]){x, y});
    if (!n) return mla_inert(tape);
    if (!mla_same_shape(x, y)) return mla_op_refuse(n, "x and y must have one shape");
    if (!mla_drop_is_valid(p)) return mla_op_refuse(n, "p must be at least 0 and below 1, not %g", (double)p);
    *(float *)mla_op_attributes(n, sizeof p) = p;
    return mla_op_finish(n, MLA_F32, x->ndim, x->shape);
}
