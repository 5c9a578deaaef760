/* z = a b, element by element, where b has a's shape or is one row for all rows of a
 * da = dz b;  db = dz a, or its sum over rows */
#include "autograd/base/vecmath.h"
#include "autograd/op.h"
#include "autograd/ops.h"

enum { A, B };

MLA_VECTOR static void product(int64_t count, const float *a, const float *b, mla_grad_mode mode, float *z) {
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) mla_put(mode, z + j, a[j] * b[j]);
}

static void multiply_flat(const mla_node *n, mla_values a, mla_values b, mla_grad_mode mode, mla_values z) {
    const int64_t count = mla_count(n->out);
    if (mode == MLA_SKIP) return;
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < count; i += MLA_PIECE) {
        float buffer[3][MLA_PIECE], *out = mla_target(z, mode, i, buffer[2]);
        const int64_t length = mla_piece(count, i);
        product(length, mla_load(a, i, length, buffer[0]), mla_load(b, i, length, buffer[1]), MLA_SET, out);
        mla_store(z, mode, i, length, out);
    }
}

static void multiply_rows(const mla_node *n, const float *a, const float *row, mla_grad_mode mode, float *z) {
    const int64_t rows = mla_rows(n->out), width = mla_width(n->out);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < rows; i++) product(width, a + i * width, row, mode, z + i * width);
}

static void same_forward(const mla_node *n) {
    multiply_flat(n, mla_data(n->in[A]), mla_data(n->in[B]), MLA_SET, mla_data(n->out));
}

static void same_backward(const mla_node *n) {
    multiply_flat(n, mla_out_gradient(n), mla_data(n->in[B]), n->mode[A], mla_in_gradient(n, A));
    multiply_flat(n, mla_out_gradient(n), mla_data(n->in[A]), n->mode[B], mla_in_gradient(n, B));
}

static void row_forward(const mla_node *n) { multiply_rows(n, n->in[A]->data, n->in[B]->data, MLA_SET, n->out->data); }

static void row_backward(const mla_node *n) {
    if (n->mode[A]) multiply_rows(n, n->out->grad, n->in[B]->data, n->mode[A], n->grad[A]);
    if (n->mode[B])
        mla_sum_rows(mla_tape_context(n->tape), n->mode[B], mla_rows(n->out), mla_width(n->out), mla_out_gradient(n),
                     n->in[A]->data, n->grad[B]);
}

static const mla_op mul_same = {
    .name = "mul", .forward = same_forward, .backward = same_backward, .keeps = MLA_INPUT(A) | MLA_INPUT(B)};
static const mla_op mul_row = {
    .name = "mul", .forward = row_forward, .backward = row_backward, .keeps = MLA_INPUT(A) | MLA_INPUT(B)};

mla_tensor *mla_mul(mla_tape *tape, mla_tensor *a, mla_tensor *b) {
    mla_node *n = mla_op_begin_real(tape, &mul_same, 2, (mla_tensor *[]){a, b});
    if (!n) return mla_inert(tape);
    if (!mla_same_shape(a, b)) n->op = &mul_row;
    if (n->op == &mul_row && !mla_is_row_of(b, a))
        return mla_op_refuse(n, "b must have the shape of a, or be one row of f32 as wide");
    if (a->dtype != b->dtype) return mla_op_refuse(n, "a and b must be of one type");
    return mla_op_finish(n, a->dtype, a->ndim, a->shape);
}
