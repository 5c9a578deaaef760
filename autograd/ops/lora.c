/* z = y + s B A x, in y's memory:  y, z (rows,out), x (rows,in), A (r,in), B (out,r)        Hu et al. 2021, eq. 3
 *
 *     h = s A x,  z = y + B h;   dy = dz, shared,  u = s Bᵀ dz,  dB = dzᵀ h,  dA = uᵀ x,  dx = u A
 *
 * Every product has r as one of its sizes, and no array of out or in numbers a row is made. */
#include "autograd/ops/lora.h"
#include "autograd/gemm.h"
#include "autograd/ops.h"
#include "autograd/rows.h"
#include "autograd/vecmath.h"

enum { Y, X, A, B };
enum { LOW, ROUNDED }; /* saved: h; x in bf16, where it came in f32. scratch: u */

MLA_VECTOR static void scale_piece(int64_t count, float factor, const float *x, float *y) {
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) y[j] = factor * x[j];
}

static void scale_all(int64_t count, float factor, mla_values x) {
    #pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += MLA_PIECE) {
        float buffer[2][MLA_PIECE], *out = mla_target(x, MLA_SET, i, buffer[1]);
        scale_piece(mla_piece(count, i), factor, mla_load(x, i, mla_piece(count, i), buffer[0]), out);
        mla_store(x, MLA_SET, i, mla_piece(count, i), out);
    }
}

void mla_low_project(const mla_low *l, const void *x, void *h) {
    const mla_tensor *a = l->node->in[l->a];
    const mla_gemm_shape shape = {.m = l->rows, .n = a->shape[0], .k = a->shape[1], .b_transposed = true,
                                  .a_type = l->type, .b_type = l->type, .c_type = l->type};
    mla_gemm_now(mla_tape_context(l->node->tape), &shape, x, mla_op_operand(l->node, l->a, l->type), h, NULL);
    scale_all(l->rows * a->shape[0], l->scale, (mla_values){h, l->type});
}

int64_t mla_low_scratch(const mla_tensor *a, const mla_tensor *b, int64_t rows) {
    return (rows > b->shape[0] ? rows : b->shape[0]) * a->shape[0] * (int64_t)sizeof(float);
}

/* x (rows,width) into a gradient (width,rows) */
static void turn(mla_grad_mode mode, int64_t rows, int64_t width, const float *x, mla_values gradient) {
    for (int64_t j = 0; j < width; j++)
        for (int64_t i = 0; i < rows; i++) mla_store(gradient, mode, j * rows + i, 1, x + i * width + j);
}

void mla_low_gradients(const mla_low *l, const void *x, const void *dy, const void *h, void *u) {
    const mla_node *n = l->node;
    mla_context *context = mla_tape_context(n->tape);
    const mla_tensor *a = n->in[l->a], *b = n->in[l->b];
    const int64_t rows = l->rows, in = a->shape[1], out = b->shape[0], rank = a->shape[0];
    const mla_dtype type = l->type;
    const mla_gemm_shape db =
        {.m = rank, .n = out, .k = rows, .a_transposed = true, .ldb = l->dy_stride, .a_type = type, .b_type = type};
    const mla_gemm_shape du = {.m = rows, .n = rank, .k = out, .lda = l->dy_stride, .a_type = type, .b_type = type,
                               .c_type = type};
    const mla_gemm_shape da = {.m = rank, .n = in, .k = rows, .a_transposed = true, .a_type = type, .b_type = type,
                               .c_type = a->dtype, .accumulate = n->mode[l->a] == MLA_ADD};
    if (n->mode[l->b]) { /* hᵀ dy is three times as fast as dyᵀ h, which is as narrow as r */
        mla_gemm_now(context, &db, h, dy, u, NULL);
        turn(n->mode[l->b], rank, out, u, mla_in_gradient(n, l->b));
    }
    mla_gemm_now(context, &du, dy, mla_op_operand(n, l->b, type), u, NULL);
    scale_all(rows * rank, l->scale, (mla_values){u, type});
    if (n->mode[l->a]) mla_gemm_now(context, &da, u, x, n->grad[l->a], NULL);
}

static mla_low low_of(const mla_node *n) {
    return (mla_low){.node = n, .a = A, .b = B, .scale = *(float *)n->attributes, .rows = mla_rows(n->in[X]),
                     .type = n->out->dtype};
}

static const void *product_input(const mla_node *n) { return n->saved[ROUNDED] ? n->saved[ROUNDED] : n->in[X]->data; }

static void lora_forward(const mla_node *n) {
    const mla_tensor *x = n->in[X];
    const mla_dtype type = n->out->dtype;
    const mla_low low = low_of(n);
    const mla_gemm_shape up = {.m = low.rows, .n = mla_width(n->out), .k = n->in[A]->shape[0], .b_transposed = true,
                               .a_type = type, .b_type = type, .c_type = type, .accumulate = true};
    const void *b = mla_op_operand(n, B, type);
    if (!mla_op_operand(n, A, type) || !b) return;
    if (n->saved[ROUNDED]) mla_narrow_all(mla_count(x), x->data, n->saved[ROUNDED]);
    mla_low_project(&low, product_input(n), n->saved[LOW]);
    mla_gemm_now(mla_tape_context(n->tape), &up, n->saved[LOW], b, n->out->data, NULL);
}

static void lora_backward(const mla_node *n) {
    const mla_tensor *x = n->in[X];
    const mla_low low = low_of(n);
    const mla_gemm_shape dx = {.m = low.rows, .n = mla_width(x), .k = n->in[A]->shape[0], .a_type = low.type,
                               .b_type = low.type, .c_type = x->dtype, .accumulate = n->mode[X] == MLA_ADD};
    mla_low_gradients(&low, product_input(n), n->out->grad, n->saved[LOW], n->scratch);
    if (n->mode[X])
        mla_gemm_now(mla_tape_context(n->tape), &dx, n->scratch, mla_op_operand(n, A, low.type), n->grad[X], NULL);
}

static mla_cost lora_cost(const mla_node *n) {
    const double rows = (double)mla_rows(n->in[X]), rank = (double)n->in[A]->shape[0];
    const double narrow = 2 * rows * rank * (double)mla_width(n->in[X]),
                 wide = 2 * rows * rank * (double)mla_width(n->out);
    const int back = mla_op_differentiates(n, A) + mla_op_differentiates(n, X);
    const double bytes = (double)mla_size(n->in[X]) + 2 * (double)mla_size(n->out);
    return (mla_cost){narrow + wide, narrow * back + wide * (mla_op_differentiates(n, B) + (back > 0)), bytes,
                      bytes * back};
}

static const mla_op lora = {.name = "lora", .forward = lora_forward, .backward = lora_backward, .cost = lora_cost,
                            .keeps = MLA_INPUT(X) | MLA_INPUT(A) | MLA_INPUT(B), .passes = MLA_INPUT(Y),
                            .aliases = true};
static const mla_op without_x = {.name = "lora", .forward = lora_forward, .backward = lora_backward, .cost = lora_cost,
                                 .keeps = MLA_INPUT(A) | MLA_INPUT(B), .passes = MLA_INPUT(Y), .aliases = true};

static const char *misfit(const mla_tensor *y, const mla_tensor *x, const mla_tensor *a, const mla_tensor *b) {
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
    const char *why = misfit(y, x, a, b);
    if (why) return mla_op_refuse(n, "%s", why);
    const int64_t size = (int64_t)mla_dtype_size(y->dtype), low = mla_rows(x) * a->shape[0] * size;
    *(float *)mla_op_attributes(n, sizeof scale) = scale;
    mla_op_save(n, LOW, low);
    if (rounded) mla_op_save(n, ROUNDED, mla_count(x) * size);
    n->backward_scratch = mla_low_scratch(a, b, mla_rows(x));
    return mla_op_finish(n, y->dtype, y->ndim, y->shape);
}
