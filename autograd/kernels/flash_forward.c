/* The forward pass of attention: each thread takes a block of queries of a head, goes over the blocks of keys that it
 * sees, and keeps for each query the maximum of its scores, the sum of their exponentials and the weighted sum of the
 * values, rescaled whenever the maximum rises (online softmax). */
#include "autograd/kernels/flash_packed.h"
#include "autograd/kernels/flash_rows.h"
#include "autograd/kernels/flash_tiles.h"

#include <math.h>
#include <omp.h>

/* What one thread works with while it goes over the key blocks of one query block. */
typedef struct {
    float *scores;      /* (queries, pitch) of a block */
    void *p;            /* the same as exponentials, of the type: scores itself for f32 */
    float *sum;         /* (queries, V): P V so far, relative to exp(max) */
    float *max, *total; /* (queries): of the scores seen so far, and the sum of their exponentials */
} forward_work;

static int64_t forward_floats(const mla_flash *a) {
    return mla_flash_scores(a) + a->block.queries * (a->value_width + 2) + mla_flash_copy_floats(a);
}

static forward_work forward_work_of(const mla_flash *a, float *scratch) {
    float *scores = scratch + omp_get_thread_num() * forward_floats(a);
    float *sum = scores + mla_flash_scores(a), *max = sum + a->block.queries * a->value_width;
    float *total = max + a->block.queries;
    return (forward_work){scores, a->type == MLA_F32 ? scores : total + a->block.queries, sum, max, total};
}

int64_t mla_flash_forward_scratch(mla_context *context, const mla_flash *a) {
    if (a->block.packed) return mla_flash_packed_forward_scratch(context, a);
    return forward_floats(a) * mla_context_threads(context);
}

typedef struct {
    mla_tile_gemm scores, values;
} forward_plans;

/* Query `row` of a block, and row i of a tile's scores. A query that sees none of the keys takes nothing in. */
static void take_query(const mla_flash *a, const forward_work *w, const mla_tile *t, int64_t b, int64_t i,
                       int64_t row) {
    const int64_t width = t->keys.size;
    float *s = w->scores + i * mla_flash_pitch(a);
    mla_flash_take_scores(a, mla_flash_visible(a, t->keys, b, t->queries.begin + i), width, s,
                          (mla_online_softmax){w->max + row, w->total + row, w->sum + row * a->value_width});
    if (a->type == MLA_BF16) mla_narrow(width, s, mla_flash_rows(a, w->p, i, mla_flash_pitch(a)));
}

/* Takes in one tile: scores to exponentials, and what they weigh of the values to the sum. */
static void forward_tile(const mla_flash *a, const forward_plans *plans, const forward_work *w,
                         const mla_flash_operands *x, const mla_tile *t, int64_t b, int64_t h) {
    const int64_t g = h / mla_flash_shared(a), row = t->queries.begin % a->block.queries;
    const void *q = mla_flash_at(a, x->q, a->queries, b, t->queries.begin, h).data;
    mla_gemm_run(mla_tile_plan(&plans->scores, t), q, mla_flash_at(a, x->k, a->keys, b, t->keys.begin, g).data,
                 w->scores, NULL);
    for (int64_t i = 0; i < t->queries.size; i++) take_query(a, w, t, b, i, row + i);
    mla_gemm_run(mla_tile_plan(&plans->values, t), w->p, mla_flash_at(a, x->v, a->keys, b, t->keys.begin, g).data,
                 w->sum + row * a->value_width, NULL);
}

static void forward_block(const mla_flash *a, const forward_plans *plans, const mla_flash_operands *x,
                          const forward_work *w, int64_t b, int64_t h, int64_t block) {
    const mla_stretch queries = mla_query_block(a, block);
    const int64_t first = mla_flash_first_key(a, queries, b) / a->block.keys, last = mla_last_key_block(a, block);
    mla_flash_clear(a->block.queries * a->value_width, w->sum);
    for (int64_t i = 0; i < queries.size; i++) w->max[i] = -INFINITY, w->total[i] = 0;
    for (int64_t j = first; j <= last; j++) {
        mla_tile tiles[2];
        const int count = mla_tiles_of(a, block, j, tiles);
        for (int k = 0; k < count; k++) forward_tile(a, plans, w, x, &tiles[k], b, h);
    }
    for (int64_t i = 0; i < queries.size; i++)
        mla_flash_finish(a, x, b, queries.begin + i, h,
                         (mla_online_softmax){w->max + i, w->total + i, w->sum + i * a->value_width});
}

static bool starts_fit(mla_context *context, const mla_flash *a) {
    for (int64_t i = 0; a->mask.starts && i < a->batch * a->queries; i++)
        if (a->mask.starts[i] < 0 || a->mask.starts[i] > i % a->queries) {
            mla_fail(context, MLA_ERROR_ARGUMENT,
                     "attention: starts has %d at position %lld of sample %lld; expected 0 to "
                     "that position",
                     a->mask.starts[i], (long long)(i % a->queries), (long long)(i / a->queries));
            return false;
        }
    return true;
}

void mla_flash_forward(mla_context *context, const mla_flash *a, const mla_flash_operands *x, float *scratch) {
    forward_plans plans;
    if (!starts_fit(context, a)) return;
    if (a->block.packed) {
        mla_flash_packed_forward(context, a, x, scratch);
        return;
    }
    const mla_gemm_shape scores = {.m = MLA_QUERIES,
                                   .n = MLA_KEYS,
                                   .k = a->key_width,
                                   .b_transposed = true,
                                   .lda = x->q.row,
                                   .ldb = x->k.row,
                                   .ldc = mla_flash_pitch(a)};
    const mla_gemm_shape values = {.m = MLA_QUERIES,
                                   .n = a->value_width,
                                   .k = MLA_KEYS,
                                   .lda = mla_flash_pitch(a),
                                   .ldb = x->v.row,
                                   .accumulate = true};
    if (!mla_plan_tiles(context, a, scores, &plans.scores)) return;
    if (!mla_plan_tiles(context, a, values, &plans.values)) return;
    #pragma omp parallel for num_threads(mla_context_threads(context)) collapse(2) schedule(dynamic)
    for (int64_t block = mla_query_blocks(a) - 1; block >= 0; block--) /* the longest rows of blocks first */
        for (int64_t head = 0; head < a->batch * a->heads; head++) {
            const forward_work w = forward_work_of(a, scratch);
            forward_block(a, &plans, x, &w, head / a->heads, head % a->heads, block);
        }
}
