#include "autograd/kernels/flash_attention.h"
#include "autograd/kernels/attention_tiles.h"
#include "autograd/base/vecmath.h"

#include <omp.h>
#include <string.h>

static mla_values at(const mla_blockwise *a, mla_heads x, int64_t positions, int64_t b, int64_t t, int64_t h) {
    return mla_beyond((mla_values){x.data, a->type}, (b * positions + t) * x.row + h * x.head);
}

static size_t bytes_of(const mla_blockwise *a, int64_t count) { return (size_t)count * mla_dtype_size(a->type); }

/* Floats that hold `count` values of the type. */
static int64_t floats_of(const mla_blockwise *a, int64_t count) {
    return (int64_t)((bytes_of(a, count) + sizeof(float) - 1) / sizeof(float));
}

/* Row `row` and those below it, of a block of the type. */
static void *rows_from(const mla_blockwise *a, void *block, int64_t row, int64_t width) {
    return mla_beyond((mla_values){block, a->type}, row * width).data;
}

/* Query heads that share a key head. */
static int64_t shared_heads(const mla_blockwise *a) { return a->heads / a->key_heads; }

static int64_t limited(int64_t x, int64_t most) { return x < 0 ? 0 : x < most ? x : most; }

/* Keys of the block that a query at position t sees, counted from the block's first. */
static mla_stretch visible(const mla_blockwise *a, mla_stretch keys, int64_t b, int64_t t) {
    const int64_t end = a->causal ? limited(t + 1 - keys.begin, keys.size) : keys.size;
    const int64_t begin = a->starts ? limited(a->starts[b * a->queries + t] - keys.begin, end) : 0;
    return (mla_stretch){begin, end - begin};
}

/* The first key that any query of the block sees. */
static int64_t first_key(const mla_blockwise *a, mla_stretch queries, int64_t b) {
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
    float *scores;      /* (MLA_BLOCK, MLA_PITCH) */
    void *p;            /* the same as exponentials, of the type: scores itself for f32 */
    float *sum;         /* (MLA_BLOCK, V): P V so far, relative to exp(max) */
    float *max, *total; /* (MLA_BLOCK): of the scores seen so far, and the sum of their exponentials */
} forward_work;

/* A second block of scores, where the type is not that of the scores. */
static int64_t copy_floats(const mla_blockwise *a) {
    return a->type == MLA_F32 ? 0 : floats_of(a, MLA_BLOCK * MLA_PITCH);
}

static int64_t forward_floats(const mla_blockwise *a) {
    return MLA_BLOCK * (MLA_PITCH + a->value_width + 2) + copy_floats(a);
}

static forward_work forward_work_of(const mla_blockwise *a, float *scratch) {
    float *scores = scratch + omp_get_thread_num() * forward_floats(a);
    float *sum = scores + MLA_BLOCK * MLA_PITCH, *max = sum + MLA_BLOCK * a->value_width;
    return (forward_work){scores, a->type == MLA_F32 ? scores : max + 2 * MLA_BLOCK, sum, max, max + MLA_BLOCK};
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
    mla_tile_gemm scores, values;
} forward_plans;

typedef struct {
    mla_heads q, k, v, out;
    float *lse;
} forward_operands;

/* Query `row` of a block, and row i of a tile's scores. A query that sees none of the keys takes nothing in. */
static void absorb(const mla_blockwise *a, const forward_work *w, const mla_tile *t, int64_t b, int64_t i,
                   int64_t row) {
    const int64_t width = t->keys.size;
    const mla_stretch seen = visible(a, t->keys, b, t->queries.begin + i);
    float *s = w->scores + i * MLA_PITCH;
    clear(seen.size ? seen.begin : width, s);
    if (seen.size)
        absorb_row(seen.size, width - seen.begin, a->scale, s + seen.begin, w->max + row, w->total + row,
                   a->value_width, w->sum + row * a->value_width);
    if (a->type == MLA_BF16) mla_narrow(width, s, rows_from(a, w->p, i, MLA_PITCH));
}

/* Takes in one tile: scores to exponentials, and what they weigh of the values to the sum. */
static void forward_tile(const mla_blockwise *a, const forward_plans *plans, const forward_work *w,
                         const forward_operands *x, const mla_tile *t, int64_t b, int64_t h) {
    const int64_t g = h / shared_heads(a), row = t->queries.begin % MLA_BLOCK;
    const void *q = at(a, x->q, a->queries, b, t->queries.begin, h).data;
    mla_gemm_run(mla_tile_plan(&plans->scores, t), q, at(a, x->k, a->keys, b, t->keys.begin, g).data, w->scores, NULL);
    for (int64_t i = 0; i < t->queries.size; i++) absorb(a, w, t, b, i, row + i);
    mla_gemm_run(mla_tile_plan(&plans->values, t), w->p, at(a, x->v, a->keys, b, t->keys.begin, g).data,
                 w->sum + row * a->value_width, NULL);
}

static void forward_block(const mla_blockwise *a, const forward_plans *plans, const forward_operands *x,
                          const forward_work *w, int64_t b, int64_t h, int64_t block) {
    const mla_stretch queries = mla_block_at(block, a->queries);
    const int64_t end = a->causal ? block + 1 : mla_blocks_of(a->keys);
    clear(MLA_BLOCK * a->value_width, w->sum);
    for (int64_t i = 0; i < queries.size; i++) w->max[i] = -INFINITY, w->total[i] = 0;
    for (int64_t j = first_key(a, queries, b) / MLA_BLOCK; j < end; j++) {
        mla_tile tiles[2];
        const int count = mla_tiles_of(a, block, j, tiles);
        for (int k = 0; k < count; k++) forward_tile(a, plans, w, x, &tiles[k], b, h);
    }
    float *lse = x->lse + (b * a->heads + h) * a->queries + queries.begin;
    for (int64_t i = 0; i < queries.size; i++) {
        float *sum = w->sum + i * a->value_width;
        divide_row(a->value_width, w->total[i], sum);
        mla_store(at(a, x->out, a->queries, b, queries.begin + i, h), MLA_SET, 0, a->value_width, sum);
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
    const forward_operands x = {q, k, v, out, lse};
    if (!starts_fit(context, a)) return;
    const mla_gemm_shape scores = {.m = MLA_QUERIES, .n = MLA_KEYS, .k = a->key_width, .b_transposed = true,
                                   .lda = q.row, .ldb = k.row, .ldc = MLA_PITCH};
    const mla_gemm_shape values = {.m = MLA_QUERIES, .n = a->value_width, .k = MLA_KEYS, .lda = MLA_PITCH,
                                   .ldb = v.row, .accumulate = true};
    if (!mla_plan_tiles(context, a, scores, &plans.scores)) return;
    if (!mla_plan_tiles(context, a, values, &plans.values)) return;
    #pragma omp parallel for num_threads(mla_context_threads(context)) collapse(2) schedule(dynamic)
    for (int64_t block = mla_blocks_of(a->queries) - 1; block >= 0; block--) /* the longest rows of blocks first */
        for (int64_t head = 0; head < a->batch * a->heads; head++) {
            const forward_work w = forward_work_of(a, scratch);
            forward_block(a, &plans, &x, &w, head / a->heads, head % a->heads, block);
        }
}

/* ---- backward ---- */

/* What one thread works with while it goes over a head. Rows of one head lie far apart in memory, at distances that slow
 * products (MLA_ROW_GAP); those that every key block needs are brought together first. */
typedef struct {
    float *scores, *dp; /* (MLA_BLOCK, MLA_PITCH): become P and scale * dS */
    void *p, *ds;       /* the same, of the type: scores and dp themselves for f32 */
    float *dk, *dv;     /* (MLA_BLOCK, K), (MLA_BLOCK, V): of the key block, summed over query blocks */
    float *dq;          /* (T, K): summed over key blocks */
    float *dots;        /* (T): dO . O of each row */
    void *q, *dout;     /* (T, K), (T, V), of the type */
} backward_work;

/* Parts in the order of the struct; floats or, with `work`, where they begin in `scratch`. */
static int64_t lay_out(const mla_blockwise *a, float *scratch, backward_work *work) {
    const int64_t rows = a->queries, copy = copy_floats(a);
    const int64_t sizes[] = {MLA_BLOCK * MLA_PITCH, MLA_BLOCK * MLA_PITCH, copy, copy, MLA_BLOCK * a->key_width,
                             MLA_BLOCK * a->value_width, rows * a->key_width, rows,
                             floats_of(a, rows * a->key_width), floats_of(a, rows * a->value_width)};
    enum { PARTS = sizeof sizes / sizeof *sizes };
    float *part[PARTS];
    int64_t total = 0;
    for (int i = 0; i < PARTS; i++) {
        part[i] = work ? scratch + total : NULL;
        total += (sizes[i] + 15) / 16 * 16;
    }
    if (work)
        *work = (backward_work){part[0], part[1], copy ? part[2] : part[0], copy ? part[3] : part[1], part[4], part[5],
                                part[6], part[7], part[8], part[9]};
    return total;
}

/* Heads, which threads take one after the other: a thread that gets none needs no scratch. */
static int64_t working_threads(mla_context *context, const mla_blockwise *a) {
    const int64_t threads = mla_context_threads(context), tasks = a->batch * a->heads;
    return tasks < threads ? tasks : threads;
}

/* What each head gives to the gradients of keys or values that it shares with others: (B, heads, keys, width). */
static int64_t shared_floats(const mla_blockwise *a, int64_t width) {
    return shared_heads(a) == 1 ? 0 : a->batch * a->heads * a->keys * width;
}

int64_t mla_blockwise_backward_scratch(mla_context *context, const mla_blockwise *a) {
    return lay_out(a, NULL, NULL) * working_threads(context, a) + shared_floats(a, a->key_width + a->value_width);
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

typedef struct {
    mla_tile_gemm scores, dp, dq, dk, dv;
} backward_plans;

static bool plan_backward(mla_context *context, const mla_blockwise *a, mla_heads k, mla_heads v,
                          backward_plans *plans) {
    const int64_t kw = a->key_width, vw = a->value_width;
    const mla_gemm_shape scores = {.m = MLA_QUERIES, .n = MLA_KEYS, .k = kw, .b_transposed = true, .ldb = k.row,
                                   .ldc = MLA_PITCH};
    const mla_gemm_shape dp = {.m = MLA_QUERIES, .n = MLA_KEYS, .k = vw, .b_transposed = true, .ldb = v.row,
                               .ldc = MLA_PITCH};
    const mla_gemm_shape dq = {.m = MLA_QUERIES, .n = kw, .k = MLA_KEYS, .lda = MLA_PITCH, .ldb = k.row,
                               .accumulate = true};
    const mla_gemm_shape dk = {.m = MLA_KEYS, .n = kw, .k = MLA_QUERIES, .a_transposed = true, .lda = MLA_PITCH,
                               .accumulate = true};
    mla_gemm_shape dv = dk;
    dv.n = vw;
    return mla_plan_tiles(context, a, scores, &plans->scores) && mla_plan_tiles(context, a, dp, &plans->dp) &&
           mla_plan_tiles(context, a, dq, &plans->dq) && mla_plan_tiles(context, a, dk, &plans->dk) &&
           mla_plan_tiles(context, a, dv, &plans->dv);
}

typedef struct {
    mla_heads q, k, v, out, dout;
    const float *lse;
} backward_operands;

/* Rows of one head are too far apart for the processor to foresee them. */
static void prefetch(const mla_blockwise *a, mla_values row, int64_t width) {
    for (size_t i = 0; i < bytes_of(a, width); i += 64) __builtin_prefetch((const char *)row.data + i);
}

/* Brings together what is needed of a head. */
static void gather_head(const mla_blockwise *a, const backward_work *w, const backward_operands *x, int64_t b,
                        int64_t h) {
    enum { AHEAD = 8 };
    const int64_t kw = a->key_width, vw = a->value_width;
    for (int64_t t = 0; t < a->queries; t++) {
        const mla_values dout = at(a, x->dout, a->queries, b, t, h);
        prefetch(a, at(a, x->dout, a->queries, b, t + AHEAD, h), vw);
        prefetch(a, at(a, x->out, a->queries, b, t + AHEAD, h), vw);
        prefetch(a, at(a, x->q, a->queries, b, t + AHEAD, h), kw);
        const float *o = mla_load(at(a, x->out, a->queries, b, t, h), 0, vw, w->scores);
        w->dots[t] = dot(vw, o, mla_load(dout, 0, vw, w->dp));
        memcpy(rows_from(a, w->q, t, kw), at(a, x->q, a->queries, b, t, h).data, bytes_of(a, kw));
        memcpy(rows_from(a, w->dout, t, vw), dout.data, bytes_of(a, vw));
    }
}

/* Row i of a tile's scores and dP, which is query t of the head: to P, and to scale * dS. */
static void score_gradient(const mla_blockwise *a, const backward_work *w, const mla_tile *t, int64_t b, int64_t i,
                           float lse, float row_dot) {
    const int64_t width = t->keys.size;
    const mla_stretch seen = visible(a, t->keys, b, t->queries.begin + i);
    float *s = w->scores + i * MLA_PITCH, *dp = w->dp + i * MLA_PITCH;
    clear(seen.begin, s);
    clear(seen.begin, dp);
    score_gradient_row(seen.size, width - seen.begin, a->scale, lse, row_dot, s + seen.begin, dp + seen.begin);
    if (a->type == MLA_F32) return;
    mla_narrow(width, s, rows_from(a, w->p, i, MLA_PITCH));
    mla_narrow(width, dp, rows_from(a, w->ds, i, MLA_PITCH));
}

/* Adds what a tile gives to the key block's dk and dv and to the queries' dq. */
static void backward_tile(const mla_blockwise *a, const backward_plans *plans, const backward_work *w,
                          const backward_operands *x, const mla_tile *t, int64_t b, int64_t h) {
    const int64_t row = t->queries.begin, g = h / shared_heads(a);
    const void *q = rows_from(a, w->q, row, a->key_width), *dout = rows_from(a, w->dout, row, a->value_width);
    const void *k = at(a, x->k, a->keys, b, t->keys.begin, g).data, *v = at(a, x->v, a->keys, b, t->keys.begin, g).data;
    const float *lse = x->lse + (b * a->heads + h) * a->queries + row;
    mla_gemm_run(mla_tile_plan(&plans->scores, t), q, k, w->scores, NULL);
    mla_gemm_run(mla_tile_plan(&plans->dp, t), dout, v, w->dp, NULL);
    for (int64_t i = 0; i < t->queries.size; i++) score_gradient(a, w, t, b, i, lse[i], w->dots[row + i]);
    mla_gemm_run(mla_tile_plan(&plans->dv, t), w->p, dout, w->dv, NULL);
    mla_gemm_run(mla_tile_plan(&plans->dk, t), w->ds, q, w->dk, NULL);
    mla_gemm_run(mla_tile_plan(&plans->dq, t), w->ds, k, w->dq + row * a->key_width, NULL);
}

static void backward_keys(const mla_blockwise *a, const backward_plans *plans, const backward_work *w,
                          const backward_operands *x, int64_t b, int64_t h, int64_t key_block) {
    const mla_stretch keys = mla_block_at(key_block, a->keys);
    clear(MLA_BLOCK * a->key_width, w->dk);
    clear(MLA_BLOCK * a->value_width, w->dv);
    for (int64_t i = a->causal ? key_block : 0; i < mla_blocks_of(a->queries); i++) {
        mla_tile tiles[2];
        if (first_key(a, mla_block_at(i, a->queries), b) >= keys.begin + keys.size) continue;
        const int count = mla_tiles_of(a, i, key_block, tiles);
        for (int k = 0; k < count; k++) backward_tile(a, plans, w, x, &tiles[k], b, h);
    }
}

/* Where a gradient of keys or values goes; heads that share it put theirs into `sums`, for add_shared. */
typedef struct {
    mla_heads out; /* without data: not wanted */
    int64_t width;
    bool add;
    float *sums; /* shared_floats */
} key_gradient;

/* Puts x (rows, width) into rows of `out` that begin `stride` elements apart. */
static void deliver(int64_t rows, int64_t width, const float *x, mla_values out, int64_t stride, bool add) {
    for (int64_t i = 0; i < rows; i++) mla_store(out, add ? MLA_ADD : MLA_SET, i * stride, width, x + i * width);
}

static void deliver_keys(const mla_blockwise *a, const key_gradient *d, const float *x, mla_stretch keys, int64_t b,
                         int64_t h) {
    if (!d->out.data) return;
    if (shared_heads(a) > 1)
        memcpy(d->sums + ((b * a->heads + h) * a->keys + keys.begin) * d->width, x,
               (size_t)(keys.size * d->width) * sizeof *x);
    else deliver(keys.size, d->width, x, at(a, d->out, a->keys, b, keys.begin, h), d->out.row, d->add);
}

/* All of one head, so that the order of every sum is fixed: key blocks outside, query blocks inside. */
static void backward_head(const mla_blockwise *a, const backward_plans *plans, const backward_work *w,
                          const backward_operands *x, const key_gradient *dk, const key_gradient *dv, int64_t b,
                          int64_t h) {
    gather_head(a, w, x, b, h);
    clear(a->queries * a->key_width, w->dq);
    for (int64_t j = 0; j < mla_blocks_of(a->keys); j++) {
        const mla_stretch keys = mla_block_at(j, a->keys);
        backward_keys(a, plans, w, x, b, h, j);
        deliver_keys(a, dk, w->dk, keys, b, h);
        deliver_keys(a, dv, w->dv, keys, b, h);
    }
}

/* The sum over the heads that share a key head, in their order. */
static void add_shared(mla_context *context, const mla_blockwise *a, const key_gradient *d) {
    const int64_t shared = shared_heads(a), head = a->keys * d->width;
    if (!d->out.data || shared == 1) return;
    #pragma omp parallel for num_threads(mla_context_threads(context)) collapse(2) schedule(static)
    for (int64_t task = 0; task < a->batch * a->key_heads; task++)
        for (int64_t t = 0; t < a->keys; t++) {
            float *sum = d->sums + task * shared * head + t * d->width;
            for (int64_t i = 1; i < shared; i++) mla_deliver(MLA_ADD, d->width, sum + i * head, sum);
            mla_store(at(a, d->out, a->keys, task / a->key_heads, t, task % a->key_heads), d->add ? MLA_ADD : MLA_SET, 0,
                      d->width, sum);
        }
}

void mla_blockwise_backward(mla_context *context, const mla_blockwise *a, mla_heads q, mla_heads k, mla_heads v,
                            mla_heads out, mla_heads dout, const float *lse, const mla_blockwise_gradients *d,
                            float *scratch) {
    backward_plans plans;
    const backward_operands x = {q, k, v, out, dout, lse};
    float *sums = scratch + lay_out(a, NULL, NULL) * working_threads(context, a);
    const key_gradient dk = {d->k, a->key_width, d->add_k, sums};
    const key_gradient dv = {d->v, a->value_width, d->add_v, sums + shared_floats(a, a->key_width)};
    if (!plan_backward(context, a, k, v, &plans)) return;
    int64_t parts = 0; /* of scratch, that threads have taken */
    #pragma omp parallel num_threads(mla_context_threads(context))
    {
        int64_t part = -1;
        backward_work w = {0};
        #pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < a->batch * a->heads; task++) {
            const int64_t b = task / a->heads, h = task % a->heads;
            if (part < 0) {
                #pragma omp atomic capture
                part = parts++;
                lay_out(a, scratch + part * lay_out(a, NULL, NULL), &w);
            }
            backward_head(a, &plans, &w, &x, &dk, &dv, b, h);
            if (d->q.data)
                deliver(a->queries, a->key_width, w.dq, at(a, d->q, a->queries, b, 0, h), d->q.row, d->add_q);
        }
    }
    add_shared(context, a, &dk);
    add_shared(context, a, &dv);
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
