/* z = y + s B A x, in y's memory or a copy:  y, z (rows,out), x (rows,in), A (r,in), B (out,r)   Hu et al. 2021, eq. 3
 *
 *     h = s A x,  z = y + B h;   dy = dz, shared,  u = s Bᵀ dz,  dB = dzᵀ h,  dA = uᵀ x,  dx = u A
 *
 * Every product has r as one of its sizes, and no array of out or in numbers a row is made. Adapters of few ranks are
 * taken row by row instead (lora_rows.c). */
#include "autograd/ops/lora/lora.h"
#include "autograd/base/vecmath.h"
#include "autograd/kernels/gemm.h"
#include "autograd/ops.h"

enum { Y, X, A, B };
enum { LOW, ROUNDED }; /* saved: h; x in bf16, where it came in f32 */

MLA_VECTOR static void scale_piece(int64_t count, float factor, const float *x, float *y) {
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) y[j] = factor * x[j];
}

static void scale_all(const mla_node *n, int64_t count, float factor, mla_values x) {
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < count; i += MLA_PIECE) {
        float buffer[2][MLA_PIECE], *out = mla_target(x, MLA_SET, i, buffer[1]);
        scale_piece(mla_piece(count, i), factor, mla_load(x, i, mla_piece(count, i), buffer[0]), out);
        mla_store(x, MLA_SET, i, mla_piece(count, i), out);
    }
}

/* Row by row takes preparations, which need some rows to pay. */
static bool by_rows(const mla_tensor *a, int64_t rows) { return a->shape[0] <= MLA_FEW_RANKS && rows >= 64; }

void mla_lora_product_apply(const mla_lora_product *l, const void *x, void *y, void *h, void *scratch) {
    mla_context *context = mla_tape_context(l->node->tape);
    const mla_tensor *a = l->node->in[l->a], *b = l->node->in[l->b];
    const mla_dtype type = l->type;
    if (by_rows(a, l->rows)) {
        mla_lora_rows_apply(l, x, y, h, scratch);
        return;
    }
    const mla_gemm_shape down = {.m = l->rows,
                                 .n = a->shape[0],
                                 .k = a->shape[1],
                                 .b_transposed = true,
                                 .a_type = type,
                                 .b_type = type,
                                 .c_type = type};
    const mla_gemm_shape up = {.m = l->rows,
                               .n = b->shape[0],
                               .k = a->shape[0],
                               .b_transposed = true,
                               .a_type = type,
                               .b_type = type,
                               .c_type = type,
                               .accumulate = true};
    const void *a_data = mla_op_operand(l->node, l->a, type), *b_data = mla_op_operand(l->node, l->b, type);
    if (!a_data || !b_data) return;
    mla_gemm_now(context, &down, x, a_data, h, NULL);
    scale_all(l->node, l->rows * a->shape[0], l->scale, (mla_values){h, type});
    if (y) mla_gemm_now(context, &up, h, b_data, y, NULL);
}

int64_t mla_lora_product_size(const mla_tensor *a, int64_t rows) {
    return rows * (by_rows(a, rows) ? MLA_FEW_RANKS : a->shape[0]) * (int64_t)sizeof(float);
}

int64_t mla_lora_product_scratch(const mla_tape *tape, const mla_tensor *a, const mla_tensor *b, int64_t rows) {
    if (by_rows(a, rows)) return mla_lora_rows_scratch(tape, a, b, rows);
    return (rows > b->shape[0] ? rows : b->shape[0]) * a->shape[0] * (int64_t)sizeof(float);
}

void mla_lora_product_turn(const mla_context *context, mla_grad_mode mode, int64_t rows, int64_t width, const float *x,
                           mla_values gradient) {
    const mla_values from = {(void *)(uintptr_t)x, MLA_F32};
    for (int64_t i = 0; i < rows; i++)
        mla_move_blocks(context, mode, &(mla_block_move){width, 1, 1, rows}, mla_beyond(from, i * width),
                        mla_beyond(gradient, i));
}

void mla_lora_product_gradients(const mla_lora_product *l, const void *x, const void *dy, const void *h,
                                mla_grad_mode dx_mode, mla_values dx, void *u) {
    const mla_node *n = l->node;
    mla_context *context = mla_tape_context(n->tape);
    const mla_tensor *a = n->in[l->a], *b = n->in[l->b];
    const int64_t rows = l->rows, in = a->shape[1], out = b->shape[0], rank = a->shape[0];
    const mla_dtype type = l->type;
    if (by_rows(a, l->rows)) {
        mla_lora_rows_gradients(l, x, dy, h, dx_mode, dx, u);
        return;
    }
    const mla_gemm_shape db = {
        .m = rank, .n = out, .k = rows, .a_transposed = true, .ldb = l->dy_stride, .a_type = type, .b_type = type};
    const mla_gemm_shape du = {
        .m = rows, .n = rank, .k = out, .lda = l->dy_stride, .a_type = type, .b_type = type, .c_type = type};
    const mla_gemm_shape da = {.m = rank,
                               .n = in,
                               .k = rows,
                               .a_transposed = true,
                               .a_type = type,
                               .b_type = type,
                               .c_type = a->dtype,
                               .accumulate = n->mode[l->a] == MLA_ADD};
    const mla_gemm_shape to_x = {.m = rows,
                                 .n = in,
                                 .k = rank,
                                 .a_type = type,
                                 .b_type = type,
                                 .c_type = dx.type,
                                 .accumulate = dx_mode == MLA_ADD};
    if (n->mode[l->b]) { /* hᵀ dy is three times as fast as dyᵀ h, which is as narrow as r */
        mla_gemm_now(context, &db, h, dy, u, NULL);
        mla_lora_product_turn(context, n->mode[l->b], rank, out, u, mla_in_gradient(n, l->b));
    }
    mla_gemm_now(context, &du, dy, mla_op_operand(n, l->b, type), u, NULL);
    scale_all(n, rows * rank, l->scale, (mla_values){u, type});
    if (n->mode[l->a]) mla_gemm_now(context, &da, u, x, n->grad[l->a], NULL);
    if (dx_mode) mla_gemm_now(context, &to_x, u, mla_op_operand(n, l->a, type), dx.data, NULL);
}

static mla_lora_product low_of(const mla_node *n) {
    return (mla_lora_product){
        .node = n, .a = A, .b = B, .scale = *(float *)n->attributes, .rows = mla_rows(n->in[X]), .type = n->out->dtype};
}

static const void *product_input(const mla_node *n) { return n->saved[ROUNDED] ? n->saved[ROUNDED] : n->in[X]->data; }

static void lora_forward(const mla_node *n) {
    const mla_tensor *x = n->in[X];
    const mla_lora_product low = low_of(n);
    if (n->saved[ROUNDED]) mla_narrow_all(mla_tape_context(n->tape), mla_count(x), x->data, n->saved[ROUNDED]);
    mla_lora_product_apply(&low, product_input(n), n->out->data, n->saved[LOW], n->scratch);
}

static void lora_backward(const mla_node *n) {
    const mla_lora_product low = low_of(n);
    mla_lora_product_gradients(&low, product_input(n), n->out->grad, n->saved[LOW], n->mode[X], mla_in_gradient(n, X),
                               n->scratch);
}

static mla_cost lora_cost(const mla_node *n) {
    const double rows = (double)mla_rows(n->in[X]), rank = (double)n->in[A]->shape[0];
    const double narrow = 2 * rows * rank * (double)mla_width(n->in[X]),
                 wide = 2 * rows * rank * (double)mla_width(n->out);
    const int back = mla_op_differentiates(n, A) + mla_op_differentiates(n, X);
    const double bytes = (double)mla_size(n->in[X]) + 2 * (double)mla_size(n->out);
    return (mla_cost){.forward_flops = narrow + wide,
                      .backward_flops = narrow * back + wide * (mla_op_differentiates(n, B) + (back > 0)),
                      .forward_bytes = bytes,
                      .backward_bytes = bytes * back};
}

static const mla_op lora = {.name = "lora",
                            .forward = lora_forward,
                            .backward = lora_backward,
                            .cost = lora_cost,
                            .attributes = sizeof(float),
                            .keeps = MLA_INPUT(X) | MLA_INPUT(A) | MLA_INPUT(B),
                            .passes = MLA_INPUT(Y),
                            .overwrites = true};
static const mla_op without_x = {.name = "lora",
                                 .forward = lora_forward,
                                 .backward = lora_backward,
                                 .cost = lora_cost,
                                 .attributes = sizeof(float),
                                 .keeps = MLA_INPUT(A) | MLA_INPUT(B),
                                 .passes = MLA_INPUT(Y),
                                 .overwrites = true};

static const char *lora_misfit(const mla_tensor *y, const mla_tensor *x, const mla_tensor *a, const mla_tensor *b) {
    if (a->ndim != 2 || b->ndim != 2 || a->shape[0] != b->shape[1]) return "A and B must be (r,in) and (out,r)";
    if (a->shape[1] != mla_width(x) || b->shape[0] != mla_width(y))
        return "A must be as wide as x, B as high as y is wide";
    if (mla_rows(x) != mla_rows(y)) return "x and y must have as many rows";
    return x->dtype == MLA_BF16 && y->dtype == MLA_F32 ? "x is bf16 and y f32" : NULL;
}

mla_tensor *mla_lora(mla_tape *tape, mla_tensor *y, mla_tensor *x, mla_tensor *a, mla_tensor *b, float scale) {
    const bool rounded = x->dtype != y->dtype, keeps_x = a->needs_grad && !rounded;
    mla_node *n = mla_op_begin_real(tape, keeps_x ? &lora : &without_x, 4, (mla_tensor *[]){y, x, a, b});
    if (!n) return mla_inert(tape);
    const char *why = lora_misfit(y, x, a, b);
    if (why) return mla_op_refuse(n, "%s", why);
    *(float *)n->attributes = scale;
    mla_op_save(n, LOW, mla_lora_product_size(a, mla_rows(x)));
    if (rounded) mla_op_save(n, ROUNDED, mla_count(x) * (int64_t)mla_dtype_size(y->dtype));
    n->forward_scratch = n->backward_scratch = mla_lora_product_scratch(tape, a, b, mla_rows(x));
    return mla_op_finish(n, y->dtype, y->ndim, y->shape);
}
