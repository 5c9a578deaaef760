/* y = x under another shape: the same memory, and the same gradient. */
#include "autograd/op.h"
#include "autograd/ops.h"

static const mla_op reshape = {.name = "reshape", .passes = MLA_INPUT(0), .aliases = true};

mla_tensor *mla_reshape(mla_tape *tape, mla_tensor *x, int ndim, const int64_t *shape) {
    mla_node *n = mla_op_begin(tape, &reshape, 1, &x);
    if (!n) return mla_inert(tape);
    if (mla_shape_count(ndim, shape) != mla_count(x))
        return mla_op_refuse(n, "the new shape must have as many elements as x, %lld", (long long)mla_count(x));
    return mla_op_finish(n, x->dtype, ndim, shape);
}
