/* o_h = sum over s of softmax(scale q_h k_sᵀ)_s v_s, for one new position of each sequence over its cache. Inference
 * only.
 *
 * Memory bound: the positions are cut into chunks, and a chunk is read once for all heads that share its keys. Each
 * chunk gives a softmax of its own, with its largest score and sum; these are joined in order (Dao et al. 2023,
 * "Flash-Decoding"). Scores are products of the heads that share keys, all in absorbed latent attention, with the rows
 * of a chunk, and so is what its values add up to; rows of bf16 are read as they lie. */
#include "autograd/base/vecmath.h"
#include "autograd/kernels/few_rows.h"
#include "autograd/op.h"
#include "autograd/ops.h"

#include <omp.h>
#include <string.h>

/* Positions of a chunk: as many as stay in the second cache, of latents or of the keys of many heads; and how many of
 * the latter go through all heads before the next ones, so that memory is read in its order. */
enum { LONG_CHUNK = 256, SHORT_CHUNK = 64, TOGETHER = 8 };

typedef struct {
    const mla_cache_view *caches; /* of the sequences, the caller's, there during forward */
    float scale;
    int64_t heads, key_width;
    int64_t chunk;
} attributes;

static int64_t key_heads(const attributes *at) { return at->caches->key_heads; }

static int64_t value_width(const attributes *at) { return at->caches->value_width; }

static int64_t shared_heads(const attributes *at) { return at->heads / key_heads(at); }

static int64_t chunks_of(const attributes *at, const mla_cache_view *cache) {
    return (cache->length + at->chunk - 1) / at->chunk;
}

/* Of the first `count` sequences. */
static int64_t chunks_of_all(const attributes *at, int64_t count) {
    int64_t chunks = 0;
    for (int64_t b = 0; b < count; b++) chunks += chunks_of(at, &at->caches[b]);
    return chunks;
}

/* What a chunk, counted over all sequences, gives for one head, in scratch: its sum of p v, its largest score and the
 * sum of its p. */
typedef struct {
    float *out, *top, *total;
} partial;

static partial partial_of(const mla_node *n, int64_t chunk, int64_t head) {
    const attributes *at = n->attributes;
    float *out = (float *)n->scratch + (chunk * at->heads + head) * (value_width(at) + 2);
    return (partial){out, out + value_width(at), out + value_width(at) + 1};
}

/* Scores, to be scaled, to exponentials; returns their sum. */
MLA_VECTOR static float exponentials(int64_t count, float scale, float *x, float *largest) {
    float top = scale * x[0], sum = 0;
    MLA_SIMD
    for (int64_t i = 0; i < count; i++) x[i] *= scale;
    MLA_SIMD_MAX(top)
    for (int64_t i = 0; i < count; i++) top = x[i] > top ? x[i] : top;
    MLA_SIMD_SUM(sum)
    for (int64_t i = 0; i < count; i++) {
        x[i] = expf(x[i] - top);
        sum += x[i];
    }
    *largest = top;
    return sum;
}

/* Floats that all threads read, the queries as they are multiplied, and those that a thread has for itself: scores
 * (heads, chunk). */
static int64_t query_floats(const attributes *at, int64_t sequences) {
    return sequences * mla_few_rows_room(at->heads, at->key_width);
}
static int64_t thread_floats(const attributes *at) { return at->heads * at->chunk; }

static float *query_room(const mla_node *n) {
    const attributes *at = n->attributes;
    return (float *)n->scratch + chunks_of_all(at, n->out->shape[0]) * at->heads * (value_width(at) + 2);
}
static float *thread_scores(const mla_node *n) {
    const attributes *at = n->attributes;
    return query_room(n) + query_floats(at, n->out->shape[0]) + omp_get_thread_num() * thread_floats(at);
}

static mla_values values_from(const void *cache, mla_dtype type, int64_t element) {
    return mla_beyond((mla_values){(void *)(uintptr_t)cache, type}, element);
}

/* The heads that share their keys, with these. */
static mla_few_rows score_product(const attributes *at, const mla_cache_view *c, int64_t first, int64_t group,
                                  float *scores) {
    return (mla_few_rows){.m = shared_heads(at),
                          .n = at->chunk,
                          .k = at->key_width,
                          .w = values_from(c->keys, c->type, first * c->key_row + group * at->key_width),
                          .y = {scores + group * shared_heads(at) * at->chunk, MLA_F32},
                          .w_row = c->key_row,
                          .y_row = at->chunk};
}

/* Queries (H,K) of a sequence. */
static mla_few_rows query_product(const mla_node *n, int64_t sequence) {
    const attributes *at = n->attributes;
    const mla_values q = {n->in[0]->data, MLA_F32};
    return (mla_few_rows){.m = at->heads,
                          .k = at->key_width,
                          .x = mla_beyond(q, sequence * at->heads * at->key_width),
                          .w.type = at->caches->type};
}

static float *query_room_of(const mla_node *n, int64_t sequence) {
    const attributes *at = n->attributes;
    return query_room(n) + sequence * mla_few_rows_room(at->heads, at->key_width);
}

/* A chunk: positions [first, first + count) of a sequence; `index` counts over all sequences. */
typedef struct {
    const mla_cache_view *cache;
    int64_t index, first, count;
} stretch;

static stretch chunk_at(const attributes *at, int64_t index) {
    const mla_cache_view *c = at->caches;
    int64_t first = index * at->chunk;
    for (; first >= chunks_of(at, c) * at->chunk; c++) first -= chunks_of(at, c) * at->chunk;
    return (stretch){c, index, first, c->length - first < at->chunk ? c->length - first : at->chunk};
}

/* scores (heads, chunk): a few rows of all heads, then the next ones, as they lie. */
static void score(const mla_node *n, stretch k, float *scores) {
    const attributes *at = n->attributes;
    const int64_t sequence = k.cache - at->caches, step = key_heads(at) > 1 ? TOGETHER : at->chunk;
    const float *q = query_room_of(n, sequence);
    for (int64_t s = 0; s < k.count; s += step)
        for (int64_t g = 0; g < key_heads(at); g++) {
            const mla_few_rows product = score_product(at, k.cache, k.first, g, scores);
            mla_few_rows_part(&product, q + g * shared_heads(at) * mla_few_rows_stride(at->key_width), s,
                              s + step < k.count ? s + step : k.count);
        }
}

/* out += scores V, in the same order. */
static void weigh(const mla_node *n, stretch k, const float *scores) {
    const attributes *at = n->attributes;
    const mla_cache_view *c = k.cache;
    const int64_t shared = shared_heads(at), step = key_heads(at) > 1 ? TOGETHER : at->chunk;
    for (int64_t s = 0; s < k.count; s += step)
        for (int64_t g = 0; g < key_heads(at); g++)
            mla_add_weighted_rows(&(mla_weighted_rows){
                .m = shared,
                .n = c->value_width,
                .k = k.count - s < step ? k.count - s : step,
                .x = scores + g * shared * at->chunk + s,
                .w = values_from(c->values, c->type, (k.first + s) * c->value_row + g * c->value_width),
                .y = partial_of(n, k.index, g * shared).out,
                .x_row = at->chunk,
                .w_row = c->value_row,
                .y_row = c->value_width + 2});
}

static void attend_chunk(const mla_node *n, int64_t index) {
    const attributes *at = n->attributes;
    const stretch k = chunk_at(at, index);
    float *scores = thread_scores(n);
    score(n, k, scores);
    for (int64_t h = 0; h < at->heads; h++) {
        const partial part = partial_of(n, index, h);
        *part.total = exponentials(k.count, at->scale, scores + h * at->chunk, part.top);
        memset(part.out, 0, (size_t)value_width(at) * sizeof *part.out);
    }
    weigh(n, k, scores);
}

MLA_VECTOR static void add_scaled(int64_t count, float scale, const float *x, float *sum) {
    MLA_SIMD
    for (int64_t i = 0; i < count; i++) sum[i] += scale * x[i];
}

static void join_chunks(const mla_node *n, int64_t sequence, int64_t head, float *out) {
    const attributes *at = n->attributes;
    const int64_t width = value_width(at), first = chunks_of_all(at, sequence);
    const int64_t end = first + chunks_of(at, &at->caches[sequence]);
    float top = -INFINITY, total = 0;
    for (int64_t c = first; c < end; c++) top = fmaxf(top, *partial_of(n, c, head).top);
    memset(out, 0, (size_t)width * sizeof *out);
    for (int64_t c = first; c < end; c++) {
        const partial part = partial_of(n, c, head);
        const float weight = expf(*part.top - top);
        total += weight * *part.total;
        add_scaled(width, weight, part.out, out);
    }
    for (int64_t i = 0; i < width; i++) out[i] /= total;
}

static void cached_attention_forward(const mla_node *n) {
    const attributes *at = n->attributes;
    const int64_t chunks = chunks_of_all(at, n->out->shape[0]);
    for (int64_t b = 0; b < n->out->shape[0]; b++) {
        const mla_few_rows queries = query_product(n, b);
        mla_few_rows_prepare(&queries, query_room_of(n, b));
    }
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < chunks; i++) attend_chunk(n, i);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < n->out->shape[0] * at->heads; i++)
        join_chunks(n, i / at->heads, i % at->heads, (float *)n->out->data + i * value_width(at));
}

/* Values that lie in the keys' rows, as latents do, are moved once. */
static mla_cost cached_attention_cost(const mla_node *n) {
    const attributes *at = n->attributes;
    const mla_cache_view *c = at->caches;
    const int64_t moved = at->key_width + (c->values == c->keys ? 0 : c->value_width);
    int64_t length = 0;
    for (int64_t b = 0; b < n->out->shape[0]; b++) length += c[b].length;
    const double flops = 2 * (double)(at->heads * length) * (double)(at->key_width + c->value_width);
    return (mla_cost){.forward_flops = flops,
                      .forward_bytes = (double)(length * c->key_heads * moved) * (double)mla_dtype_size(c->type) +
                                       (double)(mla_size(n->in[0]) + mla_size(n->out))};
}

static const mla_op cached_attention = {.name = "cached_attention",
                                        .forward = cached_attention_forward,
                                        .cost = cached_attention_cost,
                                        .attributes = sizeof(attributes)};

static const char *cached_attention_misfit(const mla_tensor *q, const mla_cache_view *c) {
    if (!c->keys || !c->values || c->length < 1) return "the cache must hold a position";
    if (c->key_heads < 1 || q->shape[2] % c->key_heads) return "the cache must have key heads that divide q's heads";
    if (c->type != MLA_F32 && c->type != MLA_BF16) return "the cache must be of f32 or bf16";
    if (c->value_width < 1 || c->key_row < c->key_heads * q->shape[3] || c->value_row < c->key_heads * c->value_width)
        return "the cache must have rows as wide as its heads together: keys as wide as q's, and values";
    return NULL;
}

static const char *misfit_of_all(const mla_tensor *q, const mla_cache_view *caches) {
    if (q->ndim != 4 || q->shape[1] != 1) return "q must be (B,1,H,K)";
    for (int64_t b = 0; b < q->shape[0]; b++) {
        const mla_cache_view *c = &caches[b];
        const char *why = cached_attention_misfit(q, c);
        if (why) return why;
        if (c->key_heads != caches->key_heads || c->value_width != caches->value_width ||
            c->key_row != caches->key_row || c->value_row != caches->value_row || c->type != caches->type)
            return "the caches must have rows of one shape and type";
    }
    return NULL;
}

static mla_tensor *build(mla_node *n, const mla_cache_view *caches, float scale) {
    const mla_tensor *q = n->in[0];
    mla_context *context = mla_tape_context(n->tape);
    attributes *at = n->attributes;
    *at = (attributes){.caches = caches, .scale = scale, .heads = q->shape[2], .key_width = q->shape[3]};
    at->chunk = key_heads(at) > 1 ? SHORT_CHUNK : LONG_CHUNK;
    n->forward_scratch = (int64_t)sizeof(float) *
                         (chunks_of_all(at, q->shape[0]) * at->heads * (value_width(at) + 2) +
                          query_floats(at, q->shape[0]) + mla_context_threads(context) * thread_floats(at));
    return mla_op_finish(n, MLA_F32, 3, (int64_t[]){q->shape[0], 1, at->heads * value_width(at)});
}

mla_tensor *mla_cached_attention_each(mla_tape *tape, mla_tensor *q, const mla_cache_view *caches, float scale) {
    mla_node *n = mla_op_begin_f32(tape, &cached_attention, 1, (mla_tensor *[]){q});
    if (!n) return mla_inert(tape);
    const char *why = misfit_of_all(q, caches);
    return why ? mla_op_refuse(n, "%s", why) : build(n, caches, scale);
}

mla_tensor *mla_cached_attention(mla_tape *tape, mla_tensor *q, const mla_cache_view *cache, float scale) {
    mla_node *n = mla_op_begin_f32(tape, &cached_attention, 1, (mla_tensor *[]){q});
    if (!n) return mla_inert(tape);
    if (q->ndim != 4 || q->shape[0] != 1) return mla_op_refuse(n, "q must be (1,1,H,K)");
    const char *why = misfit_of_all(q, cache);
    return why ? mla_op_refuse(n, "%s", why) : build(n, cache, scale);
}
