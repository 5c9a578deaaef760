/* DoRA (Liu et al. 2024, eq. 5): a weight's rows have a direction, with an adapter in it, and a magnitude m.
 *
 *     norm_j = |W_j + s (BA)_j|,   y_j = u_j m_j / norm_j + bias_j,   u = x (W + s B A)ᵀ
 *     du_j = dy_j m_j / norm_j,    dm_j = sum over rows of dy_j u_j / norm_j,   dbias = sum over rows of dy
 *
 * The norm counts as a constant (section 4.3 of the paper). */
#include "autograd/base/vecmath.h"
#include "autograd/kernels/gemm.h"
#include "autograd/op.h"
#include "autograd/ops.h"

#include <string.h>

enum { U, MAGNITUDE, NORM, BIAS };

MLA_VECTOR static void scale_row(int64_t width, const float *u, const float *m, const float *norm, const float *bias,
                                 float *y) {
    MLA_SIMD
    for (int64_t j = 0; j < width; j++) y[j] = u[j] * m[j] / norm[j] + (bias ? bias[j] : 0);
}

MLA_VECTOR static void add_magnitude_row(int64_t width, const float *dy, const float *u, const float *norm, float *dm) {
    MLA_SIMD
    for (int64_t j = 0; j < width; j++) dm[j] += dy[j] * u[j] / norm[j];
}

static void dora_forward(const mla_node *n) {
    const int64_t rows = mla_rows(n->out), width = mla_width(n->out);
    const mla_values u = mla_data(n->in[U]), y = mla_data(n->out);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < rows; i++) {
        float *buffer = mla_thread_rows(n->scratch, 2, width), *row = mla_target(y, MLA_SET, i * width, buffer + width);
        scale_row(width, mla_load(u, i * width, width, buffer), n->in[MAGNITUDE]->data, n->in[NORM]->data,
                  n->in[BIAS] ? n->in[BIAS]->data : NULL, row);
        mla_store(y, MLA_SET, i * width, width, row);
    }
}

/* dm: the partial sums of this chunk of rows. */
static void backward_rows(const mla_node *n, int64_t from, int64_t to, float *buffer, float *dm) {
    const int64_t width = mla_width(n->out);
    const mla_values du = mla_in_gradient(n, U);
    const float *norm = n->in[NORM]->data;
    memset(dm, 0, (size_t)width * sizeof *dm);
    for (int64_t i = from; i < to; i++) {
        const float *dy = mla_load(mla_out_gradient(n), i * width, width, buffer);
        const float *u = mla_load(mla_data(n->in[U]), i * width, width, buffer + width);
        if (n->mode[MAGNITUDE]) add_magnitude_row(width, dy, u, norm, dm);
        if (!n->mode[U]) continue;
        float *row = mla_target(du, n->mode[U], i * width, buffer + 2 * width);
        scale_row(width, dy, n->in[MAGNITUDE]->data, norm, NULL, row);
        mla_store(du, n->mode[U], i * width, width, row);
    }
}

static void dora_backward(const mla_node *n) {
    const mla_context *context = mla_tape_context(n->tape);
    const int64_t rows = mla_rows(n->out), width = mla_width(n->out);
    const int64_t chunk = mla_chunk_rows(rows), chunks = mla_chunk_count(rows);
    float *dm = n->scratch, *buffers = dm + chunks * width;
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < chunks; i++)
        backward_rows(n, i * chunk, (i + 1) * chunk < rows ? (i + 1) * chunk : rows, mla_thread_rows(buffers, 3, width),
                      dm + i * width);
    if (n->mode[MAGNITUDE])
        mla_sum_rows(context, n->mode[MAGNITUDE], chunks, width, (mla_values){dm, MLA_F32}, NULL, n->grad[MAGNITUDE]);
    if (n->mode[BIAS]) mla_sum_rows(context, n->mode[BIAS], rows, width, mla_out_gradient(n), NULL, n->grad[BIAS]);
}

static const mla_op dora = {.name = "dora",
                            .forward = dora_forward,
                            .backward = dora_backward,
                            .keeps = MLA_INPUT(U) | MLA_INPUT(MAGNITUDE) | MLA_INPUT(NORM)};

mla_tensor *mla_dora(mla_tape *tape, mla_tensor *u, mla_tensor *magnitude, mla_tensor *norm, mla_tensor *bias) {
    mla_node *n = mla_op_begin_real(tape, &dora, 4, (mla_tensor *[]){u, magnitude, norm, bias});
    if (!n) return mla_inert(tape);
    if (!mla_is_row_of(magnitude, u) || !mla_is_row_of(norm, u) || (bias && !mla_is_row_of(bias, u)))
        return mla_op_refuse(n, "magnitude, norm and bias must be one row of f32 each, as wide as u");
    if (mla_op_differentiates(n, NORM)) return mla_op_refuse(n, "the norm must need no gradient: use mla_lora_norm");
    n->forward_scratch = mla_thread_rows_size(mla_tape_context(tape), 2, mla_width(u));
    n->backward_scratch = mla_chunk_count(mla_rows(u)) * mla_width(u) * (int64_t)sizeof(float) +
                          mla_thread_rows_size(mla_tape_context(tape), 3, mla_width(u));
    return mla_op_finish(n, u->dtype, u->ndim, u->shape);
}

/* ---- the norms ---- */

enum { W, A, B };

MLA_VECTOR static float row_norm(int64_t width, const float *w, float scale, const float *product) {
    float sum = 0;
    MLA_SIMD_SUM(sum)
    for (int64_t j = 0; j < width; j++) sum += (w[j] + scale * product[j]) * (w[j] + scale * product[j]);
    return sqrtf(sum);
}

static void norm_forward(const mla_node *n) {
    const int64_t rows = n->in[W]->shape[0], width = n->in[W]->shape[1];
    const mla_gemm_shape shape = {.m = rows, .n = width, .k = n->in[A]->shape[0]};
    float *product = n->scratch, *norm = n->out->data;
    const float scale = *(float *)n->attributes;
    mla_gemm_now(mla_tape_context(n->tape), &shape, n->in[B]->data, n->in[A]->data, n->scratch, NULL);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < rows; i++) {
        float *buffer = mla_thread_rows(product + rows * width, 1, width);
        norm[i] = row_norm(width, mla_load(mla_data(n->in[W]), i * width, width, buffer), scale, product + i * width);
    }
}

static const mla_op lora_norm = {
    .name = "lora_norm", .forward = norm_forward, .attributes = sizeof(float), .constant = true};

mla_tensor *mla_lora_norm(mla_tape *tape, mla_tensor *weight, mla_tensor *a, mla_tensor *b, float scale) {
    mla_node *n = mla_op_begin_real(tape, &lora_norm, 3, (mla_tensor *[]){weight, a, b});
    if (!n) return mla_inert(tape);
    if (a->dtype != MLA_F32 || b->dtype != MLA_F32) return mla_op_refuse(n, "A and B must be f32");
    if (weight->ndim != 2 || a->ndim != 2 || b->ndim != 2 || a->shape[0] != b->shape[1] ||
        a->shape[1] != weight->shape[1] || b->shape[0] != weight->shape[0])
        return mla_op_refuse(n, "weight, A and B must be (out,in), (r,in) and (out,r)");
    *(float *)n->attributes = scale;
    n->forward_scratch = mla_count(weight) * (int64_t)sizeof(float) +
                         mla_thread_rows_size(mla_tape_context(tape), 1, weight->shape[1]);
    return mla_op_finish(n, MLA_F32, 1, weight->shape);
}
