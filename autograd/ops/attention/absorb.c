/* The two ends of absorbed latent attention (DeepSeek-AI 2024, "DeepSeek-V2", section 2.1.2), for one position of
 * each of B sequences.
 * With kv_b's rows per head [W_k (N,C); W_v (V,C)]:
 *
 *     absorb_query:   q'_h = [W_kᵀ q_nope_h; q_rope_h]          (N+R) -> (C+R)
 *     expand_values:  o_h  = W_v (sum over s of p_s c_s)            C -> V
 *
 * Inference only. */
#include "autograd/base/vecmath.h"
#include "autograd/op.h"
#include "autograd/ops.h"

#include <string.h>

typedef struct {
    int64_t heads, nope, rope, value, latent;
} attributes;

static const float *head_rows(const mla_node *n, int64_t h) {
    const attributes *at = n->attributes;
    return (const float *)n->in[1]->data + h * (at->nope + at->value) * at->latent;
}

/* out = rowsᵀ x */
MLA_VECTOR static void combine_rows(int64_t count, int64_t width, const float *restrict rows, const float *restrict x,
                                    float *restrict out) {
    for (int64_t j = 0; j < width; j++) out[j] = 0;
    for (int64_t i = 0; i < count; i++) {
        MLA_SIMD
        for (int64_t j = 0; j < width; j++) out[j] += x[i] * rows[i * width + j];
    }
}

/* out = rows x */
MLA_VECTOR static void project(int64_t count, int64_t width, const float *restrict rows, const float *restrict x,
                               float *restrict out) {
    for (int64_t i = 0; i < count; i++) {
        float sum = 0;
        MLA_SIMD_SUM(sum)
        for (int64_t j = 0; j < width; j++) sum += rows[i * width + j] * x[j];
        out[i] = sum;
    }
}

static void absorb_query_forward(const mla_node *n) {
    const attributes *at = n->attributes;
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t h = 0; h < at->heads; h++)
        for (int64_t b = 0; b < n->out->shape[0]; b++) {
            const float *q = (const float *)n->in[0]->data + (b * at->heads + h) * (at->nope + at->rope);
            float *out = (float *)n->out->data + (b * at->heads + h) * (at->latent + at->rope);
            combine_rows(at->nope, at->latent, head_rows(n, h), q, out);
            memcpy(out + at->latent, q + at->nope, (size_t)at->rope * sizeof *q);
        }
}

static void expand_values_forward(const mla_node *n) {
    const attributes *at = n->attributes;
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t h = 0; h < at->heads; h++)
        for (int64_t b = 0; b < n->out->shape[0]; b++) {
            const float *summed = (const float *)n->in[0]->data + (b * at->heads + h) * at->latent;
            float *out = (float *)n->out->data + (b * at->heads + h) * at->value;
            project(at->value, at->latent, head_rows(n, h) + at->nope * at->latent, summed, out);
        }
}

/* A product with `rows` of each head's. */
static mla_cost product_cost(const mla_node *n, int64_t rows) {
    const attributes *at = n->attributes;
    const double elements = (double)(at->heads * rows) * (double)at->latent;
    return (mla_cost){.forward_flops = 2 * elements * (double)n->out->shape[0],
                      .forward_bytes = elements * sizeof(float) + (double)(mla_size(n->in[0]) + mla_size(n->out))};
}

static mla_cost absorb_query_cost(const mla_node *n) {
    return product_cost(n, ((const attributes *)n->attributes)->nope);
}
static mla_cost expand_values_cost(const mla_node *n) {
    return product_cost(n, ((const attributes *)n->attributes)->value);
}

static const mla_op absorb_query = {.name = "absorb_query",
                                    .forward = absorb_query_forward,
                                    .cost = absorb_query_cost,
                                    .attributes = sizeof(attributes)};
static const mla_op expand_values = {.name = "expand_values",
                                     .forward = expand_values_forward,
                                     .cost = expand_values_cost,
                                     .attributes = sizeof(attributes)};

mla_tensor *mla_absorb_query(mla_tape *tape, mla_tensor *q, mla_tensor *kv_b, int64_t rope) {
    mla_node *n = mla_op_begin_f32(tape, &absorb_query, 2, (mla_tensor *[]){q, kv_b});
    if (!n) return mla_inert(tape);
    if (q->ndim != 4 || q->shape[1] != 1 || rope < 0 || q->shape[3] <= rope)
        return mla_op_refuse(n, "q must be (B,1,H,N+R)");
    const int64_t heads = q->shape[2], nope = q->shape[3] - rope, latent = kv_b->shape[1];
    if (kv_b->ndim != 2 || kv_b->shape[0] % heads || kv_b->shape[0] / heads <= nope)
        return mla_op_refuse(n, "kv_b must be (H*(N+V),C)");
    attributes *at = n->attributes;
    *at = (attributes){heads, nope, rope, kv_b->shape[0] / heads - nope, latent};
    return mla_op_finish(n, MLA_F32, 4, (int64_t[]){q->shape[0], 1, heads, latent + rope});
}

mla_tensor *mla_expand_values(mla_tape *tape, mla_tensor *summed, mla_tensor *kv_b, int64_t heads, int64_t nope) {
    mla_node *n = mla_op_begin_f32(tape, &expand_values, 2, (mla_tensor *[]){summed, kv_b});
    if (!n) return mla_inert(tape);
    if (heads < 1 || nope < 1 || kv_b->ndim != 2 || kv_b->shape[0] % heads || kv_b->shape[0] / heads <= nope ||
        mla_count(summed) != summed->shape[0] * heads * kv_b->shape[1])
        return mla_op_refuse(n, "summed must be (B,1,H*C) and kv_b (H*(N+V),C) with %lld heads and N = %lld",
                             (long long)heads, (long long)nope);
    attributes *at = n->attributes;
    *at = (attributes){heads, nope, 0, kv_b->shape[0] / heads - nope, kv_b->shape[1]};
    return mla_op_finish(n, MLA_F32, 3, (int64_t[]){summed->shape[0], 1, heads * at->value});
}
