/* o_h = sum over s of softmax(scale q_h k_sᵀ)_s v_s, for one new position of each sequence over its cache. Inference
 * only.
 *
 * Memory bound: the positions are cut into chunks, and a chunk is read once for all heads that share its keys. Each
 * chunk gives a softmax of its own, with its largest score and sum; these are joined in order (Dao et al. 2023,
 * "Flash-Decoding"). Where several heads share keys, as all do in absorbed latent attention, a whole chunk's values
 * are weighed by a matrix product, of as many rows as there are heads. A chunk of bf16 is widened first, once for all
 * of these. */
#include "autograd/base/vecmath.h"
#include "autograd/kernels/gemm.h"
#include "autograd/op.h"
#include "autograd/ops.h"

#include <omp.h>
#include <string.h>

enum { CHUNK = 256 };

typedef struct {
    const mla_cache_view *caches; /* of the sequences, the caller's, there during forward */
    float scale;
    int64_t heads, key_width;
    const mla_gemm *weigh; /* for a whole chunk; NULL where no heads share keys */
} attributes;

static int64_t key_heads(const attributes *at) { return at->caches->key_heads; }

static int64_t value_width(const attributes *at) { return at->caches->value_width; }

static int64_t shared_heads(const attributes *at) { return at->heads / key_heads(at); }

static int64_t chunks_of(const mla_cache_view *cache) { return (cache->length + CHUNK - 1) / CHUNK; }

/* Of the first `count` sequences. */
static int64_t chunks_of_all(const attributes *at, int64_t count) {
    int64_t chunks = 0;
    for (int64_t b = 0; b < count; b++) chunks += chunks_of(&at->caches[b]);
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

MLA_VECTOR static void scores_of_one(int64_t count, int64_t width, int64_t row, float scale, const float *q,
                                     const float *keys, float *scores) {
    for (int64_t s = 0; s < count; s++) {
        const float *k = keys + s * row;
        float sum = 0;
        MLA_SIMD_SUM(sum)
        for (int64_t i = 0; i < width; i++) sum += q[i] * k[i];
        scores[s] = scale * sum;
    }
}

/* The same for four heads that share their keys, so that each is loaded once for all of them. */
MLA_VECTOR static void scores_of_four(int64_t count, int64_t width, int64_t row, float scale, const float *q,
                                      const float *keys, float *scores) {
    const float *qa = q, *qb = qa + width, *qc = qb + width, *qd = qc + width;
    for (int64_t s = 0; s < count; s++) {
        const float *k = keys + s * row;
        float a = 0, b = 0, c = 0, d = 0;
        MLA_SIMD_SUM(a, b, c, d)
        for (int64_t i = 0; i < width; i++) {
            a += qa[i] * k[i];
            b += qb[i] * k[i];
            c += qc[i] * k[i];
            d += qd[i] * k[i];
        }
        scores[s] = scale * a;
        scores[CHUNK + s] = scale * b;
        scores[2 * CHUNK + s] = scale * c;
        scores[3 * CHUNK + s] = scale * d;
    }
}

/* scores (heads, CHUNK) of `count` keys. A matrix product would first rearrange the keys, which takes longer. */
static void scores_of(int64_t heads, int64_t count, int64_t width, int64_t row, float scale, const float *q,
                      const float *keys, float *scores) {
    int64_t h = 0;
    for (; h + 4 <= heads; h += 4) scores_of_four(count, width, row, scale, q + h * width, keys, scores + h * CHUNK);
    for (; h < heads; h++) scores_of_one(count, width, row, scale, q + h * width, keys, scores + h * CHUNK);
}

/* Scores to exponentials; returns their sum. */
MLA_VECTOR static float exponentials(int64_t count, float *x, float *largest) {
    float top = x[0], sum = 0;
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

/* out = sum of p_s v_s; four rows at a time, so that out is read and written a quarter as often. */
MLA_VECTOR static void weigh(int64_t count, int64_t width, int64_t row, const float *p, const float *v, float *out) {
    int64_t s = 0;
    for (int64_t i = 0; i < width; i++) out[i] = 0;
    for (; s + 4 <= count; s += 4) {
        const float *a = v + s * row, *b = a + row, *c = b + row, *d = c + row;
        MLA_SIMD
        for (int64_t i = 0; i < width; i++) out[i] += p[s] * a[i] + p[s + 1] * b[i] + p[s + 2] * c[i] + p[s + 3] * d[i];
    }
    for (; s < count; s++) {
        const float *a = v + s * row;
        MLA_SIMD
        for (int64_t i = 0; i < width; i++) out[i] += p[s] * a[i];
    }
}

/* Values that lie in the keys' rows, as latents do, are read with them. */
static bool values_apart(const mla_cache_view *c) { return c->values != c->keys || c->key_heads != 1; }

/* Floats that a thread has for a chunk: scores (shared heads, CHUNK), and of bf16 the keys (CHUNK,K) and values that
 * are apart, (CHUNK,V), as f32. */
static int64_t thread_floats(const attributes *at) {
    const int64_t row = at->key_width + (values_apart(at->caches) ? value_width(at) : 0);
    return CHUNK * (shared_heads(at) + (at->caches->type == MLA_BF16 ? row : 0));
}

static float *thread_room(const mla_node *n) {
    const attributes *at = n->attributes;
    float *behind = (float *)n->scratch + chunks_of_all(at, n->out->shape[0]) * at->heads * (value_width(at) + 2);
    return behind + omp_get_thread_num() * thread_floats(at);
}

/* Rows of keys or values of one head. */
typedef struct {
    const float *data;
    int64_t row; /* elements from position to position */
} head_rows;

/* `count` of them: as they lie, or, of bf16, widened in `room`. */
static head_rows rows_of(mla_values begin, int64_t row, int64_t count, int64_t width, float *room) {
    if (begin.type == MLA_F32) return (head_rows){begin.data, row};
    for (int64_t s = 0; s < count; s++) mla_load(begin, s * row, width, room + s * width);
    return (head_rows){room, width};
}

static mla_values values_from(const void *cache, mla_dtype type, int64_t element) {
    return mla_beyond((mla_values){(void *)(uintptr_t)cache, type}, element);
}

static head_rows values_of(const mla_cache_view *c, int64_t first, int64_t count, int64_t group, head_rows keys,
                           float *room) {
    if (!values_apart(c)) return keys;
    const mla_values begin = values_from(c->values, c->type, first * c->value_row + group * c->value_width);
    return rows_of(begin, c->value_row, count, c->value_width, room);
}

/* One chunk for all heads that share a key head. */
static void attend_chunk(const mla_node *n, int64_t chunk, int64_t group) {
    const attributes *at = n->attributes;
    const mla_cache_view *c = at->caches;
    int64_t first = chunk * CHUNK;
    for (; first >= chunks_of(c) * CHUNK; c++) first -= chunks_of(c) * CHUNK;
    const int64_t count = c->length - first < CHUNK ? c->length - first : CHUNK;
    const int64_t shared = shared_heads(at), width = at->key_width;
    const bool product = at->weigh && count == CHUNK;
    const float *q = (const float *)n->in[0]->data + ((c - at->caches) * at->heads + group * shared) * width;
    float *scores = thread_room(n), *room = scores + shared * CHUNK;
    const head_rows keys = rows_of(values_from(c->keys, c->type, first * c->key_row + group * width), c->key_row, count,
                                   width, room);
    scores_of(shared, count, width, keys.row, at->scale, q, keys.data, scores);
    const head_rows values = values_of(c, first, count, group, keys, room + CHUNK * width);
    for (int64_t h = 0; h < shared; h++) {
        const partial part = partial_of(n, chunk, group * shared + h);
        float *p = scores + h * CHUNK;
        *part.total = exponentials(count, p, part.top);
        if (!product) weigh(count, c->value_width, values.row, p, values.data, part.out);
    }
    if (product) mla_gemm_run(at->weigh, scores, values.data, partial_of(n, chunk, group * shared).out, NULL);
}

MLA_VECTOR static void add_scaled(int64_t count, float scale, const float *x, float *sum) {
    MLA_SIMD
    for (int64_t i = 0; i < count; i++) sum[i] += scale * x[i];
}

static void join_chunks(const mla_node *n, int64_t sequence, int64_t head, float *out) {
    const attributes *at = n->attributes;
    const int64_t width = value_width(at), first = chunks_of_all(at, sequence);
    const int64_t end = first + chunks_of(&at->caches[sequence]);
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
    #pragma omp parallel for num_threads(mla_op_threads(n)) collapse(2) schedule(static)
    for (int64_t chunk = 0; chunk < chunks; chunk++)
        for (int64_t group = 0; group < key_heads(at); group++) attend_chunk(n, chunk, group);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < n->out->shape[0] * at->heads; i++)
        join_chunks(n, i / at->heads, i % at->heads, (float *)n->out->data + i * value_width(at));
}

/* Values that lie in the keys' rows, as latents do, are moved once. */
static mla_cost cached_attention_cost(const mla_node *n) {
    const attributes *at = n->attributes;
    const mla_cache_view *c = at->caches;
    const int64_t moved = at->key_width + (values_apart(c) ? c->value_width : 0);
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

/* P V of a whole chunk, for all heads that share a key head. Partial results of heads stand one after the other. */
static void plan_product(mla_context *context, attributes *at, int64_t sequences) {
    const mla_cache_view *c = at->caches;
    const int64_t shared = shared_heads(at);
    bool whole = false;
    for (int64_t b = 0; b < sequences; b++) whole |= c[b].length >= CHUNK;
    if (shared == 1 || !whole) return;
    at->weigh = mla_gemm_plan(context, &(mla_gemm_shape){.m = shared,
                                                         .n = c->value_width,
                                                         .k = CHUNK,
                                                         .ldb = c->type == MLA_F32 ? c->value_row
                                                                : values_apart(c)  ? c->value_width
                                                                                   : at->key_width,
                                                         .ldc = c->value_width + 2,
                                                         .single_thread = true});
}

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
    plan_product(context, at, q->shape[0]);
    n->forward_scratch = (int64_t)sizeof(float) * (chunks_of_all(at, q->shape[0]) * at->heads * (value_width(at) + 2) +
                                                   mla_context_threads(context) * thread_floats(at));
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
