/* The two ends of absorbed latent attention (DeepSeek-AI 2024, "DeepSeek-V2", section 2.1.2), for one position of
 * each of B sequences.
 * With kv_b's rows per head [W_k (N,C); W_v (V,C)]:
 *
 *     absorb_query:   q'_h = [W_kᵀ q_nope_h; q_rope_h]          (N+R) -> (C+R)
 *     expand_values:  o_h  = W_v (sum over s of p_s c_s)            C -> V
 *
 * kv_b may be of bf16, as a weight with its adapters is in a step of bf16. Inference only. */
#include "autograd/kernels/few_rows.h"
#include "autograd/op.h"
#include "autograd/ops.h"

#include <string.h>

typedef struct {
    int64_t heads, nope, rope, value, latent;
} attributes;

/* The rows of a head, from its `first` on. */
static mla_values head_rows(const mla_node *n, int64_t h, int64_t first) {
    const attributes *at = n->attributes;
    return mla_beyond(mla_data(n->in[1]), (h * (at->nope + at->value) + first) * at->latent);
}

/* One head of all sequences. */
static void absorb_head(const mla_node *n, int64_t h) {
    const attributes *at = n->attributes;
    const int64_t q_head = at->nope + at->rope, out_head = at->latent + at->rope;
    const float *q = (const float *)n->in[0]->data + h * q_head;
    float *out = (float *)n->out->data + h * out_head;
    for (int64_t b = 0; b < n->out->shape[0]; b++) {
        float *row = out + b * at->heads * out_head;
        memset(row, 0, (size_t)at->latent * sizeof *row);
        memcpy(row + at->latent, q + b * at->heads * q_head + at->nope, (size_t)at->rope * sizeof *row);
    }
    mla_add_weighted_rows(&(mla_weighted_rows){.m = n->out->shape[0],
                                               .n = at->latent,
                                               .k = at->nope,
                                               .x = q,
                                               .w = head_rows(n, h, 0),
                                               .y = out,
                                               .x_row = at->heads * q_head,
                                               .w_row = at->latent,
                                               .y_row = at->heads * out_head});
}

static void absorb_query_forward(const mla_node *n) {
    const attributes *at = n->attributes;
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t h = 0; h < at->heads; h++) absorb_head(n, h);
}

static void expand_head(const mla_node *n, int64_t h, float *room) {
    const attributes *at = n->attributes;
    const mla_few_rows product = {.m = n->out->shape[0],
                                  .n = at->value,
                                  .k = at->latent,
                                  .x = mla_beyond(mla_data(n->in[0]), h * at->latent),
                                  .w = head_rows(n, h, at->nope),
                                  .y = mla_beyond(mla_data(n->out), h * at->value),
                                  .x_row = at->heads * at->latent,
                                  .y_row = at->heads * at->value};
    mla_few_rows_prepare(&product, room);
    mla_few_rows_part(&product, room, 0, at->value);
}

static void expand_values_forward(const mla_node *n) {
    const attributes *at = n->attributes;
    const int64_t room = mla_few_rows_room(n->out->shape[0], at->latent);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t h = 0; h < at->heads; h++) expand_head(n, h, mla_thread_rows(n->scratch, 1, room));
}

/* A product with `rows` of each head's. */
static mla_cost product_cost(const mla_node *n, int64_t rows) {
    const attributes *at = n->attributes;
    const double elements = (double)(at->heads * rows) * (double)at->latent;
    return (mla_cost){.forward_flops = 2 * elements * (double)n->out->shape[0],
                      .forward_bytes = elements * (double)mla_dtype_size(n->in[1]->dtype) +
                                       (double)(mla_size(n->in[0]) + mla_size(n->out))};
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

/* A node of f32 with kv_b of f32 or bf16. */
static mla_node *begin(mla_tape *tape, const mla_op *op, mla_tensor *x, mla_tensor *kv_b) {
    mla_node *n = mla_op_begin_real(tape, op, 2, (mla_tensor *[]){x, kv_b});
    if (!n || x->dtype == MLA_F32) return n;
    mla_op_refuse(n, "the first input must be f32");
    return NULL;
}

mla_tensor *mla_absorb_query(mla_tape *tape, mla_tensor *q, mla_tensor *kv_b, int64_t rope) {
    mla_node *n = begin(tape, &absorb_query, q, kv_b);
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
    mla_node *n = begin(tape, &expand_values, summed, kv_b);
    if (!n) return mla_inert(tape);
    if (heads < 1 || nope < 1 || kv_b->ndim != 2 || kv_b->shape[0] % heads || kv_b->shape[0] / heads <= nope ||
        mla_count(summed) != summed->shape[0] * heads * kv_b->shape[1])
        return mla_op_refuse(n, "summed must be (B,1,H*C) and kv_b (H*(N+V),C) with %lld heads and N = %lld",
                             (long long)heads, (long long)nope);
    attributes *at = n->attributes;
    *at = (attributes){heads, nope, 0, kv_b->shape[0] / heads - nope, kv_b->shape[1]};
    n->forward_scratch = mla_thread_rows_size(mla_tape_context(tape), 1,
                                              mla_few_rows_room(summed->shape[0], at->latent));
    return mla_op_finish(n, MLA_F32, 3, (int64_t[]){summed->shape[0], 1, heads * at->value});
}
