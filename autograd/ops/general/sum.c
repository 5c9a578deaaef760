/* y = sum of all x, in double precision
 * dx = dy, everywhere */
#include "autograd/base/vecmath.h"
#include "autograd/op.h"
#include "autograd/ops.h"

MLA_VECTOR static double sum_piece(int64_t count, const float *x) {
    double sum = 0;
    MLA_SIMD_SUM(sum)
    for (int64_t j = 0; j < count; j++) sum += (double)x[j];
    return sum;
}

static void sum_forward(const mla_node *n) {
    const float *x = n->in[0]->data;
    double *partial = n->scratch, sum = 0;
    const int64_t count = mla_count(n->in[0]);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < count; i += MLA_PIECE) partial[i / MLA_PIECE] = sum_piece(mla_piece(count, i), x + i);
    for (int64_t i = 0; i < count; i += MLA_PIECE) sum += partial[i / MLA_PIECE];
    *(float *)n->out->data = (float)sum;
}

MLA_VECTOR static void spread_piece(int64_t count, float dy, mla_grad_mode mode, float *dx) {
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) mla_put(mode, dx + j, dy);
}

static void sum_backward(const mla_node *n) {
    const float dy = *(float *)n->out->grad;
    float *dx = n->grad[0];
    const int64_t count = mla_count(n->in[0]);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < count; i += MLA_PIECE) spread_piece(mla_piece(count, i), dy, n->mode[0], dx + i);
}

static const mla_op sum_all = {.name = "sum", .forward = sum_forward, .backward = sum_backward};

mla_tensor *mla_sum(mla_tape *tape, mla_tensor *x) {
    mla_node *n = mla_op_begin_f32(tape, &sum_all, 1, &x);
    if (!n) return mla_inert(tape);
    n->forward_scratch = (mla_count(x) + MLA_PIECE - 1) / MLA_PIECE * (int64_t)sizeof(double);
    return mla_op_finish(n, MLA_F32, 1, (const int64_t[]){1});
}
