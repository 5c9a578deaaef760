/* y = x Wᵀ + b:  x (rows,in), W (out,in), b (out), y (rows,out)
 * dx = dy W,  dW = dyᵀ x,  db = sum over rows of dy
 *
 * The products are of the step's precision. Where x comes in f32 and the product is of bf16, x is rounded once, and
 * saved if backward needs it again. A frozen W has no dW, and then x is not kept for it.
 *
 * In a step of decoding rows are few, and W is read once for all of them; x is not rounded then. */
#include "autograd/kernels/few_rows.h"
#include "autograd/kernels/gemm.h"
#include "autograd/op.h"
#include "autograd/ops.h"
#include "autograd/packed_weight.h"

enum { X, W, B };
enum { ROUNDED }; /* saved */

static mla_dtype precision_of(const mla_node *n) { return mla_tape_step(n->tape)->precision; }

static bool rounds(const mla_node *n) { return n->in[X]->dtype != precision_of(n); }

static const void *product_input(const mla_node *n) { return n->saved[ROUNDED] ? n->saved[ROUNDED] : n->in[X]->data; }

static bool has_few_rows(const mla_node *n) {
    return mla_tape_step(n->tape)->decoding && mla_rows(n->in[X]) <= MLA_MOST_FEW_ROWS;
}

static void multiply_few_rows(const mla_node *n, const void *weight) {
    const mla_tensor *x = n->in[X], *w = n->in[W];
    const mla_few_rows product = {.m = mla_rows(x),
                                  .n = w->shape[0],
                                  .k = w->shape[1],
                                  .x = mla_data(x),
                                  .w = {(void *)(uintptr_t)weight, precision_of(n)},
                                  .y = mla_data(n->out),
                                  .bias = n->in[B] ? n->in[B]->data : NULL};
    mla_few_rows_multiply(mla_tape_context(n->tape), &product, n->scratch);
}

static void linear_forward(const mla_node *n) {
    const mla_tensor *x = n->in[X], *w = n->in[W], *b = n->in[B];
    const mla_dtype type = precision_of(n);
    const mla_gemm_shape shape = {.m = mla_rows(x),
                                  .n = w->shape[0],
                                  .k = w->shape[1],
                                  .b_transposed = true,
                                  .a_type = type,
                                  .b_type = type,
                                  .c_type = n->out->dtype,
                                  .bias = b != NULL};
    mla_context *context = mla_tape_context(n->tape);
    const void *weight = mla_op_operand(n, W, type);
    if (!weight) return;
    if (has_few_rows(n)) {
        multiply_few_rows(n, weight);
        return;
    }
    void *rounded = n->saved[ROUNDED] ? n->saved[ROUNDED] : n->scratch;
    if (rounds(n)) mla_narrow_all(context, mla_count(x), x->data, rounded);
    mla_multiply_by_weight(context, &shape, rounds(n) ? rounded : x->data, w, n->out->data, b ? b->data : NULL);
}

static void linear_backward(const mla_node *n) {
    mla_context *context = mla_tape_context(n->tape);
    const mla_tensor *x = n->in[X], *w = n->in[W], *y = n->out;
    const int64_t rows = mla_rows(x), in = w->shape[1], out = w->shape[0];
    const mla_gemm_shape dx = {.m = rows,
                               .n = in,
                               .k = out,
                               .a_type = y->dtype,
                               .b_type = y->dtype,
                               .c_type = x->dtype,
                               .accumulate = n->mode[X] == MLA_ADD};
    const mla_gemm_shape dw = {.m = out,
                               .n = in,
                               .k = rows,
                               .a_transposed = true,
                               .a_type = y->dtype,
                               .b_type = y->dtype,
                               .c_type = w->dtype,
                               .accumulate = n->mode[W] == MLA_ADD};
    if (n->mode[X]) mla_multiply_by_weight(context, &dx, y->grad, w, n->grad[X], NULL);
    if (n->mode[W]) mla_gemm_now(context, &dw, y->grad, product_input(n), n->grad[W], NULL);
    if (n->mode[B]) mla_sum_rows(context, n->mode[B], rows, out, mla_out_gradient(n), NULL, n->grad[B]);
}

static mla_cost linear_cost(const mla_node *n) {
    const double product = 2 * (double)mla_rows(n->in[X]) * (double)mla_count(n->in[W]);
    const double bytes = (double)(mla_size(n->in[X]) + mla_size(n->in[W]) + mla_size(n->out));
    const int gradients = mla_op_differentiates(n, X) + mla_op_differentiates(n, W);
    const int64_t elements = mla_count(n->in[X]) + mla_count(n->in[W]) + mla_count(n->out);
    return (mla_cost){.forward_flops = product,
                      .backward_flops = product * gradients,
                      .forward_bytes = bytes,
                      .backward_bytes = bytes * gradients,
                      .widened_bytes = (double)elements * sizeof(float)};
}

static const mla_op linear = {.name = "linear",
                              .forward = linear_forward,
                              .backward = linear_backward,
                              .cost = linear_cost,
                              .keeps = MLA_INPUT(X) | MLA_INPUT(W)};
static const mla_op without_x = {.name = "linear",
                                 .forward = linear_forward,
                                 .backward = linear_backward,
                                 .cost = linear_cost,
                                 .keeps = MLA_INPUT(W)};

static const mla_op logits = {.name = "logits", .forward = linear_forward, .cost = linear_cost};

static mla_tensor *build(mla_node *n, mla_dtype out) {
    mla_tensor *x = n->in[X], *weight = n->in[W], *bias = n->in[B];
    const mla_dtype type = precision_of(n);
    const bool rounded = x->dtype == MLA_F32 && type == MLA_BF16;
    if (weight->ndim != 2 || mla_width(x) != weight->shape[1])
        return mla_op_refuse(n, "the weight must be (out,in) with in the width of x");
    if (bias && (bias->ndim != 1 || bias->shape[0] != weight->shape[0]))
        return mla_op_refuse(n, "the bias must be as wide as the weight has rows");
    if (bias && bias->dtype != MLA_F32) return mla_op_refuse(n, "the bias must be f32");
    if (x->dtype == MLA_BF16 && type == MLA_F32) return mla_op_refuse(n, "x is bf16 in a step of f32");
    const int64_t bytes = mla_count(x) * (int64_t)mla_dtype_size(MLA_BF16);
    if (rounded && weight->needs_grad) mla_op_save(n, ROUNDED, bytes);
    else if (rounded) n->forward_scratch = bytes;
    if (has_few_rows(n)) n->forward_scratch = mla_few_rows_room(mla_rows(x), mla_width(x)) * (int64_t)sizeof(float);
    int64_t shape[MLA_MAX_DIMS];
    for (int i = 0; i < x->ndim; i++) shape[i] = i == x->ndim - 1 ? weight->shape[0] : x->shape[i];
    return mla_op_finish(n, out, x->ndim, shape);
}

mla_tensor *mla_linear(mla_tape *tape, mla_tensor *x, mla_tensor *weight, mla_tensor *bias) {
    const mla_dtype type = mla_tape_step(tape)->precision;
    const bool rounded = x->dtype == MLA_F32 && type == MLA_BF16, keeps_x = weight->needs_grad && !rounded;
    mla_node *n = mla_op_begin_real(tape, keeps_x ? &linear : &without_x, 3, (mla_tensor *[]){x, weight, bias});
    return n ? build(n, type) : mla_inert(tape);
}

mla_tensor *mla_logits(mla_tape *tape, mla_tensor *x, mla_tensor *weight) {
    mla_node *n = mla_op_begin_real(tape, &logits, 3, (mla_tensor *[]){x, weight, NULL});
    return n ? build(n, MLA_F32) : mla_inert(tape);
}
