#include "autograd/blockwise.h"
#include "autograd/gemm.h"
#include "autograd/rows.h"
#include "autograd/vecmath.h"

#include <omp.h>
#include <string.h>

/* Rows of a block of queries and of keys: large enough for GEMM's full speed, small enough for the L2 cache. */
enum { BLOCK = 128, HALF = BLOCK / 2 };

/* Elements from row to row of a block of scores. */
enum { PITCH = BLOCK + MLA_ROW_GAP };

typedef struct {
    int64_t begin, size;
} range;

static range block_at(int64_t i, int64_t total) {
    const int64_t begin = i * BLOCK;
    return (range){begin, total - begin < BLOCK ? total - begin : BLOCK};
}

static int64_t blocks_of(int64_t total) { return (total + BLOCK - 1) / BLOCK; }

/* Queries and keys whose products are made at once. */
typedef struct {
    range queries, keys;
} tile;

/* Cuts a pair of blocks into one tile, or on the diagonal into two: the first half of the queries sees no more than the
 * first half of the keys. Returns how many. */
static int tiles_of(const mla_blockwise *a, int64_t query_block, int64_t key_block, tile tiles[2]) {
    const range queries = block_at(query_block, a->queries), keys = block_at(key_block, a->keys);
    tiles[0] = (tile){queries, keys};
    if (!a->causal || query_block != key_block || queries.size <= HALF) return 1;
    tiles[0].queries.size = tiles[0].keys.size = HALF;
    tiles[1] = (tile){{queries.begin + HALF, queries.size - HALF}, keys};
    return 2;
}

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

/* Plans of one product for all sizes of tiles that occur: no more than 5. */
typedef struct {
    int count;
    struct {
        int64_t queries, keys;
        const mla_gemm *plan;
    } of[8];
} tile_gemm;

static int find(const tile_gemm *g, const tile *t) {
    int i = 0;
    while (i < g->count && (g->of[i].queries != t->queries.size || g->of[i].keys != t->keys.size)) i++;
    return i;
}

typedef enum { QUERIES = -1, KEYS = -2 } tile_side; /* stands for a tile's size in a product's shape */

static int64_t side(int64_t size, const tile *t) {
    return size == QUERIES ? t->queries.size : size == KEYS ? t->keys.size : size;
}

static bool plan_tile(mla_context *context, mla_gemm_shape shape, const tile *t, tile_gemm *out) {
    const int i = find(out, t);
    if (i < out->count) return true;
    shape.m = side(shape.m, t);
    shape.n = side(shape.n, t);
    shape.k = side(shape.k, t);
    out->of[i].queries = t->queries.size;
    out->of[i].keys = t->keys.size;
    out->count++;
    return (out->of[i].plan = mla_gemm_plan(context, &shape)) != NULL;
}

/* The first two blocks and the last one have all sizes between them. */
static bool plan_tiles(mla_context *context, const mla_blockwise *a, mla_gemm_shape shape, tile_gemm *out) {
    const int64_t query_blocks[] = {0, 1, blocks_of(a->queries) - 1}, key_blocks[] = {0, blocks_of(a->keys) - 1};
    shape.single_thread = true;
    shape.a_type = shape.b_type = a->type;
    out->count = 0;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 2; j++) {
            tile tiles[2];
            if (query_blocks[i] >= blocks_of(a->queries) || (a->causal && key_blocks[j] > query_blocks[i])) continue;
            const int count = tiles_of(a, query_blocks[i], key_blocks[j], tiles);
            for (int k = 0; k < count; k++)
                if (!plan_tile(context, shape, &tiles[k], out)) return false;
        }
    return true;
}

static const mla_gemm *pick(const tile_gemm *g, const tile *t) { return g->of[find(g, t)].plan; }

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
    float *scores;      /* (BLOCK, PITCH) */
    void *p;            /* the same as exponentials, of the type: scores itself for f32 */
    float *sum;         /* (BLOCK, V): P V so far, relative to exp(max) */
    float *max, *total; /* (BLOCK): of the scores seen so far, and the sum of their exponentials */
} forward_work;

/* A second block of scores, where the type is not that of the scores. */
static int64_t copy_floats(const mla_blockwise *a) { return a->type == MLA_F32 ? 0 : floats_of(a, BLOCK * PITCH); }

static int64_t forward_floats(const mla_blockwise *a) {
    return BLOCK * (PITCH + a->value_width + 2) + copy_floats(a);
}

static forward_work forward_work_of(const mla_blockwise *a, float *scratch) {
    float *scores = scratch + omp_get_thread_num() * forward_floats(a);
    float *sum = scores + BLOCK * PITCH, *max = sum + BLOCK * a->value_width;
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
    tile_gemm scores, values;
} forward_plans;

typedef struct {
    mla_heads q, k, v, out;
    float *lse;
} forward_operands;

/* Query `row` of a block, and row i of a tile's scores. A query that sees none of the keys takes nothing in. */
static void absorb(const mla_blockwise *a, const forward_work *w, const tile *t, int64_t b, int64_t i, int64_t row) {
    const int64_t width = t->keys.size;
    const range seen = visible(a, t->keys, b, t->queries.begin + i);
    float *s = w->scores + i * PITCH;
    clear(seen.size ? seen.begin : width, s);
    if (seen.size)
        absorb_row(seen.size, width - seen.begin, a->scale, s + seen.begin, w->max + row, w->total + row,
                   a->value_width, w->sum + row * a->value_width);
    if (a->type == MLA_BF16) mla_narrow(width, s, rows_from(a, w->p, i, PITCH));
}

/* Takes in one tile: scores to exponentials, and what they weigh of the values to the sum. */
static void forward_tile(const mla_blockwise *a, const forward_plans *plans, const forward_work *w,
                         const forward_operands *x, const tile *t, int64_t b, int64_t h) {
    const int64_t g = h / shared_heads(a), row = t->queries.begin % BLOCK;
    const void *q = at(a, x->q, a->queries, b, t->queries.begin, h).data;
    mla_gemm_run(pick(&plans->scores, t), q, at(a, x->k, a->keys, b, t->keys.begin, g).data, w->scores, NULL);
    for (int64_t i = 0; i < t->queries.size; i++) absorb(a, w, t, b, i, row + i);
    mla_gemm_run(pick(&plans->values, t), w->p, at(a, x->v, a->keys, b, t->keys.begin, g).data,
                 w->sum + row * a->value_width, NULL);
}

static void forward_block(const mla_blockwise *a, const forward_plans *plans, const forward_operands *x,
                          const forward_work *w, int64_t b, int64_t h, int64_t block) {
    const range queries = block_at(block, a->queries);
    const int64_t end = a->causal ? block + 1 : blocks_of(a->keys);
    clear(BLOCK * a->value_width, w->sum);
    for (int64_t i = 0; i < queries.size; i++) w->max[i] = -INFINITY, w->total[i] = 0;
    for (int64_t j = first_key(a, queries, b) / BLOCK; j < end; j++) {
        tile tiles[2];
        const int count = tiles_of(a, block, j, tiles);
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
    const mla_gemm_shape scores = {.m = QUERIES, .n = KEYS, .k = a->key_width, .b_transposed = true, .lda = q.row,
                                   .ldb = k.row, .ldc = PITCH};
    const mla_gemm_shape values = {.m = QUERIES, .n = a->value_width, .k = KEYS, .lda = PITCH, .ldb = v.row,
                                   .accumulate = true};
    if (!plan_tiles(context, a, scores, &plans.scores) || !plan_tiles(context, a, values, &plans.values)) return;
    #pragma omp parallel for collapse(2) schedule(dynamic)
    for (int64_t block = blocks_of(a->queries) - 1; block >= 0; block--) /* the longest rows of blocks first */
        for (int64_t head = 0; head < a->batch * a->heads; head++) {
            const forward_work w = forward_work_of(a, scratch);
            forward_block(a, &plans, &x, &w, head / a->heads, head % a->heads, block);
        }
}

/* ---- backward ---- */

/* What one thread works with while it goes over a head. Rows of one head lie far apart in memory, at distances that slow
 * products (MLA_ROW_GAP); those that every key block needs are brought together first. */
typedef struct {
    float *scores, *dp; /* (BLOCK, PITCH): become P and scale * dS */
    void *p, *ds;       /* the same, of the type: scores and dp themselves for f32 */
    float *dk, *dv;     /* (BLOCK, K), (BLOCK, V): of the key block, summed over query blocks */
    float *dq;          /* (T, K): summed over key blocks */
    float *dots;        /* (T): dO . O of each row */
    void *q, *dout;     /* (T, K), (T, V), of the type */
} backward_work;

/* Parts in the order of the struct; floats or, with `work`, where they begin in `scratch`. */
static int64_t lay_out(const mla_blockwise *a, float *scratch, backward_work *work) {
    const int64_t rows = a->queries, copy = copy_floats(a);
    const int64_t sizes[] = {BLOCK * PITCH, BLOCK * PITCH, copy, copy, BLOCK * a->key_width, BLOCK * a->value_width,
                             rows * a->key_width, rows, floats_of(a, rows * a->key_width),
                             floats_of(a, rows * a->value_width)};
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
    tile_gemm scores, dp, dq, dk, dv;
} backward_plans;

static bool plan_backward(mla_context *context, const mla_blockwise *a, mla_heads k, mla_heads v,
                          backward_plans *plans) {
    const int64_t kw = a->key_width, vw = a->value_width;
    return plan_tiles(context, a, (mla_gemm_shape){.m = QUERIES, .n = KEYS, .k = kw, .b_transposed = true, .ldb = k.row,
                      .ldc = PITCH}, &plans->scores) &&
           plan_tiles(context, a, (mla_gemm_shape){.m = QUERIES, .n = KEYS, .k = vw, .b_transposed = true, .ldb = v.row,
                      .ldc = PITCH}, &plans->dp) &&
           plan_tiles(context, a, (mla_gemm_shape){.m = QUERIES, .n = kw, .k = KEYS, .lda = PITCH, .ldb = k.row,
                      .accumulate = true}, &plans->dq) &&
           plan_tiles(context, a, (mla_gemm_shape){.m = KEYS, .n = kw, .k = QUERIES, .a_transposed = true, .lda = PITCH,
                      .accumulate = true}, &plans->dk) &&
           plan_tiles(context, a, (mla_gemm_shape){.m = KEYS, .n = vw, .k = QUERIES, .a_transposed = true, .lda = PITCH,
                      .accumulate = true}, &plans->dv);
}

typedef struct {
    mla_heads q, k, v, out, dout;
    const float *lse;
} backward_operands;

/* Brings together what is needed of a head. */
static void gather_head(const mla_blockwise *a, const backward_work *w, const backward_operands *x, int64_t b,
                        int64_t h) {
    const int64_t kw = a->key_width, vw = a->value_width;
    for (int64_t t = 0; t < a->queries; t++) {
        const mla_values dout = at(a, x->dout, a->queries, b, t, h);
        const float *o = mla_load(at(a, x->out, a->queries, b, t, h), 0, vw, w->scores);
        w->dots[t] = dot(vw, o, mla_load(dout, 0, vw, w->dp));
        memcpy(rows_from(a, w->q, t, kw), at(a, x->q, a->queries, b, t, h).data, bytes_of(a, kw));
        memcpy(rows_from(a, w->dout, t, vw), dout.data, bytes_of(a, vw));
    }
}

/* Row i of a tile's scores and dP, which is query t of the head: to P, and to scale * dS. */
static void score_gradient(const mla_blockwise *a, const backward_work *w, const tile *t, int64_t b, int64_t i,
                           float lse, float row_dot) {
    const int64_t width = t->keys.size;
    const range seen = visible(a, t->keys, b, t->queries.begin + i);
    float *s = w->scores + i * PITCH, *dp = w->dp + i * PITCH;
    clear(seen.begin, s);
    clear(seen.begin, dp);
    score_gradient_row(seen.size, width - seen.begin, a->scale, lse, row_dot, s + seen.begin, dp + seen.begin);
    if (a->type == MLA_F32) return;
    mla_narrow(width, s, rows_from(a, w->p, i, PITCH));
    mla_narrow(width, dp, rows_from(a, w->ds, i, PITCH));
}

/* Adds what a tile gives to the key block's dk and dv and to the queries' dq. */
static void backward_tile(const mla_blockwise *a, const backward_plans *plans, const backward_work *w,
                          const backward_operands *x, const tile *t, int64_t b, int64_t h) {
    const int64_t row = t->queries.begin, g = h / shared_heads(a);
    const void *q = rows_from(a, w->q, row, a->key_width), *dout = rows_from(a, w->dout, row, a->value_width);
    const void *k = at(a, x->k, a->keys, b, t->keys.begin, g).data, *v = at(a, x->v, a->keys, b, t->keys.begin, g).data;
    const float *lse = x->lse + (b * a->heads + h) * a->queries + row;
    mla_gemm_run(pick(&plans->scores, t), q, k, w->scores, NULL);
    mla_gemm_run(pick(&plans->dp, t), dout, v, w->dp, NULL);
    for (int64_t i = 0; i < t->queries.size; i++) score_gradient(a, w, t, b, i, lse[i], w->dots[row + i]);
    mla_gemm_run(pick(&plans->dv, t), w->p, dout, w->dv, NULL);
    mla_gemm_run(pick(&plans->dk, t), w->ds, q, w->dk, NULL);
    mla_gemm_run(pick(&plans->dq, t), w->ds, k, w->dq + row * a->key_width, NULL);
}

static void backward_keys(const mla_blockwise *a, const backward_plans *plans, const backward_work *w,
                          const backward_operands *x, int64_t b, int64_t h, int64_t key_block) {
    const range keys = block_at(key_block, a->keys);
    clear(BLOCK * a->key_width, w->dk);
    clear(BLOCK * a->value_width, w->dv);
    for (int64_t i = a->causal ? key_block : 0; i < blocks_of(a->queries); i++) {
        tile tiles[2];
        if (first_key(a, block_at(i, a->queries), b) >= keys.begin + keys.size) continue;
        const int count = tiles_of(a, i, key_block, tiles);
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

static void deliver_keys(const mla_blockwise *a, const key_gradient *d, const float *x, range keys, int64_t b,
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
    for (int64_t j = 0; j < blocks_of(a->keys); j++) {
        const range keys = block_at(j, a->keys);
        backward_keys(a, plans, w, x, b, h, j);
        deliver_keys(a, dk, w->dk, keys, b, h);
        deliver_keys(a, dv, w->dv, keys, b, h);
    }
}

/* The sum over the heads that share a key head, in their order. */
static void add_shared(const mla_blockwise *a, const key_gradient *d) {
    const int64_t shared = shared_heads(a), head = a->keys * d->width;
    if (!d->out.data || shared == 1) return;
    #pragma omp parallel for collapse(2) schedule(static)
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
    #pragma omp parallel
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
    add_shared(a, &dk);
    add_shared(a, &dv);
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
