/* y = x[begin ... begin + length - 1] along a dimension
 * dx = dy there, and 0 elsewhere */
#include "autograd/op.h"
#include "autograd/ops.h"

#include <string.h>

typedef struct {
    int dimension;
    int64_t begin;
} attributes;

/* How blocks of y lie in x: `offset` is where the first one begins. */
static mla_block_move plan_move(const mla_node *n, int64_t *offset) {
    const attributes *a = n->attributes;
    const mla_tensor *x = n->in[0], *y = n->out;
    int64_t blocks = 1, inner = 1;
    for (int d = 0; d < a->dimension; d++) blocks *= x->shape[d];
    for (int d = a->dimension + 1; d < x->ndim; d++) inner *= x->shape[d];
    *offset = a->begin * inner;
    return (mla_block_move){.blocks = blocks,
                            .length = y->shape[a->dimension] * inner,
                            .from_stride = x->shape[a->dimension] * inner,
                            .to_stride = y->shape[a->dimension] * inner};
}

static void slice_forward(const mla_node *n) {
    int64_t offset;
    const mla_block_move move = plan_move(n, &offset);
    mla_move_blocks(mla_tape_context(n->tape), MLA_SET, &move, mla_beyond(mla_data(n->in[0]), offset),
                    mla_data(n->out));
}

static void slice_backward(const mla_node *n) {
    int64_t offset;
    const mla_block_move there = plan_move(n, &offset);
    const mla_block_move back = {there.blocks, there.length, there.to_stride, there.from_stride};
    if (n->mode[0] == MLA_SET) memset(n->grad[0], 0, (size_t)mla_size(n->in[0]));
    mla_move_blocks(mla_tape_context(n->tape), n->mode[0], &back, mla_out_gradient(n),
                    mla_beyond(mla_in_gradient(n, 0), offset));
}

static const mla_op slice = {
    .name = "slice", .forward = slice_forward, .backward = slice_backward, .attributes = sizeof(attributes)};

mla_tensor *mla_slice(mla_tape *tape, mla_tensor *x, int dimension, int64_t begin, int64_t length) {
    mla_node *n = mla_op_begin_real(tape, &slice, 1, &x);
    if (!n) return mla_inert(tape);
    if (dimension < 0 || dimension >= x->ndim) return mla_op_refuse(n, "x has no dimension %d", dimension);
    if (begin < 0 || length < 1 || length > x->shape[dimension] - begin)
        return mla_op_refuse(n, "%lld elements from %lld on are not all within dimension %d", (long long)length,
                             (long long)begin, dimension);
    int64_t shape[MLA_MAX_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    shape[dimension] = length;
    *(attributes *)n->attributes = (attributes){dimension, begin};
    return mla_op_finish(n, x->dtype, x->ndim, shape);
}
