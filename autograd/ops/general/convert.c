/* y = x as f32 or bf16, rounded to nearest even. Inference only. */
#include "autograd/op.h"
#include "autograd/ops.h"

static void convert_forward(const mla_node *n) {
    const mla_block_move all = {.blocks = mla_rows(n->out), .length = mla_width(n->out)};
    mla_block_move move = all;
    move.from_stride = move.to_stride = all.length;
    mla_move_blocks(mla_tape_context(n->tape), MLA_SET, &move, mla_data(n->in[0]), mla_data(n->out));
}

static const mla_op convert = {.name = "convert", .forward = convert_forward};

mla_tensor *mla_convert(mla_tape *tape, mla_tensor *x, mla_dtype type) {
    if (x->dtype == type) return x;
    mla_node *n = mla_op_begin_real(tape, &convert, 1, &x);
    if (!n) return mla_inert(tape);
    if (type == MLA_I32) return mla_op_refuse(n, "the type must be f32 or bf16");
    return mla_op_finish(n, type, x->ndim, x->shape);
}
