/* y = [a; b] along a dimension:  da and db are their parts of dy */
#include "autograd/op.h"
#include "autograd/ops.h"

#include <string.h>

enum { A, B };

/* How blocks of a lie in y, and blocks of b after them. */
typedef struct {
    int64_t blocks, a_length, b_length;
} layout;

static layout plan_layout(const mla_node *n) {
    const int dimension = *(int *)n->attributes;
    layout l = {1, 1, 1};
    for (int d = 0; d < dimension; d++) l.blocks *= n->out->shape[d];
    l.a_length = mla_count(n->in[A]) / l.blocks;
    l.b_length = mla_count(n->in[B]) / l.blocks;
    return l;
}

static void concat_forward(const mla_node *n) {
    const layout l = plan_layout(n);
    const int64_t length = l.a_length + l.b_length;
    const mla_context *context = mla_tape_context(n->tape);
    const mla_values y = mla_data(n->out);
    mla_move_blocks(context, MLA_SET, &(mla_block_move){l.blocks, l.a_length, l.a_length, length}, mla_data(n->in[A]),
                    y);
    mla_move_blocks(context, MLA_SET, &(mla_block_move){l.blocks, l.b_length, l.b_length, length}, mla_data(n->in[B]),
                    mla_beyond(y, l.a_length));
}

static void concat_backward(const mla_node *n) {
    const layout l = plan_layout(n);
    const int64_t length = l.a_length + l.b_length;
    const mla_context *context = mla_tape_context(n->tape);
    const mla_values dy = mla_out_gradient(n);
    mla_move_blocks(context, n->mode[A], &(mla_block_move){l.blocks, l.a_length, length, l.a_length}, dy,
                    mla_in_gradient(n, A));
    mla_move_blocks(context, n->mode[B], &(mla_block_move){l.blocks, l.b_length, length, l.b_length},
                    mla_beyond(dy, l.a_length), mla_in_gradient(n, B));
}

static const mla_op concat = {
    .name = "concat", .forward = concat_forward, .backward = concat_backward, .attributes = sizeof(int)};

mla_tensor *mla_concat(mla_tape *tape, mla_tensor *a, mla_tensor *b, int dimension) {
    mla_node *n = mla_op_begin_real(tape, &concat, 2, (mla_tensor *[]){a, b});
    if (!n) return mla_inert(tape);
    if (a->dtype != b->dtype) return mla_op_refuse(n, "a and b must have one type");
    if (dimension < 0 || dimension >= a->ndim) return mla_op_refuse(n, "a has no dimension %d", dimension);
    int64_t shape[MLA_MAX_DIMS];
    memcpy(shape, a->shape, sizeof shape);
    shape[dimension] = b->ndim == a->ndim ? b->shape[dimension] : 0;
    if (b->ndim != a->ndim || memcmp(shape, b->shape, (size_t)a->ndim * sizeof *shape))
        return mla_op_refuse(n, "a and b must have one shape but for dimension %d", dimension);
    shape[dimension] += a->shape[dimension];
    *(int *)n->attributes = dimension;
    return mla_op_finish(n, a->dtype, a->ndim, shape);
}
