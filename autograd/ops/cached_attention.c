/* o_h = sum over s of softmax(scale q_h k_sᵀ)_s v_s, for one new position over a cache. Inference only.
 * Memory bound: each key and value is read once per group of heads that share it. */
#include "autograd/op.h"
#include "autograd/ops.h"
#include "autograd/vecmath.h"

#include <string.h>

typedef struct {
    mla_cache_view cache;
    float scale;
} attributes;

MLA_VECTOR static float dot(int64_t count, const float *restrict x, const float *restrict y) {
    float sum = 0;
    MLA_SIMD_SUM(sum)
    for (int64_t i = 0; i < count; i++) sum += x[i] * y[i];
    return sum;
}

MLA_VECTOR static void add_scaled(int64_t count, float factor, const float *restrict x, float *restrict sum) {
    MLA_SIMD
    for (int64_t i = 0; i < count; i++) sum[i] += factor * x[i];
}

MLA_VECTOR static void softmax_row(int64_t count, float *restrict x) {
    float top = x[0], sum = 0;
    MLA_SIMD_MAX(top)
    for (int64_t i = 0; i < count; i++) top = x[i] > top ? x[i] : top;
    MLA_SIMD_SUM(sum)
    for (int64_t i = 0; i < count; i++) {
        x[i] = expf(x[i] - top);
        sum += x[i];
    }
    const float inverse = 1 / sum;
    MLA_SIMD
    for (int64_t i = 0; i < count; i++) x[i] *= inverse;
}

static void attend(const mla_cache_view *cache, float scale, int64_t group, int64_t key_width, const float *q,
                   float *scores, float *out) {
    for (int64_t s = 0; s < cache->length; s++)
        scores[s] = scale * dot(key_width, q, cache->keys + s * cache->key_row + group * key_width);
    softmax_row(cache->length, scores);
    memset(out, 0, (size_t)cache->value_width * sizeof *out);
    for (int64_t s = 0; s < cache->length; s++)
        add_scaled(cache->value_width, scores[s],
                   cache->values + s * cache->value_row + group * cache->value_width, out);
}

static void cached_attention_forward(const mla_node *n) {
    const attributes *at = n->attributes;
    const mla_tensor *q = n->in[0];
    const int64_t heads = q->shape[2], width = q->shape[3], shared = heads / at->cache.key_heads;
    #pragma omp parallel for schedule(static)
    for (int64_t h = 0; h < heads; h++)
        attend(&at->cache, at->scale, h / shared, width, (const float *)q->data + h * width,
               (float *)n->scratch + h * at->cache.length, (float *)n->out->data + h * at->cache.value_width);
}

static const mla_op cached_attention = {.name = "cached_attention", .forward = cached_attention_forward};

mla_tensor *mla_cached_attention(mla_tape *tape, mla_tensor *q, const mla_cache_view *cache, float scale) {
    mla_node *n = mla_op_begin(tape, &cached_attention, 1, (mla_tensor *[]){q});
    if (!n) return mla_inert(tape);
    if (q->ndim != 4 || q->shape[0] != 1 || q->shape[1] != 1) return mla_op_refuse(n, "q must be (1,1,H,K)");
    if (cache->length < 1 || cache->key_heads < 1 || q->shape[2] % cache->key_heads)
        return mla_op_refuse(n, "the cache must hold a position, and its key heads must divide q's heads");
    attributes *at = mla_op_attributes(n, sizeof *at);
    *at = (attributes){*cache, scale};
    n->forward_scratch = q->shape[2] * cache->length * (int64_t)sizeof(float);
    return mla_op_finish(n, MLA_F32, 3, (int64_t[]){1, 1, q->shape[2] * cache->value_width});
}
