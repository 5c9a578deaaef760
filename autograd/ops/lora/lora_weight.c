/* V = S + f (c (W + s B A) - W),  c_i = m_i / norm_i:  V, S, W (out,in), A (r,in), B (out,r); norm counts as a constant
 * dS = dV,  dm_i = f / norm_i sum over j of dV_ij (W + s B A)_ij,  G = f s c dV,  dA = Bᵀ G,  dB = G Aᵀ
 *
 * Without magnitude c is 1, and W cancels. In f32 but for V, whose type is chosen. */
#include "autograd/base/vecmath.h"
#include "autograd/kernels/gemm.h"
#include "autograd/op.h"
#include "autograd/ops.h"

enum { SUM, W, A, B, MAGNITUDE, NORM };

static void lora_weight_multiply(const mla_node *n, float *product) {
    const mla_gemm_shape shape = {.m = n->out->shape[0], .n = n->out->shape[1], .k = n->in[A]->shape[0]};
    mla_gemm_now(mla_tape_context(n->tape), &shape, n->in[B]->data, n->in[A]->data, product, NULL);
}

static float factor_of(const mla_node *n, int64_t row) {
    return n->in[MAGNITUDE] ? *((float *)n->in[MAGNITUDE]->data + row) / *((float *)n->in[NORM]->data + row) : 1;
}

/* w may be NULL, where it has no share in the result. */
MLA_VECTOR static void combine_row(int64_t width, const float *sum, float product_share, const float *product,
                                   float weight_share, const float *w, float *v) {
    MLA_SIMD
    for (int64_t j = 0; j < width; j++) v[j] = sum[j] + product_share * product[j] + (w ? weight_share * w[j] : 0);
}

static void lora_weight_forward(const mla_node *n) {
    const mla_lora_weight_options *o = n->attributes;
    const int64_t rows = n->out->shape[0], width = n->out->shape[1];
    const mla_values v = mla_data(n->out);
    float *product = n->scratch;
    lora_weight_multiply(n, product);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < rows; i++) {
        float *buffer = mla_thread_rows(product + rows * width, 3, width);
        float *row = mla_target(v, MLA_SET, i * width, buffer);
        const float c = factor_of(n, i), *sum = mla_load(mla_data(n->in[SUM]), i * width, width, buffer + width);
        combine_row(width, sum, o->share * c * o->scale, product + i * width, o->share * (c - 1),
                    n->in[MAGNITUDE] ? mla_load(mla_data(n->in[W]), i * width, width, buffer + 2 * width) : NULL, row);
        mla_store(v, MLA_SET, i * width, width, row);
    }
}

MLA_VECTOR static float magnitude_sum(int64_t width, const float *dv, const float *w, float scale,
                                      const float *product) {
    float sum = 0;
    MLA_SIMD_SUM(sum)
    for (int64_t j = 0; j < width; j++) sum += dv[j] * (w[j] + scale * product[j]);
    return sum;
}

MLA_VECTOR static void scale_row(int64_t width, float factor, const float *x, float *y) {
    MLA_SIMD
    for (int64_t j = 0; j < width; j++) y[j] = factor * x[j];
}

/* The row of B A comes in `product`, and the row of G goes out. */
static void backward_row(const mla_node *n, int64_t i, float *product, float *buffer) {
    const mla_lora_weight_options *o = n->attributes;
    const int64_t width = n->out->shape[1];
    const float *dv = mla_load(mla_out_gradient(n), i * width, width, buffer);
    const float *w = n->in[W] ? mla_load(mla_data(n->in[W]), i * width, width, buffer + width) : NULL;
    if (n->mode[SUM]) mla_deliver(n->mode[SUM], width, dv, (float *)n->grad[SUM] + i * width);
    if (n->in[MAGNITUDE] && n->mode[MAGNITUDE])
        mla_put(n->mode[MAGNITUDE], (float *)n->grad[MAGNITUDE] + i,
                o->share / *((float *)n->in[NORM]->data + i) * magnitude_sum(width, dv, w, o->scale, product));
    scale_row(width, o->share * o->scale * factor_of(n, i), dv, product);
}

static void lora_weight_backward(const mla_node *n) {
    mla_context *context = mla_tape_context(n->tape);
    const int64_t rows = n->out->shape[0], width = n->out->shape[1], rank = n->in[A]->shape[0];
    const mla_gemm_shape da = {
        .m = rank, .n = width, .k = rows, .a_transposed = true, .accumulate = n->mode[A] == MLA_ADD};
    const mla_gemm_shape db = {
        .m = rows, .n = rank, .k = width, .b_transposed = true, .accumulate = n->mode[B] == MLA_ADD};
    float *product = n->scratch;
    if (n->in[MAGNITUDE] && n->mode[MAGNITUDE]) lora_weight_multiply(n, product);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < rows; i++)
        backward_row(n, i, product + i * width, mla_thread_rows(product + rows * width, 3, width));
    if (n->mode[A]) mla_gemm_now(context, &da, n->in[B]->data, product, n->grad[A], NULL);
    if (n->mode[B]) mla_gemm_now(context, &db, product, n->in[A]->data, n->grad[B], NULL);
}

static mla_cost lora_weight_cost(const mla_node *n) {
    const double product = 2 * (double)mla_count(n->out) * (double)n->in[A]->shape[0],
                 bytes = 3 * (double)mla_size(n->out);
    const int gradients = mla_op_differentiates(n, A) + mla_op_differentiates(n, B) +
                          mla_op_differentiates(n, MAGNITUDE);
    return (mla_cost){.forward_flops = product,
                      .backward_flops = product * gradients,
                      .forward_bytes = bytes,
                      .backward_bytes = bytes};
}

static const mla_op lora_weight = {.name = "lora_weight",
                                   .forward = lora_weight_forward,
                                   .backward = lora_weight_backward,
                                   .cost = lora_weight_cost,
                                   .attributes = sizeof(mla_lora_weight_options),
                                   .keeps = MLA_INPUT(W) | MLA_INPUT(A) | MLA_INPUT(B) | MLA_INPUT(MAGNITUDE) |
                                            MLA_INPUT(NORM)};

static bool is_matrix(const mla_tensor *x, int64_t rows, int64_t columns) {
    return x->ndim == 2 && x->shape[0] == rows && x->shape[1] == columns;
}

static bool is_vector(const mla_tensor *x, int64_t count) {
    return x && x->dtype == MLA_F32 && x->ndim == 1 && x->shape[0] == count;
}

mla_tensor *mla_lora_weight(mla_tape *tape, mla_tensor *sum, mla_tensor *weight, mla_tensor *a, mla_tensor *b,
                            mla_tensor *magnitude, mla_tensor *norm, const mla_lora_weight_options *options) {
    mla_node *n = mla_op_begin_real(tape, &lora_weight, 6, (mla_tensor *[]){sum, weight, a, b, magnitude, norm});
    if (!n) return mla_inert(tape);
    const int64_t rows = sum->shape[0], width = mla_width(sum);
    if (!is_matrix(sum, rows, width) || !is_matrix(weight, rows, width) || !is_matrix(a, a->shape[0], width) ||
        !is_matrix(b, rows, a->shape[0]))
        return mla_op_refuse(n, "sum and weight, A and B must be (out,in), (r,in) and (out,r)");
    if (magnitude && (!is_vector(magnitude, rows) || !is_vector(norm, rows)))
        return mla_op_refuse(n, "magnitude and norm must be f32 (out)");
    if (magnitude && (mla_op_differentiates(n, W) || mla_op_differentiates(n, NORM)))
        return mla_op_refuse(n, "with a magnitude, weight and norm must need no gradient");
    if (a->dtype != MLA_F32 || b->dtype != MLA_F32 || (sum->dtype == MLA_BF16 && sum->needs_grad))
        return mla_op_refuse(n, "A and B must be f32, and sum where it needs a gradient");
    if (!magnitude) n->in[W] = n->in[NORM] = NULL;
    *(mla_lora_weight_options *)n->attributes = *options;
    n->forward_scratch = n->backward_scratch = rows * width * (int64_t)sizeof(float) +
                                               mla_thread_rows_size(mla_tape_context(tape), 3, width);
    return mla_op_finish(n, options->out, 2, sum->shape);
}
