/* z = a + b, where b has a's shape or is one row for all rows of a
 * da = dz, shared and not copied;  db = dz, or its sum over rows */
#include "autograd/base/vecmath.h"
#include "autograd/op.h"
#include "autograd/ops.h"

enum { A, B };

MLA_VECTOR static void add_piece(int64_t count, const float *a, const float *b, float *z) {
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) z[j] = a[j] + b[j];
}

static void same_forward(const mla_node *n) {
    const float *a = n->in[A]->data, *b = n->in[B]->data;
    float *z = n->out->data;
    const int64_t count = mla_count(n->out);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < count; i += MLA_PIECE) add_piece(mla_piece(count, i), a + i, b + i, z + i);
}

static void row_forward(const mla_node *n) {
    const int64_t rows = mla_rows(n->out), width = mla_width(n->out);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < rows; i++) add_piece(width, mla_row(n->in[A], i), n->in[B]->data, mla_row(n->out, i));
}

static void row_backward(const mla_node *n) {
    if (n->mode[B])
        mla_sum_rows(mla_tape_context(n->tape), n->mode[B], mla_rows(n->out), mla_width(n->out), mla_out_gradient(n),
                     NULL, n->grad[B]);
}

static const mla_op add_same = {.name = "add", .forward = same_forward, .passes = MLA_INPUT(A) | MLA_INPUT(B)};
static const mla_op add_row = {.name = "add", .forward = row_forward, .backward = row_backward, .passes = MLA_INPUT(A)};

mla_tensor *mla_add(mla_tape *tape, mla_tensor *a, mla_tensor *b) {
    mla_node *n = mla_op_begin_f32(tape, &add_same, 2, (mla_tensor *[]){a, b});
    if (!n) return mla_inert(tape);
    if (!mla_same_shape(a, b)) n->op = &add_row;
    if (n->op == &add_row && !mla_is_row_of(b, a))
        return mla_op_refuse(n, "b must have the shape of a, or be one row as wide");
    return mla_op_finish(n, MLA_F32, a->ndim, a->shape);
}
