/* Attention on packed operands. A head's keys and values are packed once. Blocks of queries go strip by strip, 32
 * queries at a time: their scores with the keys of a block that any of them sees stay in the first cache until they are
 * packed again, as exponentials or gradients.
 *
 *     forward    S = Q Kᵀ, softmax, O += P V                     a strip at a time
 *     backward   S = Q Kᵀ, dP = dO Vᵀ, dQ += dS K                a strip at a time
 *                dVᵀ += dOᵀ P, dKᵀ += Qᵀ dS                      a block of queries at a time
 *
 * dK and dV are summed as their transposes, so that scores need not be transposed: P and dS are the right operands. */
#include "autograd/kernels/flash_packed.h"
#include "autograd/kernels/flash_gradients.h"
#include "autograd/kernels/flash_rows.h"
#include "autograd/kernels/packed_products.h"

#include <math.h>
#include <omp.h>

/* ---- scratch ---- */

/* Scratch that is given out piece by piece; without memory it is only measured. */
typedef struct {
    float *data;
    int64_t used;
} room;

static float *take(room *r, int64_t floats) {
    float *at = r->data ? r->data + r->used : NULL;
    r->used += (floats + 15) / 16 * 16;
    return at;
}

static mla_packed_matrix take_packed(room *r, int64_t lines, int64_t blocks) {
    return (mla_packed_matrix){(mla_bf16 *)take(r, lines * blocks * MLA_PACK_ELEMENTS / 2), blocks};
}

static int64_t key_packs(const mla_flash *a) { return mla_packs(a->key_width); }
static int64_t value_packs(const mla_flash *a) { return mla_packs(a->value_width); }

static mla_bf16_rows rows_of(const mla_flash *a, mla_heads x, int64_t positions, int64_t width, int64_t b, int64_t h) {
    return (mla_bf16_rows){mla_flash_at(a, x, positions, b, 0, h).data, positions, width, x.row};
}

/* ---- strips ---- */

/* 32 queries of a block, or what is left of it, and the keys of a block that any of them sees. */
typedef struct {
    mla_stretch queries, keys;
    int64_t blocks; /* of keys */
} strip;

static strip strip_at(const mla_flash *a, mla_stretch queries, mla_stretch keys, int64_t i) {
    const int64_t begin = queries.begin + i * MLA_PACK, end = queries.begin + queries.size;
    strip s = {{begin, mla_flash_limited(end - begin, MLA_PACK)}, keys, 0};
    if (a->mask.causal) s.keys.size = mla_flash_limited(begin + MLA_PACK - keys.begin, keys.size);
    s.blocks = mla_packs(s.keys.size);
    return s;
}

/* ---- forward ---- */

typedef struct {
    mla_packed_matrix k_t, v;
} packed_keys;

static packed_keys take_keys(const mla_flash *a, room *r) {
    const int64_t blocks = mla_packs(a->keys);
    return (packed_keys){take_packed(r, blocks, key_packs(a)), take_packed(r, value_packs(a), blocks)};
}

static int64_t keys_floats(const mla_flash *a) {
    room r = {0};
    take_keys(a, &r);
    return r.used;
}

static packed_keys keys_at(const mla_flash *a, float *scratch, int64_t b, int64_t g) {
    room r = {scratch + (b * a->key_heads + g) * keys_floats(a), 0};
    return take_keys(a, &r);
}

typedef struct {
    mla_packed_matrix q, p; /* of the block; of a strip */
    float *scores;          /* (32, pitch) */
    float *sum;             /* (queries, V to 32): P V so far */
    float *max, *total;     /* (queries) */
} forward_work;

static forward_work take_forward(const mla_flash *a, room *r) {
    const int64_t queries = a->block.queries;
    return (forward_work){.q = take_packed(r, mla_packs(queries), key_packs(a)),
                          .p = take_packed(r, 1, mla_packs(a->block.keys)),
                          .scores = take(r, MLA_PACK * mla_flash_pitch(a)),
                          .sum = take(r, queries * value_packs(a) * MLA_PACK),
                          .max = take(r, queries),
                          .total = take(r, queries)};
}

static int64_t forward_floats(const mla_flash *a) {
    room r = {0};
    take_forward(a, &r);
    return r.used;
}

int64_t mla_flash_packed_forward_scratch(mla_context *context, const mla_flash *a) {
    return keys_floats(a) * a->batch * a->key_heads + forward_floats(a) * mla_context_threads(context);
}

/* Query i of the block. */
static mla_online_softmax query_at(const mla_flash *a, const forward_work *w, int64_t i) {
    return (mla_online_softmax){w->max + i, w->total + i, w->sum + i * value_packs(a) * MLA_PACK};
}

static void forward_strip(const mla_flash *a, const forward_work *w, const packed_keys *kv, const strip *s, int64_t b,
                          int64_t row) {
    const int64_t pitch = mla_flash_pitch(a), first = s->keys.begin / MLA_PACK;
    const mla_packed_product scores = {.a = mla_packed_from(w->q, row / MLA_PACK, 0),
                                       .b = mla_packed_from(kv->k_t, first, 0),
                                       .c = w->scores,
                                       .ldc = pitch,
                                       .rows = 1,
                                       .columns = s->blocks,
                                       .depth = key_packs(a)};
    const mla_packed_product values = {.a = w->p,
                                       .b = mla_packed_from(kv->v, 0, first),
                                       .c = query_at(a, w, row).sum,
                                       .ldc = value_packs(a) * MLA_PACK,
                                       .rows = 1,
                                       .columns = value_packs(a),
                                       .depth = s->blocks,
                                       .accumulate = true};
    mla_packed_multiply(&scores);
    for (int64_t i = 0; i < s->queries.size; i++) {
        float *x = w->scores + i * pitch;
        const mla_stretch seen = mla_flash_visible(a, s->keys, b, s->queries.begin + i);
        mla_flash_take_scores(a, seen, s->blocks * MLA_PACK, x, query_at(a, w, row + i));
        mla_pack_left_row(s->blocks, x, i, w->p);
    }
    mla_packed_multiply(&values);
}

static void forward_block(const mla_flash *a, const forward_work *w, const packed_keys *kv, const mla_flash_operands *x,
                          int64_t b, int64_t h, int64_t block) {
    const mla_stretch queries = mla_query_block(a, block);
    const int64_t first = mla_flash_first_key(a, queries, b) / a->block.keys, last = mla_last_key_block(a, block);
    mla_bf16_rows q = rows_of(a, x->q, a->queries, a->key_width, b, h);
    q.data += queries.begin * q.stride;
    q.rows = queries.size;
    mla_pack_left(&q, w->q);
    mla_flash_clear(a->block.queries * value_packs(a) * MLA_PACK, w->sum);
    for (int64_t i = 0; i < queries.size; i++) w->max[i] = -INFINITY, w->total[i] = 0;

    for (int64_t j = first; j <= last; j++)
        for (int64_t row = 0; row < queries.size; row += MLA_PACK) {
            const strip s = strip_at(a, queries, mla_key_block(a, j), row / MLA_PACK);
            forward_strip(a, w, kv, &s, b, row);
        }

    for (int64_t i = 0; i < queries.size; i++) mla_flash_finish(a, x, b, queries.begin + i, h, query_at(a, w, i));
}

static void pack_keys(mla_context *context, const mla_flash *a, const mla_flash_operands *x, float *scratch) {
    #pragma omp parallel for num_threads(mla_context_threads(context)) schedule(dynamic)
    for (int64_t task = 0; task < a->batch * a->key_heads; task++) {
        const int64_t b = task / a->key_heads, g = task % a->key_heads;
        const packed_keys kv = keys_at(a, scratch, b, g);
        const mla_bf16_rows k = rows_of(a, x->k, a->keys, a->key_width, b, g);
        const mla_bf16_rows v = rows_of(a, x->v, a->keys, a->value_width, b, g);
        mla_pack_right_transposed(&k, kv.k_t);
        mla_pack_right(&v, kv.v);
    }
}

void mla_flash_packed_forward(mla_context *context, const mla_flash *a, const mla_flash_operands *x, float *scratch) {
    float *work = scratch + keys_floats(a) * a->batch * a->key_heads;
    pack_keys(context, a, x, scratch);
    #pragma omp parallel num_threads(mla_context_threads(context))
    {
        room r = {work + omp_get_thread_num() * forward_floats(a), 0};
        const forward_work w = take_forward(a, &r);
        mla_packed_begin();
        #pragma omp for collapse(2) schedule(dynamic)
        for (int64_t block = mla_query_blocks(a) - 1; block >= 0; block--) /* the longest first */
            for (int64_t head = 0; head < a->batch * a->heads; head++) {
                const int64_t b = head / a->heads, h = head % a->heads;
                const packed_keys kv = keys_at(a, scratch, b, h / mla_flash_shared(a));
                forward_block(a, &w, &kv, x, b, h, block);
            }
        mla_packed_end();
    }
}

/* ---- backward ---- */

/* What one thread works with while it goes over a head. */
typedef struct {
    mla_packed_matrix q, dout;        /* left operands: of the head */
    mla_packed_matrix q_t, dout_t;    /* and their transposes */
    mla_packed_matrix k, k_t, v_t;    /* right operands */
    mla_packed_matrix p, ds, ds_left; /* right operands, of a pair of blocks; the left one of a strip */
    float *scores, *dp;               /* (32, pitch) */
    float *dk_t, *dv_t, *dkeys;       /* (K, pitch), (V, pitch): of a block of keys; its transpose */
    float *dq, *dots;                 /* (T, K to 32); (T): dO . O of each row */
} backward_work;

static backward_work take_backward(const mla_flash *a, room *r) {
    const int64_t kw = key_packs(a), vw = value_packs(a), queries = mla_packs(a->queries), keys = mla_packs(a->keys);
    const int64_t block_queries = mla_packs(a->block.queries), block_keys = mla_packs(a->block.keys);
    const int64_t pitch = mla_flash_pitch(a), widest = kw > vw ? kw : vw;
    return (backward_work){.q = take_packed(r, queries, kw),
                           .dout = take_packed(r, queries, vw),
                           .q_t = take_packed(r, kw, queries),
                           .dout_t = take_packed(r, vw, queries),
                           .k = take_packed(r, kw, keys),
                           .k_t = take_packed(r, keys, kw),
                           .v_t = take_packed(r, keys, vw),
                           .p = take_packed(r, block_keys, block_queries),
                           .ds = take_packed(r, block_keys, block_queries),
                           .ds_left = take_packed(r, 1, block_keys),
                           .scores = take(r, MLA_PACK * pitch),
                           .dp = take(r, MLA_PACK * pitch),
                           .dk_t = take(r, kw * MLA_PACK * pitch),
                           .dv_t = take(r, vw * MLA_PACK * pitch),
                           .dkeys = take(r, a->block.keys * widest * MLA_PACK),
                           .dq = take(r, queries * MLA_PACK * kw * MLA_PACK),
                           .dots = take(r, queries * MLA_PACK)};
}

static int64_t backward_floats(const mla_flash *a) {
    room r = {0};
    take_backward(a, &r);
    return r.used;
}

int64_t mla_flash_packed_backward_scratch(mla_context *context, const mla_flash *a) {
    return backward_floats(a) * mla_flash_working_threads(context, a) + mla_flash_shared_floats(a);
}

/* What the pass goes back from. */
typedef struct {
    const mla_flash_operands *forward;
    mla_heads dout;
} backward_operands;

static void pack_head(const mla_flash *a, const backward_work *w, const backward_operands *x, int64_t b, int64_t h) {
    const int64_t kw = a->key_width, vw = a->value_width, g = h / mla_flash_shared(a);
    const mla_bf16_rows q = rows_of(a, x->forward->q, a->queries, kw, b, h);
    const mla_bf16_rows k = rows_of(a, x->forward->k, a->keys, kw, b, g);
    const mla_bf16_rows v = rows_of(a, x->forward->v, a->keys, vw, b, g);
    const mla_bf16_rows dout = rows_of(a, x->dout, a->queries, vw, b, h);
    mla_pack_left(&q, w->q);
    mla_pack_left_transposed(&q, w->q_t);
    mla_pack_left(&dout, w->dout);
    mla_pack_left_transposed(&dout, w->dout_t);
    mla_pack_right(&k, w->k);
    mla_pack_right_transposed(&k, w->k_t);
    mla_pack_right_transposed(&v, w->v_t);

    float *o = w->dkeys, *gradient = o + vw; /* free until the first block of keys */
    for (int64_t t = 0; t < a->queries; t++)
        w->dots[t] = mla_flash_dot(vw, mla_load(mla_flash_at(a, x->forward->out, a->queries, b, t, h), 0, vw, o),
                                   mla_load(mla_flash_at(a, x->dout, a->queries, b, t, h), 0, vw, gradient));
}

/* Row i of a strip: P and scale * dS; zeros where the block of queries has ended. */
static void strip_row(const mla_flash *a, const backward_work *w, const strip *s, int64_t b, int64_t i, float lse) {
    const int64_t width = s->blocks * MLA_PACK, t = s->queries.begin + i;
    float *x = w->scores + i * mla_flash_pitch(a), *dp = w->dp + i * mla_flash_pitch(a);
    if (i < s->queries.size) {
        const mla_score_row row = {x, dp, lse, w->dots[t]};
        mla_flash_score_gradient(a, mla_flash_visible(a, s->keys, b, t), width, row);
    } else {
        mla_flash_clear(width, x);
        mla_flash_clear(width, dp);
    }
    mla_pack_left_row(s->blocks, dp, i, w->ds_left);
}

/* P and dS of strip i of a block, and what it gives to dQ. */
static void backward_strip(const mla_flash *a, const backward_work *w, const strip *s, const float *lse, int64_t b,
                           int64_t i) {
    const int64_t pitch = mla_flash_pitch(a), first = s->keys.begin / MLA_PACK, line = s->queries.begin / MLA_PACK;
    const int64_t kw = key_packs(a);
    mla_packed_product scores = {.a = mla_packed_from(w->q, line, 0),
                                 .b = mla_packed_from(w->k_t, first, 0),
                                 .c = w->scores,
                                 .ldc = pitch,
                                 .rows = 1,
                                 .columns = s->blocks,
                                 .depth = kw};
    mla_packed_product dp = scores;
    dp.a = mla_packed_from(w->dout, line, 0);
    dp.b = mla_packed_from(w->v_t, first, 0);
    dp.c = w->dp;
    dp.depth = value_packs(a);
    const mla_packed_product dq = {.a = w->ds_left,
                                   .b = mla_packed_from(w->k, 0, first),
                                   .c = w->dq + s->queries.begin * kw * MLA_PACK,
                                   .ldc = kw * MLA_PACK,
                                   .rows = 1,
                                   .columns = kw,
                                   .depth = s->blocks,
                                   .accumulate = true};
    mla_packed_multiply(&scores);
    mla_packed_multiply(&dp);
    for (int64_t row = 0; row < MLA_PACK; row++) strip_row(a, w, s, b, row, row < s->queries.size ? lse[row] : 0);
    for (int64_t row = 0; row < MLA_PACK; row += 2) {
        const int64_t pair = (i * MLA_PACK + row) / 2, at = row * pitch;
        mla_pack_right_pair(s->blocks, w->scores + at, w->scores + at + pitch, pair, w->p);
        mla_pack_right_pair(s->blocks, w->dp + at, w->dp + at + pitch, pair, w->ds);
    }
    mla_packed_multiply(&dq);
}

/* What a block of queries gives to dK and dV. Block n of 32 keys is seen from strip n - ahead on. */
static void add_key_gradients(const mla_flash *a, const backward_work *w, mla_stretch queries, mla_stretch keys) {
    const int64_t strips = mla_packs(queries.size), line = queries.begin / MLA_PACK;
    const int64_t ahead = (queries.begin - keys.begin) / MLA_PACK;
    for (int64_t n = 0; n < mla_packs(keys.size); n++) {
        const int64_t first = a->mask.causal && n > ahead ? n - ahead : 0;
        if (first >= strips) break;
        mla_packed_product dv = {.a = mla_packed_from(w->dout_t, 0, line + first),
                                 .b = mla_packed_from(w->p, n, first),
                                 .c = w->dv_t + n * MLA_PACK,
                                 .ldc = mla_flash_pitch(a),
                                 .rows = value_packs(a),
                                 .columns = 1,
                                 .depth = strips - first,
                                 .accumulate = true};
        mla_packed_product dk = dv;
        dk.a = mla_packed_from(w->q_t, 0, line + first);
        dk.b = mla_packed_from(w->ds, n, first);
        dk.c = w->dk_t + n * MLA_PACK;
        dk.rows = key_packs(a);
        mla_packed_multiply(&dv);
        mla_packed_multiply(&dk);
    }
}

static void backward_keys(const mla_flash *a, const backward_work *w, const float *lse, mla_stretch keys, int64_t b) {
    mla_flash_clear(key_packs(a) * MLA_PACK * mla_flash_pitch(a), w->dk_t);
    mla_flash_clear(value_packs(a) * MLA_PACK * mla_flash_pitch(a), w->dv_t);
    for (int64_t i = a->mask.causal ? keys.begin / a->block.queries : 0; i < mla_query_blocks(a); i++) {
        const mla_stretch queries = mla_query_block(a, i);
        if (mla_flash_first_key(a, queries, b) >= keys.begin + keys.size) continue;
        for (int64_t k = 0; k < mla_packs(queries.size); k++) {
            const strip s = strip_at(a, queries, keys, k);
            backward_strip(a, w, &s, lse + s.queries.begin, b, k);
        }
        add_key_gradients(a, w, queries, keys);
    }
}

/* The gradient of a block of keys from its transpose. */
static void deliver_transposed(const mla_flash *a, const backward_work *w, const mla_key_gradient *d, const float *x_t,
                               mla_stretch keys, int64_t b, int64_t h) {
    for (int64_t i = 0; i < keys.size; i++)
        for (int64_t j = 0; j < d->width; j++) w->dkeys[i * d->width + j] = x_t[j * mla_flash_pitch(a) + i];
    mla_flash_deliver_keys(a, d, w->dkeys, keys, b, h);
}

void mla_flash_packed_backward(mla_context *context, const mla_flash *a, const mla_flash_operands *forward,
                               const mla_flash_gradients *d, float *scratch) {
    const int64_t threads = mla_flash_working_threads(context, a);
    const backward_operands x = {forward, d->dout};
    float *shared = scratch + backward_floats(a) * threads;
    const mla_key_gradient dk = mla_flash_key_gradient(a, d, shared), dv = mla_flash_value_gradient(a, d, shared);
    #pragma omp parallel num_threads((int)threads)
    {
        room r = {scratch + omp_get_thread_num() * backward_floats(a), 0};
        const backward_work w = take_backward(a, &r);
        mla_packed_begin();
        #pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < a->batch * a->heads; task++) {
            const int64_t b = task / a->heads, h = task % a->heads;
            pack_head(a, &w, &x, b, h);
            mla_flash_clear(mla_packs(a->queries) * MLA_PACK * key_packs(a) * MLA_PACK, w.dq);
            for (int64_t j = 0; j < mla_key_blocks(a); j++) {
                const mla_stretch keys = mla_key_block(a, j);
                backward_keys(a, &w, forward->lse + task * a->queries, keys, b);
                deliver_transposed(a, &w, &dk, w.dk_t, keys, b, h);
                deliver_transposed(a, &w, &dv, w.dv_t, keys, b, h);
            }
            mla_flash_deliver_queries(a, d, w.dq, key_packs(a) * MLA_PACK, b, h);
        }
        mla_packed_end();
    }
    mla_flash_add_shared(context, a, &dk);
    mla_flash_add_shared(context, a, &dv);
}
