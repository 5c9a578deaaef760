/* The backward pass of attention: each thread takes a head, computes the scores of its tiles again and sums what they
 * give: key blocks outside, query blocks inside, so that the order of every sum is fixed. */
#include "autograd/kernels/flash_gradients.h"
#include "autograd/kernels/flash_packed.h"
#include "autograd/kernels/flash_rows.h"

/* What one thread works with while it goes over a head. Rows of one head lie far apart in memory, at distances that
 * slow products (MLA_ROW_GAP); those that every key block needs are brought together first. */
typedef struct {
    float *scores, *dp; /* (queries, pitch) of a block: become P and scale * dS */
    void *p, *ds;       /* the same, of the type: scores and dp themselves for f32 */
    float *dk, *dv;     /* (keys, K), (keys, V): of the key block, summed over query blocks */
    float *dq;          /* (T, K): summed over key blocks */
    float *dots;        /* (T): dO . O of each row */
    void *q, *dout;     /* (T, K), (T, V), of the type */
} backward_work;

/* Parts in the order of the struct; floats or, with `work`, where they begin in `scratch`. */
static int64_t flash_backward_lay_out(const mla_flash *a, float *scratch, backward_work *work) {
    const int64_t rows = a->queries, copy = mla_flash_copy_floats(a);
    const int64_t sizes[] = {mla_flash_scores(a),
                             mla_flash_scores(a),
                             copy,
                             copy,
                             a->block.keys * a->key_width,
                             a->block.keys * a->value_width,
                             rows * a->key_width,
                             rows,
                             mla_flash_floats(a, rows * a->key_width),
                             mla_flash_floats(a, rows * a->value_width)};
    enum { PARTS = sizeof sizes / sizeof *sizes };
    float *part[PARTS];
    int64_t total = 0;
    for (int i = 0; i < PARTS; i++) {
        part[i] = work ? scratch + total : NULL;
        total += (sizes[i] + 15) / 16 * 16;
    }
    if (work)
        *work = (backward_work){
            part[0], part[1], copy ? part[2] : part[0], copy ? part[3] : part[1], part[4], part[5], part[6], part[7],
            part[8], part[9]};
    return total;
}

int64_t mla_flash_backward_scratch(mla_context *context, const mla_flash *a) {
    if (a->block.packed) return mla_flash_packed_backward_scratch(context, a);
    return flash_backward_lay_out(a, NULL, NULL) * mla_flash_working_threads(context, a) + mla_flash_shared_floats(a);
}

typedef struct {
    mla_tile_gemm scores, dp, dq, dk, dv;
} backward_plans;

static bool plan_backward(mla_context *context, const mla_flash *a, mla_heads k, mla_heads v, backward_plans *plans) {
    const int64_t kw = a->key_width, vw = a->value_width, pitch = mla_flash_pitch(a);
    const mla_gemm_shape scores = {
        .m = MLA_QUERIES, .n = MLA_KEYS, .k = kw, .b_transposed = true, .ldb = k.row, .ldc = pitch};
    const mla_gemm_shape dp = {
        .m = MLA_QUERIES, .n = MLA_KEYS, .k = vw, .b_transposed = true, .ldb = v.row, .ldc = pitch};
    const mla_gemm_shape dq = {
        .m = MLA_QUERIES, .n = kw, .k = MLA_KEYS, .lda = pitch, .ldb = k.row, .accumulate = true};
    const mla_gemm_shape dk = {
        .m = MLA_KEYS, .n = kw, .k = MLA_QUERIES, .a_transposed = true, .lda = pitch, .accumulate = true};
    mla_gemm_shape dv = dk;
    dv.n = vw;
    return mla_plan_tiles(context, a, scores, &plans->scores) && mla_plan_tiles(context, a, dp, &plans->dp) &&
           mla_plan_tiles(context, a, dq, &plans->dq) && mla_plan_tiles(context, a, dk, &plans->dk) &&
           mla_plan_tiles(context, a, dv, &plans->dv);
}

/* What the pass goes back from. */
typedef struct {
    mla_heads q, k, v, out, dout;
    const float *lse;
} backward_operands;

/* Rows of one head are too far apart for the processor to foresee them. */
static void prefetch(const mla_flash *a, mla_values row, int64_t width) {
    for (size_t i = 0; i < mla_flash_bytes(a, width); i += 64) __builtin_prefetch((const char *)row.data + i);
}

/* Brings together what is needed of a head. */
static void gather_head(const mla_flash *a, const backward_work *w, const backward_operands *x, int64_t b, int64_t h) {
    enum { AHEAD = 8 };
    const int64_t kw = a->key_width, vw = a->value_width;
    for (int64_t t = 0; t < a->queries; t++) {
        const mla_values dout = mla_flash_at(a, x->dout, a->queries, b, t, h);
        prefetch(a, mla_flash_at(a, x->dout, a->queries, b, t + AHEAD, h), vw);
        prefetch(a, mla_flash_at(a, x->out, a->queries, b, t + AHEAD, h), vw);
        prefetch(a, mla_flash_at(a, x->q, a->queries, b, t + AHEAD, h), kw);
        const float *o = mla_load(mla_flash_at(a, x->out, a->queries, b, t, h), 0, vw, w->scores);
        w->dots[t] = mla_flash_dot(vw, o, mla_load(dout, 0, vw, w->dp));
        memcpy(mla_flash_rows(a, w->q, t, kw), mla_flash_at(a, x->q, a->queries, b, t, h).data, mla_flash_bytes(a, kw));
        memcpy(mla_flash_rows(a, w->dout, t, vw), dout.data, mla_flash_bytes(a, vw));
    }
}

/* Row i of a tile's scores and dP, which is query t of the head: to P, and to scale * dS. */
static void score_gradient(const mla_flash *a, const backward_work *w, const mla_tile *t, int64_t b, int64_t i,
                           float lse, float row_dot) {
    const int64_t width = t->keys.size, pitch = mla_flash_pitch(a);
    const mla_stretch seen = mla_flash_visible(a, t->keys, b, t->queries.begin + i);
    float *s = w->scores + i * pitch, *dp = w->dp + i * pitch;
    mla_flash_score_gradient(a, seen, width, (mla_score_row){s, dp, lse, row_dot});
    if (a->type == MLA_F32) return;
    mla_narrow(width, s, mla_flash_rows(a, w->p, i, pitch));
    mla_narrow(width, dp, mla_flash_rows(a, w->ds, i, pitch));
}

/* Adds what a tile gives to the key block's dk and dv and to the queries' dq. */
static void backward_tile(const mla_flash *a, const backward_plans *plans, const backward_work *w,
                          const backward_operands *x, const mla_tile *t, int64_t b, int64_t h) {
    const int64_t row = t->queries.begin, g = h / mla_flash_shared(a);
    const void *q = mla_flash_rows(a, w->q, row, a->key_width), *dout = mla_flash_rows(a, w->dout, row, a->value_width);
    const void *k = mla_flash_at(a, x->k, a->keys, b, t->keys.begin, g).data,
               *v = mla_flash_at(a, x->v, a->keys, b, t->keys.begin, g).data;
    const float *lse = x->lse + (b * a->heads + h) * a->queries + row;
    mla_gemm_run(mla_tile_plan(&plans->scores, t), q, k, w->scores, NULL);
    mla_gemm_run(mla_tile_plan(&plans->dp, t), dout, v, w->dp, NULL);
    for (int64_t i = 0; i < t->queries.size; i++) score_gradient(a, w, t, b, i, lse[i], w->dots[row + i]);
    mla_gemm_run(mla_tile_plan(&plans->dv, t), w->p, dout, w->dv, NULL);
    mla_gemm_run(mla_tile_plan(&plans->dk, t), w->ds, q, w->dk, NULL);
    mla_gemm_run(mla_tile_plan(&plans->dq, t), w->ds, k, w->dq + row * a->key_width, NULL);
}

static void backward_keys(const mla_flash *a, const backward_plans *plans, const backward_work *w,
                          const backward_operands *x, int64_t b, int64_t h, int64_t key_block) {
    const mla_stretch keys = mla_key_block(a, key_block);
    mla_flash_clear(a->block.keys * a->key_width, w->dk);
    mla_flash_clear(a->block.keys * a->value_width, w->dv);
    for (int64_t i = a->mask.causal ? keys.begin / a->block.queries : 0; i < mla_query_blocks(a); i++) {
        mla_tile tiles[2];
        if (mla_flash_first_key(a, mla_query_block(a, i), b) >= keys.begin + keys.size) continue;
        const int count = mla_tiles_of(a, i, key_block, tiles);
        for (int k = 0; k < count; k++) backward_tile(a, plans, w, x, &tiles[k], b, h);
    }
}

/* All of one head, so that the order of every sum is fixed: key blocks outside, query blocks inside. */
static void backward_head(const mla_flash *a, const backward_plans *plans, const backward_work *w,
                          const backward_operands *x, const mla_key_gradient *dk, const mla_key_gradient *dv, int64_t b,
                          int64_t h) {
    gather_head(a, w, x, b, h);
    mla_flash_clear(a->queries * a->key_width, w->dq);
    for (int64_t j = 0; j < mla_key_blocks(a); j++) {
        const mla_stretch keys = mla_key_block(a, j);
        backward_keys(a, plans, w, x, b, h, j);
        mla_flash_deliver_keys(a, dk, w->dk, keys, b, h);
        mla_flash_deliver_keys(a, dv, w->dv, keys, b, h);
    }
}

void mla_flash_backward(mla_context *context, const mla_flash *a, const mla_flash_operands *forward,
                        const mla_flash_gradients *d, float *scratch) {
    backward_plans plans;
    const backward_operands x = {forward->q, forward->k, forward->v, forward->out, d->dout, forward->lse};
    float *shared = scratch + flash_backward_lay_out(a, NULL, NULL) * mla_flash_working_threads(context, a);
    const mla_key_gradient dk = mla_flash_key_gradient(a, d, shared), dv = mla_flash_value_gradient(a, d, shared);
    if (a->block.packed) {
        mla_flash_packed_backward(context, a, forward, d, scratch);
        return;
    }
    if (!plan_backward(context, a, x.k, x.v, &plans)) return;
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
                flash_backward_lay_out(a, scratch + part * flash_backward_lay_out(a, NULL, NULL), &w);
            }
            backward_head(a, &plans, &w, &x, &dk, &dv, b, h);
            mla_flash_deliver_queries(a, d, w.dq, a->key_width, b, h);
        }
    }
    mla_flash_add_shared(context, a, &dk);
    mla_flash_add_shared(context, a, &dv);
}
