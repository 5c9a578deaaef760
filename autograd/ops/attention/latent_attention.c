/* Attention over keys and values that are expanded from a latent, per position and head:
 *
 *     [k_nope (N); v (V)] = kv_b c,   k = [k_nope; k_rope],   o = softmax(scale q kᵀ) v
 *
 * DeepSeek-AI 2024, "DeepSeek-V2", eq. 9-19 without the projections of q and o. Only c (B,T,C), k_rope (B,T,R), q
 * and the log-sum-exp are kept; backward expands again:
 *
 *     dkv = [dk_nope; dv],  dc = dkv kv_b,  dkv_b = dkvᵀ c,  dk_rope = sum over heads of dk's last R
 *
 * Where an adapter's s B A is in kv_b, which needs no gradient itself, that of A and B needs no dkv_b (ops/lora.h). */
#include "autograd/kernels/flash_attention.h"
#include "autograd/kernels/gemm.h"
#include "autograd/op.h"
#include "autograd/ops.h"
#include "autograd/ops/lora/lora.h"

#include <math.h>
#include <string.h>

enum { Q, LATENT, K_ROPE, KV_B, A, B };

typedef struct {
    mla_flash a;
    int64_t rows, latent, nope, rope;
    float adapter_scale;
} attributes;

static int64_t kv_width(const attributes *w) { return w->a.heads * (w->nope + w->a.value_width); }
static int64_t kv_stride(const attributes *w) { return kv_width(w) + MLA_ROW_GAP; }
static int64_t k_width(const attributes *w) { return w->a.heads * (w->nope + w->rope); }

/* Where expanded keys and values (or their gradients) stand in scratch, of the type of the inputs. Without rotary
 * part, the keys are used where the expansion left them. */
typedef struct {
    void *kv; /* (rows, H*(N+V) + MLA_ROW_GAP) */
    void *k;  /* (H, rows, N+R), which products read faster than (rows, H, N+R); kv where R = 0 */
} expansion;

static int64_t bytes_of(const attributes *w, int64_t count) { return count * (int64_t)mla_dtype_size(w->a.type); }

static int64_t expansion_size(const attributes *w) {
    return bytes_of(w, w->rows * (kv_stride(w) + (w->rope ? k_width(w) : 0)));
}

static expansion expansion_at(const attributes *w, void *scratch) {
    return (expansion){scratch, w->rope ? (char *)scratch + bytes_of(w, w->rows * kv_stride(w)) : scratch};
}

static mla_heads keys_of(const attributes *w, expansion e) {
    if (!w->rope) return (mla_heads){e.kv, kv_stride(w), w->nope + w->a.value_width};
    return (mla_heads){e.k, w->nope + w->rope, w->rows * (w->nope + w->rope)};
}

static mla_heads values_of(const attributes *w, expansion e) {
    return (mla_heads){(char *)e.kv + bytes_of(w, w->nope), kv_stride(w), w->nope + w->a.value_width};
}

static mla_heads queries_of(const attributes *w, void *data) {
    return (mla_heads){data, k_width(w), w->nope + w->rope};
}

static mla_heads out_of(const attributes *w, void *data) {
    return (mla_heads){data, w->a.heads * w->a.value_width, w->a.value_width};
}

/* Byte addresses of a position's and head's key, and of its expansion. */
static char *key_at(const attributes *w, expansion e, int64_t row, int64_t h) {
    return (char *)e.k + bytes_of(w, (h * w->rows + row) * (w->nope + w->rope));
}

static char *expanded_at(const attributes *w, expansion e, int64_t row, int64_t h) {
    return (char *)e.kv + bytes_of(w, row * kv_stride(w) + h * (w->nope + w->a.value_width));
}

static void expand(const mla_node *n, expansion e) {
    const attributes *w = n->attributes;
    const mla_dtype type = w->a.type;
    const mla_gemm_shape shape = {.m = w->rows,
                                  .n = kv_width(w),
                                  .k = w->latent,
                                  .b_transposed = true,
                                  .ldc = kv_stride(w),
                                  .a_type = type,
                                  .b_type = type,
                                  .c_type = type};
    const void *weight = mla_op_operand(n, KV_B, type);
    if (!weight) return;
    mla_gemm_now(mla_tape_context(n->tape), &shape, n->in[LATENT]->data, weight, e.kv, NULL);
    if (!w->rope) return;
    #pragma omp parallel for num_threads(mla_op_threads(n))
    for (int64_t i = 0; i < w->rows; i++)
        for (int64_t h = 0; h < w->a.heads; h++) {
            char *k = key_at(w, e, i, h);
            memcpy(k, expanded_at(w, e, i, h), (size_t)bytes_of(w, w->nope));
            memcpy(k + bytes_of(w, w->nope), (char *)n->in[K_ROPE]->data + bytes_of(w, i * w->rope),
                   (size_t)bytes_of(w, w->rope));
        }
}

/* What lies after `used` bytes of scratch, on a boundary of 64. */
static void *scratch_behind(const mla_node *n, int64_t used) { return (char *)n->scratch + (used + 63) / 64 * 64; }

static mla_flash_operands operands_of(const mla_node *n, expansion e) {
    const attributes *w = n->attributes;
    return (mla_flash_operands){queries_of(w, n->in[Q]->data), keys_of(w, e), values_of(w, e), out_of(w, n->out->data),
                                n->saved[0]};
}

static void latent_attention_forward(const mla_node *n) {
    const attributes *w = n->attributes;
    const expansion e = expansion_at(w, n->scratch);
    expand(n, e);
    const mla_flash_operands x = operands_of(n, e);
    mla_flash_forward(mla_tape_context(n->tape), &w->a, &x, scratch_behind(n, expansion_size(w)));
}

/* The mirror of expand: gradients of k go to the nope part of dkv and, summed over heads, to dk_rope. */
static void collect_keys(const mla_node *n, expansion d, float *sums) {
    const attributes *w = n->attributes;
    const mla_values dk_rope = mla_in_gradient(n, K_ROPE);
    #pragma omp parallel for num_threads(mla_op_threads(n))
    for (int64_t i = 0; i < w->rows; i++) {
        float *buffer = mla_thread_rows(sums, 2, w->rope), *sum = buffer + w->rope;
        memset(sum, 0, (size_t)w->rope * sizeof *sum);
        for (int64_t h = 0; h < w->a.heads; h++) {
            char *dk = key_at(w, d, i, h);
            memcpy(expanded_at(w, d, i, h), dk, (size_t)bytes_of(w, w->nope));
            const mla_values turned = {dk + bytes_of(w, w->nope), w->a.type};
            mla_deliver(MLA_ADD, w->rope, mla_load(turned, 0, w->rope, buffer), sum);
        }
        mla_store(dk_rope, n->mode[K_ROPE], i * w->rope, w->rope, sum);
    }
}

static void collect_adapter(const mla_node *n, expansion d, char *low_rows) {
    const attributes *w = n->attributes;
    const mla_lora_product low = {n, A, B, w->adapter_scale, w->rows, w->a.type, kv_stride(w)};
    char *scratch = low_rows + mla_lora_product_size(n->in[A], w->rows);
    mla_lora_product_apply(&low, n->in[LATENT]->data, NULL, low_rows, scratch);
    mla_lora_product_gradients(&low, n->in[LATENT]->data, d.kv, low_rows, MLA_SKIP, (mla_values){0}, scratch);
}

static void collect(const mla_node *n, expansion d, float *sums) {
    const attributes *w = n->attributes;
    mla_context *context = mla_tape_context(n->tape);
    const mla_dtype type = w->a.type;
    const mla_gemm_shape dc = {.m = w->rows,
                               .n = w->latent,
                               .k = kv_width(w),
                               .lda = kv_stride(w),
                               .a_type = type,
                               .b_type = type,
                               .c_type = type,
                               .accumulate = n->mode[LATENT] == MLA_ADD};
    const mla_gemm_shape dkv_b = {.m = kv_width(w),
                                  .n = w->latent,
                                  .k = w->rows,
                                  .a_transposed = true,
                                  .lda = kv_stride(w),
                                  .a_type = type,
                                  .b_type = type,
                                  .c_type = n->in[KV_B]->dtype,
                                  .accumulate = n->mode[KV_B] == MLA_ADD};
    if (w->rope) collect_keys(n, d, sums);
    if (n->mode[LATENT]) mla_gemm_now(context, &dc, d.kv, mla_op_operand(n, KV_B, type), n->grad[LATENT], NULL);
    if (n->mode[KV_B]) mla_gemm_now(context, &dkv_b, d.kv, n->in[LATENT]->data, n->grad[KV_B], NULL);
    if (n->in[A]) collect_adapter(n, d, (char *)sums);
}

static void latent_attention_backward(const mla_node *n) {
    const attributes *w = n->attributes;
    const expansion e = expansion_at(w, n->scratch);
    const expansion d = expansion_at(w, scratch_behind(n, expansion_size(w)));
    float *work = scratch_behind(n, 2 * expansion_size(w) + 64);
    const mla_flash_gradients gradients = {.dout = out_of(w, n->out->grad),
                                           .q = queries_of(w, n->mode[Q] ? n->grad[Q] : NULL),
                                           .add_q = n->mode[Q] == MLA_ADD,
                                           .k = keys_of(w, d),
                                           .v = values_of(w, d)};
    expand(n, e);
    const mla_flash_operands x = operands_of(n, e);
    mla_flash_backward(mla_tape_context(n->tape), &w->a, &x, &gradients, work);
    collect(n, d, work);
}

static mla_cost latent_attention_cost(const mla_node *n) {
    const attributes *w = n->attributes;
    const double expansion_flops = 2 * (double)w->rows * (double)kv_width(w) * (double)w->latent;
    const double moved = (double)expansion_size(w);
    mla_cost cost = mla_flash_cost(&w->a);
    cost.forward_flops += expansion_flops;
    cost.backward_flops += expansion_flops * (mla_op_differentiates(n, LATENT) + mla_op_differentiates(n, KV_B));
    if (n->in[A])
        cost.backward_flops += 4 * (double)w->rows * (double)n->in[A]->shape[0] * (double)(kv_width(w) + w->latent);
    cost.widened_bytes = (double)(w->rows * (kv_stride(w) + w->latent) + mla_count(n->in[KV_B])) * sizeof(float);
    cost.forward_bytes += moved;
    cost.backward_bytes += 2 * moved;
    return cost;
}

static const mla_op latent_attention = {.name = "latent_attention",
                                        .forward = latent_attention_forward,
                                        .backward = latent_attention_backward,
                                        .cost = latent_attention_cost,
                                        .attributes = sizeof(attributes),
                                        .keeps = MLA_INPUT(Q) | MLA_INPUT(LATENT) | MLA_INPUT(K_ROPE) |
                                                 MLA_INPUT(KV_B) | MLA_INPUT(A) | MLA_INPUT(B) | MLA_OUTPUT};

static const char *latent_attention_misfit(const mla_tensor *q, const mla_tensor *c, const mla_tensor *r,
                                           const mla_tensor *w, int64_t heads) {
    if (q->ndim != 4 || c->ndim != 3 || w->ndim != 2)
        return "q, latent, kv_b must be (B,T,H,N+R), (B,T,C), (H*(N+V),C)";
    if (q->shape[2] != heads || w->shape[0] % heads) return "q and kv_b must fit the number of heads";
    if (c->shape[0] != q->shape[0] || c->shape[1] != q->shape[1]) return "q and latent must have one batch and length";
    if (q->dtype != c->dtype || (r && r->dtype != c->dtype)) return "q, latent and k_rope must have one type";
    if (w->shape[1] != c->shape[2]) return "kv_b must be as wide as the latent";
    if (r && (r->ndim != 3 || r->shape[0] != q->shape[0] || r->shape[1] != q->shape[1]))
        return "k_rope must be (B,T,R)";
    const int64_t nope = q->shape[3] - (r ? r->shape[2] : 0);
    if (nope < 1 || w->shape[0] / heads <= nope) return "q must be wider than k_rope, and kv_b must hold k_nope and v";
    return NULL;
}

static const char *adapter_misfit(const mla_tensor *w, const mla_tensor *a, const mla_tensor *b) {
    if (!a && !b) return NULL;
    if (!a || !b || a->ndim != 2 || b->ndim != 2 || a->shape[0] != b->shape[1] || a->shape[1] != w->shape[1] ||
        b->shape[0] != w->shape[0])
        return "an adapter of kv_b must be A (r,C) and B (H*(N+V),r)";
    return w->needs_grad ? "kv_b with an adapter in it must need no gradient itself" : NULL;
}

mla_tensor *mla_latent_attention(mla_tape *tape, mla_tensor *q, mla_tensor *latent, mla_tensor *k_rope,
                                 mla_tensor *kv_b, int64_t heads, const mla_attention_options *options) {
    mla_tensor *const in[] = {q, latent, k_rope, kv_b, options->kv_b_a, options->kv_b_b};
    mla_node *n = mla_op_begin_real(tape, &latent_attention, 6, in);
    if (!n) return mla_inert(tape);
    const char *why = latent_attention_misfit(q, latent, k_rope, kv_b, heads);
    if (!why) why = adapter_misfit(kv_b, in[A], in[B]);
    if (why) return mla_op_refuse(n, "%s", why);
    if (options->mask.starts && !options->mask.causal) return mla_op_refuse(n, "starts need a causal mask");
    mla_context *context = mla_tape_context(tape);
    const int64_t positions = q->shape[1], rope = k_rope ? k_rope->shape[2] : 0, nope = q->shape[3] - rope;
    attributes *w = n->attributes;
    *w = (attributes){.rows = q->shape[0] * positions,
                      .latent = latent->shape[2],
                      .nope = nope,
                      .rope = rope,
                      .adapter_scale = options->kv_b_scale,
                      .a = {.batch = q->shape[0],
                            .heads = heads,
                            .key_heads = heads,
                            .queries = positions,
                            .keys = positions,
                            .key_width = nope + rope,
                            .value_width = kv_b->shape[0] / heads - nope,
                            .mask = options->mask,
                            .type = q->dtype,
                            .block = mla_flash_usual_blocks(q->dtype),
                            .scale = options->scale > 0 ? options->scale : 1 / sqrtf((float)(nope + rope))}};
    mla_op_save(n, 0, w->rows * heads * (int64_t)sizeof(float));
    n->forward_scratch = expansion_size(w) + 64 + (int64_t)sizeof(float) * mla_flash_forward_scratch(context, &w->a);
    n->backward_scratch = 2 * expansion_size(w) + 128 + mla_thread_rows_size(mla_tape_context(tape), 2, rope) +
                          (int64_t)sizeof(float) * mla_flash_backward_scratch(context, &w->a);
    if (in[A])
        n->backward_scratch += mla_lora_product_size(in[A], w->rows) +
                               mla_lora_product_scratch(tape, in[A], in[B], w->rows);
    return mla_op_finish(n, q->dtype, 3, (int64_t[]){q->shape[0], positions, heads * w->a.value_width});
}
