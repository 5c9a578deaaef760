#include "autograd/kernels/gemm.h"
#include "autograd/kernels/gemm_onednn.h"
#include "autograd/kernels/gemm_widened.h"

#include <stdlib.h>

struct mla_gemm {
    mla_gemm_shape shape;
    mla_onednn *product;  /* NULL for bf16 where the processor has none: then */
    mla_widened *widened; /* this, and */
    mla_gemm *wide;       /* the plan whose product does the work for it */
    uint64_t asked;       /* when it was last asked for; `wide` was asked for after it */
    mla_gemm *next;       /* of those in the same bucket */
};

enum { BUCKETS = MLA_GEMM_PLANS };

typedef struct {
    mla_onednn_engine *engine;
    mla_gemm *buckets[BUCKETS]; /* by the shape's hash */
    int count;
    uint64_t now; /* how often plans were asked for */
    mla_widening_room room;
} cache;

/* ---- the processor and the library ---- */

bool mla_gemm_has_avx2(void) { return mla_onednn_has_avx2(); }
bool mla_gemm_has_avx512(void) { return mla_onednn_has_avx512(); }
bool mla_gemm_has_bf16(void) { return mla_onednn_has_bf16(); }
bool mla_gemm_has_amx(void) { return mla_onednn_has_amx(); }
mla_dtype mla_gemm_intermediate(mla_dtype type) { return mla_gemm_has_bf16() ? type : MLA_F32; }
int64_t mla_gemm_usual_bytes(void) { return mla_onednn_has_avx512() ? 16 << 20 : 4 << 20; }
const char *mla_gemm_library(void) { return mla_onednn_name(); }

/* ---- the cache ---- */

static void destroy_plan(mla_gemm *gemm) {
    mla_onednn_destroy(gemm->product);
    mla_widened_destroy(gemm->widened);
    free(gemm);
}

static void take_out(cache *c, mla_gemm **at) {
    mla_gemm *gemm = *at;
    *at = gemm->next;
    c->count--;
    destroy_plan(gemm);
}

static void destroy_cache(void *attached) {
    cache *c = attached;
    for (int i = 0; i < BUCKETS; i++)
        while (c->buckets[i]) take_out(c, &c->buckets[i]);
    mla_onednn_engine_destroy(c->engine);
    mla_widening_room_free(&c->room);
    free(c);
}

static cache *cache_of(mla_context *context) {
    cache *c = mla_context_attached(context, destroy_cache);
    if (c) return c;
    c = mla_alloc(context, 1, sizeof *c, "the cache of matrix products");
    if (!c) return NULL;
    c->engine = mla_onednn_engine_create(context);
    if (c->engine && !mla_context_attach(context, c, destroy_cache)) return c;
    destroy_cache(c);
    return NULL;
}

static bool same_shape(const mla_gemm_shape *a, const mla_gemm_shape *b) {
    return a->m == b->m && a->n == b->n && a->k == b->k && a->a_transposed == b->a_transposed &&
           a->b_transposed == b->b_transposed && a->lda == b->lda && a->ldb == b->ldb && a->ldc == b->ldc &&
           a->a_type == b->a_type && a->b_type == b->b_type && a->c_type == b->c_type &&
           a->accumulate == b->accumulate && a->bias == b->bias && a->single_thread == b->single_thread &&
           a->b_packed == b->b_packed;
}

static uint64_t hash_of(const mla_gemm_shape *s) {
    const int64_t parts[] = {s->m,
                             s->n,
                             s->k,
                             s->lda,
                             s->ldb,
                             s->ldc,
                             s->a_transposed | s->b_transposed << 1 | s->accumulate << 2 | s->bias << 3 |
                                 s->single_thread << 4 | (int)s->a_type << 5 | (int)s->c_type << 7 | s->b_packed << 9};
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) hash = (hash ^ (uint64_t)parts[i]) * 1099511628211u;
    return hash ^ hash >> 29;
}

static mla_gemm **bucket_of(cache *c, const mla_gemm_shape *shape) { return &c->buckets[hash_of(shape) % BUCKETS]; }

/* A plan that others are made of is younger than they are, and so goes after them. */
static void ask(cache *c, mla_gemm *gemm) {
    gemm->asked = ++c->now;
    if (gemm->wide) gemm->wide->asked = ++c->now;
}

/* Looks at all of them: that is little beside the planning which it makes room for. */
static void take_out_oldest(cache *c) {
    mla_gemm **oldest = NULL;
    for (int i = 0; i < BUCKETS; i++)
        for (mla_gemm **at = &c->buckets[i]; *at; at = &(*at)->next)
            if (!oldest || (*at)->asked < (*oldest)->asked) oldest = at;
    take_out(c, oldest);
}

static void put_in(cache *c, mla_gemm *gemm) {
    if (c->count == MLA_GEMM_PLANS) take_out_oldest(c);
    mla_gemm **bucket = bucket_of(c, &gemm->shape);
    gemm->next = *bucket;
    *bucket = gemm;
    c->count++;
}

/* ---- planning ---- */

static mla_gemm *plan(mla_context *context, cache *c, const mla_gemm_shape *shape);

static bool widens(const mla_gemm_shape *shape) {
    return (shape->a_type == MLA_BF16 || shape->b_type == MLA_BF16) && !mla_gemm_has_bf16();
}

static mla_gemm *make_plan(mla_context *context, cache *c, const mla_gemm_shape *shape) {
    mla_gemm *gemm = mla_alloc(context, 1, sizeof *gemm, "a matrix product");
    if (!gemm) return NULL;
    gemm->shape = *shape;
    if (widens(shape)) {
        const mla_gemm_shape wide = mla_widened_product(shape);
        gemm->wide = plan(context, c, &wide);
        if (gemm->wide) gemm->widened = mla_widened_create(context, &c->room, shape, gemm->wide->product);
    } else gemm->product = mla_onednn_create(context, c->engine, shape);
    if (gemm->product || gemm->widened) return gemm;
    destroy_plan(gemm);
    return NULL;
}

static mla_gemm *plan(mla_context *context, cache *c, const mla_gemm_shape *shape) {
    mla_gemm *gemm = *bucket_of(c, shape);
    while (gemm && !same_shape(&gemm->shape, shape)) gemm = gemm->next;
    if (!gemm && (gemm = make_plan(context, c, shape))) put_in(c, gemm);
    if (gemm) ask(c, gemm);
    return gemm;
}

const mla_gemm *mla_gemm_plan(mla_context *context, const mla_gemm_shape *shape) {
    if (shape->m < 1 || shape->n < 1 || shape->k < 1) {
        mla_fail(context, MLA_ERROR_SHAPE, "a matrix product of (%lld,%lld) by (%lld,%lld): sizes must be at least 1",
                 (long long)shape->m, (long long)shape->k, (long long)shape->k, (long long)shape->n);
        return NULL;
    }
    cache *c = cache_of(context);
    return c ? plan(context, c, shape) : NULL;
}

/* ---- pieces ---- */

/* The largest power of two within the rows, or all of them where they are few. */
static int64_t piece_of(int64_t rows) {
    enum { FEW = 16 };
    return rows < FEW ? rows : (int64_t)1 << (63 - __builtin_clzll((uint64_t)rows));
}

static int64_t bytes_of(int64_t elements, mla_dtype type) { return elements * (int64_t)mla_dtype_size(type); }

/* `rows` rows of A and C. */
static void cut_m(const mla_gemm_shape *s, mla_gemm_piece *p, int64_t rows) {
    p->shape.m = rows;
    p->a = bytes_of(p->end * (s->lda ? s->lda : s->k), s->a_type);
    p->c = bytes_of(p->end * (s->ldc ? s->ldc : s->n), s->c_type);
}

/* `rows` rows of A and B; what they give is added to what those before them gave. */
static void cut_k(const mla_gemm_shape *s, mla_gemm_piece *p, int64_t rows) {
    p->shape.k = rows;
    p->shape.ldb = s->b_transposed && !s->ldb ? s->k : s->ldb;
    p->shape.accumulate |= p->end > 0;
    p->shape.bias &= p->end == 0;
    p->a = bytes_of(p->end * (s->lda ? s->lda : s->m), s->a_type);
    p->b = bytes_of(s->b_transposed ? p->end : p->end * (s->ldb ? s->ldb : s->n), s->b_type);
}

bool mla_gemm_next_piece(const mla_gemm_shape *s, mla_gemm_piece *p) {
    const int64_t all = s->a_transposed ? s->k : s->m, rows = piece_of(all - p->end);
    p->shape = *s;
    p->shape.varying_rows = false;
    if (!s->varying_rows) return false;
    if (s->a_transposed) cut_k(s, p, rows);
    else cut_m(s, p, rows);
    p->end += rows;
    return p->end < all;
}

/* ---- running ---- */

void mla_gemm_run(const mla_gemm *gemm, const void *a, const void *b, void *c, const float *bias) {
    if (gemm->widened) mla_widened_run(gemm->widened, a, b, c, bias);
    else mla_onednn_run(gemm->product, a, b, c, bias);
}

void mla_gemm_now(mla_context *context, const mla_gemm_shape *shape, const void *a, const void *b, void *c,
                  const float *bias) {
    mla_gemm_piece p = {0};
    for (bool more = true; more;) {
        more = mla_gemm_next_piece(shape, &p);
        const mla_gemm *gemm = mla_gemm_plan(context, &p.shape);
        if (!gemm) return;
        mla_gemm_run(gemm, (const char *)a + p.a, (const char *)b + p.b, (char *)c + p.c, bias);
    }
}

void mla_gemm_each(mla_context *context,
                   void (*visit)(void *user, const mla_gemm *gemm, const mla_gemm_shape *shape, int64_t runs),
                   void *user) {
    const cache *c = mla_context_attached(context, destroy_cache);
    for (int i = 0; c && i < BUCKETS; i++)
        for (const mla_gemm *gemm = c->buckets[i]; gemm; gemm = gemm->next)
            if (gemm->product) visit(user, gemm, &gemm->shape, mla_onednn_runs(gemm->product));
}

/* ---- packing ---- */

int64_t mla_gemm_packed_bytes(const mla_gemm *gemm) { return mla_onednn_packed_bytes(gemm->product); }
void mla_gemm_pack(const mla_gemm *gemm, const void *b, void *packed) { mla_onednn_pack(gemm->product, b, packed); }
mla_gemm_layout *mla_gemm_layout_of(const mla_gemm *gemm) { return mla_onednn_layout_of(gemm->product); }
void mla_gemm_layout_free(mla_gemm_layout *layout) { mla_onednn_layout_free(layout); }
bool mla_gemm_takes(const mla_gemm *gemm, const mla_gemm_layout *layout) {
    return mla_onednn_takes(gemm->product, layout);
}
