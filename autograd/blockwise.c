#include "autograd/blockwise.h"
#include "autograd/gemm.h"
#include "autograd/rows.h"
#include "autograd/vecmath.h"

#include <omp.h>
#include <string.h>

/* Rows of a block of queries and of keys: large enough for GEMM's full speed, small enough for the L2 cache and
 * for little waste above the diagonal. */
enum { BLOCK = 128 };

typedef struct {
    int64_t begin, size;
} range;

static range block_at(int64_t i, int64_t total) {
    const int64_t begin = i * BLOCK;
    return (range){begin, total - begin < BLOCK ? total - begin : BLOCK};
}

static int64_t blocks_of(int64_t total) { return (total + BLOCK - 1) / BLOCK; }
static bool is_tail(range r) { return r.size != BLOCK; }

static mla_values at(const mla_blockwise *a, mla_heads x, int64_t positions, int64_t b, int64_t t, int64_t h) {
    return mla_beyond((mla_values){x.data, a->type}, (b * positions + t) * x.row + h * x.head);
}

/* Floats that hold a block of `count` values of the type. */
static int64_t floats_of(const mla_blockwise *a, int64_t count) {
    return count * (int64_t)mla_dtype_size(a->type) / (int64_t)sizeof(float);
}

/* Plans of one product for full and last blocks: [query block is the last][key block is the last]. */
typedef struct {
    const mla_gemm *plan[2][2];
} block_gemm;

typedef enum { QUERIES = -1, KEYS = -2 } block_side; /* stands for a block's size in a product's shape */

static int64_t side(int64_t size, int64_t queries, int64_t keys) {
    return size == QUERIES ? queries : size == KEYS ? keys : size;
}

static bool plan_blocks(mla_context *context, const mla_blockwise *a, mla_gemm_shape shape, block_gemm *out) {
    const int64_t query_sizes[] = {BLOCK, a->queries % BLOCK}, key_sizes[] = {BLOCK, a->keys % BLOCK};
    shape.single_thread = true;
    shape.a_type = shape.b_type = a->type;
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            out->plan[i][j] = NULL;
            if (!query_sizes[i] || !key_sizes[j] || (!i && a->queries < BLOCK) || (!j && a->keys < BLOCK)) continue;
            mla_gemm_shape s = shape;
            s.m = side(shape.m, query_sizes[i], key_sizes[j]);
            s.n = side(shape.n, query_sizes[i], key_sizes[j]);
            s.k = side(shape.k, query_sizes[i], key_sizes[j]);
            if (!(out->plan[i][j] = mla_gemm_plan(context, &s))) return false;
        }
    return true;
}

static const mla_gemm *pick(const block_gemm *g, range queries, range keys) {
    return g->plan[is_tail(queries)][is_tail(keys)];
}

static int64_t limited(int64_t x, int64_t most) { return x < 0 ? 0 : x < most ? x : most; }

/* Keys of the block that a query at position t sees, counted from the block's first. */
static range visible(const mla_blockwise *a, range keys, int64_t b, int64_t t) {
    const int64_t end = a->causal ? limited(t + 1 - keys.begin, keys.size) : keys.size;
    const int64_t begin = a->starts ? limited(a->starts[b * a->queries + t] - keys.begin, end) : 0;
    return (range){begin, end - begin};
}

/* The first key that any query of the block sees. */
static int64_t first_key(const mla_blockwise *a, range queries, int64_t b) {
    int64_t first = a->starts ? a->keys : 0;
    for (int64_t i = 0; i < queries.size && a->starts; i++) {
        const int64_t start = a->starts[b * a->queries + queries.begin + i];
        if (start < first) first = start;
    }
    return first;
}

static void clear(int64_t count, float *x) { memset(x, 0, (size_t)count * sizeof *x); }

/* ---- forward ---- */

/* What one thread works with while it goes over the key blocks of one query block. */
typedef struct {
    float *scores;      /* (BLOCK, BLOCK), row length = keys in the block */
    void *p;            /* the same as exponentials, of the type: scores itself for f32 */
    float *sum;         /* (BLOCK, V): P V so far, relative to exp(max) */
    float *max, *total; /* (BLOCK): of the scores seen so far, and the sum of their exponentials */
} forward_work;

/* A second block of scores, where the type is not that of the scores. */
static int64_t copy_floats(const mla_blockwise *a) { return a->type == MLA_F32 ? 0 : floats_of(a, BLOCK * BLOCK); }

static int64_t forward_floats(const mla_blockwise *a) {
    return BLOCK * (BLOCK + a->value_width + 2) + copy_floats(a);
}

static forward_work forward_work_of(const mla_blockwise *a, float *scratch) {
    float *scores = scratch + omp_get_thread_num() * forward_floats(a);
    float *sum = scores + BLOCK * BLOCK, *max = sum + BLOCK * a->value_width;
    return (forward_work){scores, a->type == MLA_F32 ? scores : max + 2 * BLOCK, sum, max, max + BLOCK};
}

int64_t mla_blockwise_forward_scratch(mla_context *context, const mla_blockwise *a) {
    return forward_floats(a) * mla_context_threads(context);
}

/* One row of scores to exponentials relative to the new maximum; what was summed before is rescaled. */
MLA_VECTOR static void absorb_row(int64_t count, int64_t width, float scale, float *restrict s, float *restrict max,
                                  float *restrict total, int64_t value_width, float *restrict sum) {
    float top = *max, added = 0;
    MLA_SIMD_MAX(top)
    for (int64_t j = 0; j < count; j++) top = s[j] * scale > top ? s[j] * scale : top;
    MLA_SIMD_SUM(added)
    for (int64_t j = 0; j < count; j++) {
        s[j] = expf(s[j] * scale - top);
        added += s[j];
    }
    for (int64_t j = count; j < width; j++) s[j] = 0;
    const float shrink = expf(*max - top);
    *total = *total * shrink + added;
    *max = top;
    MLA_SIMD
    for (int64_t j = 0; j < value_width; j++) sum[j] *= shrink;
}

MLA_VECTOR static void divide_row(int64_t count, float by, float *restrict x) {
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) x[j] /= by;
}

typedef struct {
    block_gemm scores, values;
} forward_plans;

/* Row i of a block of scores. A query that sees none of the keys takes nothing in. */
static void absorb(const mla_blockwise *a, const forward_work *w, range queries, range keys, int64_t b, int64_t i) {
    const range seen = visible(a, keys, b, queries.begin + i);
    float *s = w->scores + i * keys.size;
    clear(seen.size ? seen.begin : keys.size, s);
    if (seen.size)
        absorb_row(seen.size, keys.size - seen.begin, a->scale, s + seen.begin, w->max + i, w->total + i,
                   a->value_width, w->sum + i * a->value_width);
}

/* Takes in one block of keys: scores to exponentials, and what they weigh of the values to the sum. */
static void forward_pair(const mla_blockwise *a, const forward_plans *plans, const forward_work *w, const void *q,
                         const void *k, const void *v, range queries, range keys, int64_t b) {
    mla_gemm_run(pick(&plans->scores, queries, keys), q, k, w->scores, NULL);
    for (int64_t i = 0; i < queries.size; i++) absorb(a, w, queries, keys, b, i);
    if (a->type == MLA_BF16) mla_narrow(queries.size * keys.size, w->scores, w->p);
    mla_gemm_run(pick(&plans->values, queries, keys), w->p, v, w->sum, NULL);
}

static void forward_block(const mla_blockwise *a, const forward_plans *plans, mla_heads q, mla_heads k, mla_heads v,
                          mla_heads out, float *lse, const forward_work *w, int64_t b, int64_t h, range queries) {
    const int64_t g = h / (a->heads / a->key_heads);
    memset(w->sum, 0, (size_t)(BLOCK * a->value_width) * sizeof(float));
    for (int64_t i = 0; i < queries.size; i++) w->max[i] = -INFINITY, w->total[i] = 0;
    for (int64_t j = first_key(a, queries, b) / BLOCK; j < blocks_of(a->keys); j++) {
        const range keys = block_at(j, a->keys);
        if (a->causal && keys.begin > queries.begin + queries.size - 1) break;
        forward_pair(a, plans, w, at(a, q, a->queries, b, queries.begin, h).data,
                     at(a, k, a->keys, b, keys.begin, g).data, at(a, v, a->keys, b, keys.begin, g).data, queries, keys,
                     b);
    }
    for (int64_t i = 0; i < queries.size; i++) {
        float *sum = w->sum + i * a->value_width;
        divide_row(a->value_width, w->total[i], sum);
        mla_store(at(a, out, a->queries, b, queries.begin + i, h), MLA_SET, 0, a->value_width, sum);
        lse[i] = w->max[i] + logf(w->total[i]);
    }
}

static bool starts_fit(mla_context *context, const mla_blockwise *a) {
    for (int64_t i = 0; a->starts && i < a->batch * a->queries; i++)
        if (a->starts[i] < 0 || a->starts[i] > i % a->queries) {
            mla_fail(context, MLA_ERROR_ARGUMENT, "attention: starts has %d at position %lld of sample %lld; expected 0 to "
                     "that position", a->starts[i], (long long)(i % a->queries), (long long)(i / a->queries));
            return false;
        }
    return true;
}

void mla_blockwise_forward(mla_context *context, const mla_blockwise *a, mla_heads q, mla_heads k, mla_heads v,
                           mla_heads out, float *lse, float *scratch) {
    forward_plans plans;
    if (!starts_fit(context, a)) return;
    const mla_gemm_shape scores = {.m = QUERIES, .n = KEYS, .k = a->key_width, .b_transposed = true, .lda = q.row,
                                   .ldb = k.row};
    const mla_gemm_shape values = {.m = QUERIES, .n = a->value_width, .k = KEYS, .ldb = v.row, .accumulate = true};
    if (!plan_blocks(context, a, scores, &plans.scores) || !plan_blocks(context, a, values, &plans.values)) return;
    const int64_t blocks = blocks_of(a->queries);
    #pragma omp parallel for collapse(2) schedule(dynamic)
    for (int64_t block = blocks - 1; block >= 0; block--) /* the longest rows of blocks first */
        for (int64_t head = 0; head < a->batch * a->heads; head++) {
            const forward_work w = forward_work_of(a, scratch);
            const range queries = block_at(block, a->queries);
            forward_block(a, &plans, q, k, v, out, lse + head * a->queries + queries.begin, &w, head / a->heads,
                          head % a->heads, queries);
        }
}

/* ---- backward ---- */

typedef struct {
    float *scores, *dp; /* (BLOCK, BLOCK): become P and scale * dS */
    void *p, *ds;       /* the same, of the type: scores and dp themselves for f32 */
    float *dk, *dv;     /* (BLOCK, K), (BLOCK, V): of the key block, summed over query blocks and heads */
    float *dq;          /* (heads that share the key head, T, K): summed over key blocks */
} backward_work;

static int64_t shared_heads(const mla_blockwise *a) { return a->heads / a->key_heads; }
static int64_t dq_floats(const mla_blockwise *a) { return shared_heads(a) * a->queries * a->key_width; }

static int64_t backward_floats(const mla_blockwise *a) {
    return BLOCK * (2 * BLOCK + a->key_width + a->value_width) + 2 * copy_floats(a) + dq_floats(a);
}

static int64_t row_dots(const mla_blockwise *a) { return a->batch * a->heads * a->queries; }

int64_t mla_blockwise_backward_scratch(mla_context *context, const mla_blockwise *a) {
    return row_dots(a) + backward_floats(a) * mla_context_threads(context);
}

static backward_work backward_work_of(const mla_blockwise *a, float *scratch) {
    backward_work w = {.scores = scratch + row_dots(a) + omp_get_thread_num() * backward_floats(a)};
    w.dp = w.scores + BLOCK * BLOCK;
    w.dk = w.dp + BLOCK * BLOCK;
    w.dv = w.dk + BLOCK * a->key_width;
    w.dq = w.dv + BLOCK * a->value_width;
    float *copies = w.dq + dq_floats(a);
    w.p = a->type == MLA_F32 ? w.scores : copies;
    w.ds = a->type == MLA_F32 ? w.dp : copies + copy_floats(a);
    return w;
}

MLA_VECTOR static float dot(int64_t count, const float *restrict x, const float *restrict y) {
    float sum = 0;
    MLA_SIMD_SUM(sum)
    for (int64_t i = 0; i < count; i++) sum += x[i] * y[i];
    return sum;
}

/* A row of scores to P, and of dP to scale * dS. */
MLA_VECTOR static void score_gradient_row(int64_t count, int64_t width, float scale, float lse, float row_dot,
                                          float *restrict p, float *restrict ds) {
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) {
        p[j] = expf(p[j] * scale - lse);
        ds[j] = p[j] * (ds[j] - row_dot) * scale;
    }
    for (int64_t j = count; j < width; j++) p[j] = ds[j] = 0;
}

/* Puts x (rows, width) into rows of `out` that begin `stride` elements apart. */
static void deliver(int64_t rows, int64_t width, const float *x, mla_values out, int64_t stride, bool add) {
    for (int64_t i = 0; i < rows; i++) mla_store(out, add ? MLA_ADD : MLA_SET, i * stride, width, x + i * width);
}

typedef struct {
    block_gemm scores, dp, dq, dk, dv;
} backward_plans;

static bool plan_backward(mla_context *context, const mla_blockwise *a, mla_heads q, mla_heads k, mla_heads v,
                          mla_heads dout, backward_plans *plans) {
    const int64_t kw = a->key_width, vw = a->value_width;
    return plan_blocks(context, a, (mla_gemm_shape){.m = QUERIES, .n = KEYS, .k = kw, .b_transposed = true,
                       .lda = q.row, .ldb = k.row}, &plans->scores) &&
           plan_blocks(context, a, (mla_gemm_shape){.m = QUERIES, .n = KEYS, .k = vw, .b_transposed = true,
                       .lda = dout.row, .ldb = v.row}, &plans->dp) &&
           plan_blocks(context, a, (mla_gemm_shape){.m = QUERIES, .n = kw, .k = KEYS, .ldb = k.row,
                       .accumulate = true}, &plans->dq) &&
           plan_blocks(context, a, (mla_gemm_shape){.m = KEYS, .n = kw, .k = QUERIES, .a_transposed = true,
                       .ldb = q.row, .accumulate = true}, &plans->dk) &&
           plan_blocks(context, a, (mla_gemm_shape){.m = KEYS, .n = vw, .k = QUERIES, .a_transposed = true,
                       .ldb = dout.row, .accumulate = true}, &plans->dv);
}

/* One block of queries of one head against one block of keys. */
typedef struct {
    const void *q, *k, *v, *dout;
    const float *lse, *dots;
    float *dq;
    range queries, keys;
    int64_t b;
} pair;

/* Row i of a block of scores and of dP: to P, and to scale * dS. */
static void score_gradient(const mla_blockwise *a, const backward_work *w, const pair *p, int64_t i) {
    const range seen = visible(a, p->keys, p->b, p->queries.begin + i);
    float *s = w->scores + i * p->keys.size, *dp = w->dp + i * p->keys.size;
    clear(seen.begin, s);
    clear(seen.begin, dp);
    score_gradient_row(seen.size, p->keys.size - seen.begin, a->scale, p->lse[i], p->dots[i], s + seen.begin,
                       dp + seen.begin);
}

/* Adds what the pair gives to the key block's dk and dv and to the query block's dq. */
static void backward_pair(const mla_blockwise *a, const backward_plans *plans, const backward_work *w, const pair *p) {
    const range queries = p->queries, keys = p->keys;
    mla_gemm_run(pick(&plans->scores, queries, keys), p->q, p->k, w->scores, NULL);
    mla_gemm_run(pick(&plans->dp, queries, keys), p->dout, p->v, w->dp, NULL);
    for (int64_t i = 0; i < queries.size; i++) score_gradient(a, w, p, i);
    if (a->type == MLA_BF16) {
        mla_narrow(queries.size * keys.size, w->scores, w->p);
        mla_narrow(queries.size * keys.size, w->dp, w->ds);
    }
    mla_gemm_run(pick(&plans->dv, queries, keys), w->p, p->dout, w->dv, NULL);
    mla_gemm_run(pick(&plans->dk, queries, keys), w->ds, p->q, w->dk, NULL);
    mla_gemm_run(pick(&plans->dq, queries, keys), w->ds, p->k, p->dq, NULL);
}

typedef struct {
    mla_heads q, k, v, dout;
    const float *lse, *dots;
} backward_inputs;

static void backward_keys(const mla_blockwise *a, const backward_plans *plans, const backward_work *w,
                          const backward_inputs *in, int64_t b, int64_t g, int64_t block) {
    const range keys = block_at(block, a->keys);
    for (int64_t shared = 0; shared < shared_heads(a); shared++)
        for (int64_t i = a->causal ? block : 0; i < blocks_of(a->queries); i++) {
            const range queries = block_at(i, a->queries);
            if (first_key(a, queries, b) >= keys.begin + keys.size) continue;
            const int64_t h = g * shared_heads(a) + shared, row = (b * a->heads + h) * a->queries + queries.begin;
            const pair p = {.q = at(a, in->q, a->queries, b, queries.begin, h).data,
                            .k = at(a, in->k, a->keys, b, keys.begin, g).data,
                            .v = at(a, in->v, a->keys, b, keys.begin, g).data,
                            .dout = at(a, in->dout, a->queries, b, queries.begin, h).data,
                            .lse = in->lse + row, .dots = in->dots + row,
                            .dq = w->dq + (shared * a->queries + queries.begin) * a->key_width,
                            .queries = queries, .keys = keys, .b = b};
            backward_pair(a, plans, w, &p);
        }
}

/* All of one key head, so that the order of every sum is fixed: key blocks outside, the heads that share it and
 * their query blocks inside. */
static void backward_head(const mla_blockwise *a, const backward_plans *plans, const backward_work *w,
                          const backward_inputs *in, const mla_blockwise_gradients *d, int64_t b, int64_t g) {
    memset(w->dq, 0, (size_t)dq_floats(a) * sizeof(float));
    for (int64_t j = 0; j < blocks_of(a->keys); j++) {
        const range keys = block_at(j, a->keys);
        memset(w->dk, 0, (size_t)(BLOCK * (a->key_width + a->value_width)) * sizeof(float)); /* dv stands behind it */
        backward_keys(a, plans, w, in, b, g, j);
        if (d->k.data)
            deliver(keys.size, a->key_width, w->dk, at(a, d->k, a->keys, b, keys.begin, g), d->k.row, d->add_k);
        if (d->v.data)
            deliver(keys.size, a->value_width, w->dv, at(a, d->v, a->keys, b, keys.begin, g), d->v.row, d->add_v);
    }
    for (int64_t shared = 0; shared < shared_heads(a) && d->q.data; shared++)
        deliver(a->queries, a->key_width, w->dq + shared * a->queries * a->key_width,
                at(a, d->q, a->queries, b, 0, g * shared_heads(a) + shared), d->q.row, d->add_q);
}

/* dots[b,h,t] = dO . O of that row. */
static void row_dot(const mla_blockwise *a, mla_heads out, mla_heads dout, int64_t b, int64_t t, float *dots,
                    float *buffer) {
    for (int64_t h = 0; h < a->heads; h++) {
        const float *o = mla_load(at(a, out, a->queries, b, t, h), 0, a->value_width, buffer);
        const float *d = mla_load(at(a, dout, a->queries, b, t, h), 0, a->value_width, buffer + a->value_width);
        dots[(b * a->heads + h) * a->queries + t] = dot(a->value_width, o, d);
    }
}

void mla_blockwise_backward(mla_context *context, const mla_blockwise *a, mla_heads q, mla_heads k, mla_heads v,
                            mla_heads out, mla_heads dout, const float *lse, const mla_blockwise_gradients *d,
                            float *scratch) {
    backward_plans plans;
    float *dots = scratch;
    const backward_inputs in = {q, k, v, dout, lse, dots};
    if (!plan_backward(context, a, q, k, v, dout, &plans)) return;
    #pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < a->batch * a->queries; i++)
        row_dot(a, out, dout, i / a->queries, i % a->queries, dots, backward_work_of(a, scratch).scores);
    #pragma omp parallel for schedule(dynamic)
    for (int64_t task = 0; task < a->batch * a->key_heads; task++) {
        const backward_work w = backward_work_of(a, scratch);
        backward_head(a, &plans, &w, &in, d, task / a->key_heads, task % a->key_heads);
    }
}

mla_cost mla_blockwise_cost(const mla_blockwise *a) {
    const double pairs = (double)a->batch * (double)a->heads * (double)a->queries * (double)a->keys;
    const double seen = a->causal ? pairs / 2 : pairs;
    const double key = (double)a->key_width, value = (double)a->value_width;
    const double rows = (double)a->batch * (double)(a->queries + a->keys) * (double)a->heads *
                        (double)mla_dtype_size(a->type);
    return (mla_cost){.forward_flops = 2 * seen * (key + value), .backward_flops = 2 * seen * (3 * key + 2 * value),
                      .forward_bytes = rows * (key + value), .backward_bytes = 2 * rows * (key + value)};
}
