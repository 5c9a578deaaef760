/* z = y + s B A x, in y's memory:  y, z (rows,out), x (rows,in), A (r,in), B (out,r)        Hu et al. 2021, eq. 3
 *
 *     h = s A x,  z = y + B h;   dy = dz, shared,  dh = s Bᵀ dz,  dB = dzᵀ h,  dA = dhᵀ x,  dx = dh A
 *
 * Every product has r as one of its sizes, and no array of out or in numbers a row is made. */
#include "autograd/gemm.h"
#include "autograd/ops.h"
#include "autograd/rows.h"
#include "autograd/vecmath.h"

enum { Y, X, A, B };
enum { LOW, ROUNDED }; /* saved: h; x in bf16, where it came in f32 */

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

static const void *product_input(const mla_node *n) { return n->saved[ROUNDED] ? n->saved[ROUNDED] : n->in[X]->data; }

static void lora_forward(const mla_node *n) {
    mla_context *context = mla_tape_context(n->tape);
    const mla_tensor *x = n->in[X];
    const mla_dtype type = n->out->dtype;
    const int64_t rows = mla_rows(x), in = mla_width(x), out = mla_width(n->out), rank = n->in[A]->shape[0];
    const mla_gemm_shape down = {.m = rows, .n = rank, .k = in, .b_transposed = true,
                                 .a_type = type, .b_type = type, .c_type = type};
    const mla_gemm_shape up = {.m = rows, .n = out, .k = rank, .b_transposed = true,
                               .a_type = type, .b_type = type, .c_type = type, .accumulate = true};
    const void *a = mla_op_operand(n, A, type), *b = mla_op_operand(n, B, type);
    if (!a || !b) return;
    if (n->saved[ROUNDED]) mla_narrow_all(mla_count(x), x->data, n->saved[ROUNDED]);
    mla_gemm_now(context, &down, product_input(n), a, n->saved[LOW], NULL);
    scale_all(rows * rank, *(float *)n->attributes, (mla_values){n->saved[LOW], type});
    mla_gemm_now(context, &up, n->saved[LOW], b, n->out->data, NULL);
}

static void lora_backward(const mla_node *n) {
    mla_context *context = mla_tape_context(n->tape);
    const mla_tensor *x = n->in[X], *dz = n->out;
    const mla_dtype type = n->out->dtype;
    const int64_t rows = mla_rows(x), in = mla_width(x), out = mla_width(dz), rank = n->in[A]->shape[0];
    const mla_gemm_shape dh = {.m = rows, .n = rank, .k = out, .a_type = type, .b_type = type, .c_type = type};
    const mla_gemm_shape db = {.m = out, .n = rank, .k = rows, .a_transposed = true, .a_type = type, .b_type = type,
                               .c_type = n->in[B]->dtype, .accumulate = n->mode[B] == MLA_ADD};
    const mla_gemm_shape da = {.m = rank, .n = in, .k = rows, .a_transposed = true, .a_type = type, .b_type = type,
                               .c_type = n->in[A]->dtype, .accumulate = n->mode[A] == MLA_ADD};
    const mla_gemm_shape dx = {.m = rows, .n = in, .k = rank, .a_type = type, .b_type = type, .c_type = x->dtype,
                               .accumulate = n->mode[X] == MLA_ADD};
    if (n->mode[B]) mla_gemm_now(context, &db, dz->grad, n->saved[LOW], n->grad[B], NULL);
    if (!n->mode[A] && !n->mode[X]) return;
    mla_gemm_now(context, &dh, dz->grad, mla_op_operand(n, B, type), n->scratch, NULL);
    scale_all(rows * rank, *(float *)n->attributes, (mla_values){n->scratch, type});
    if (n->mode[A]) mla_gemm_now(context, &da, n->scratch, product_input(n), n->grad[A], NULL);
    if (n->mode[X]) mla_gemm_now(context, &dx, n->scratch, mla_op_operand(n, A, type), n->grad[X], NULL);
}

static mla_cost lora_cost(const mla_node *n) {
    const double rows = (double)mla_rows(n->in[X]), rank = (double)n->in[A]->shape[0];
    const double narrow = 2 * rows * rank * (double)mla_width(n->in[X]), wide = 2 * rows * rank * (double)mla_width(n->out);
    const int back = mla_op_differentiates(n, A) + mla_op_differentiates(n, X);
    const double bytes = (double)mla_size(n->in[X]) + 2 * (double)mla_size(n->out);
    return (mla_cost){narrow + wide, narrow * back + wide * (mla_op_differentiates(n, B) + (back > 0)), bytes, bytes * back};
}

static const mla_op lora = {.name = "lora", .forward = lora_forward, .backward = lora_backward, .cost = lora_cost,
                            .keeps = MLA_INPUT(X) | MLA_INPUT(A) | MLA_INPUT(B), .passes = MLA_INPUT(Y),
                            .aliases = true};
static const mla_op without_x = {.name = "lora", .forward = lora_forward, .backward = lora_backward, .cost = lora_cost,
                                 .keeps = MLA_INPUT(A) | MLA_INPUT(B), .passes = MLA_INPUT(Y), .aliases = true};

static const char *misfit(const mla_tensor *y, const mla_tensor *x, const mla_tensor *a, const mla_tensor *b) {
    if (a->ndim != 2 || b->ndim != 2 || a->shape[0] != b->shape[1]) return "A and B must be (r,in) and (out,r)";
    if (a->shape[1] != mla_width(x) || b->shape[0] != mla_width(y)) return "A must be as wide as x, B as high as y is wide";
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
    n->backward_scratch = low;
    return mla_op_finish(n, y->dtype, y->ndim, y->shape);
}
