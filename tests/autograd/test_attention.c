/* attention, latent_attention and the cached forms against attention written out in double precision with whole
 * T x S scores; gradients, too, are compared element by element with the formulas. */
#include "autograd/base/bfloat16.h"
#include "autograd/base/random.h"
#include "autograd/kernels/rows.h"
#include "autograd/ops.h"
#include "tests/support/attention_reference.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double *zeros(int64_t count) { return calloc((size_t)count, sizeof(double)); }

/* sum(out * weights) as the loss, so that out's gradient is `weights`. */
static void backward_from(mla_tape *tape, mla_tensor *out, const float *weights) {
    mla_tensor *w = mla_input(tape, MLA_F32, out->ndim, out->shape, weights);
    check_ok(mla_tape_context(tape), mla_backward(tape, mla_sum(tape, mla_mul(tape, out, w))));
}

static void compare_attention(mla_context *context, const attention_sizes *z) {
    const int64_t nq = z->b * z->t * z->h * z->k, nk = z->b * z->s * z->g * z->k, nv = z->b * z->s * z->g * z->v;
    const int64_t no = z->b * z->t * z->h * z->v;
    float *q = random_floats("q", nq), *k = random_floats("k", nk), *v = random_floats("v", nv);
    float *dout = random_floats("dout", no);
    attention_reference r = attention_reference_of(z, q, k, v, dout);
    mla_tape *tape;
    check_ok(context, mla_tape_create(context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){0});
    mla_tensor *tq = mla_input_with_gradient(tape, 4, (int64_t[]){z->b, z->t, z->h, z->k}, q);
    mla_tensor *tk = mla_input_with_gradient(tape, 4, (int64_t[]){z->b, z->s, z->g, z->k}, k);
    mla_tensor *tv = mla_input_with_gradient(tape, 4, (int64_t[]){z->b, z->s, z->g, z->v}, v);
    mla_tensor *o = mla_attention(tape, tq, tk, tv,
                                  &(mla_attention_options){.mask.causal = z->causal, .mask.starts = z->starts});
    check_ok(context, mla_error_status(context));
    assert_true(error_of(no, o->data, r.o) < 2e-6);
    backward_from(tape, o, dout);
    assert_true(error_of(nq, tq->grad, r.dq) < 5e-6);
    assert_true(error_of(nk, tk->grad, r.dk) < 5e-6);
    assert_true(error_of(nv, tv->grad, r.dv) < 5e-6);
    mla_tape_destroy(tape);
    attention_reference_free(&r);
    free(q), free(k), free(v), free(dout);
}

static void attention_is_softmax_attention(void **state) {
    const attention_sizes cases[] = {
        {2, 4, 4, 7, 7, 8, 8, true, NULL},       /* one small block */
        {1, 4, 2, 128, 128, 16, 8, true, NULL},  /* one whole block, grouped heads, narrow values */
        {1, 2, 1, 300, 300, 12, 20, true, NULL}, /* whole and last blocks, one key head */
        {2, 2, 2, 130, 261, 8, 4, false, NULL},  /* no mask, more keys than queries */
        {1, 2, 2, 256, 256, 8, 8, false, NULL},  {1, 1, 1, 1, 1, 4, 4, true, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) compare_attention(*state, &cases[i]);
}

/* Documents much shorter than a block, one that begins within a block and ends within the next, and one longer than
 * two: then whole blocks are skipped. */
static void attention_stays_within_documents(void **state) {
    const attention_sizes cases[] = {{2, 4, 2, 40, 40, 8, 6, true, NULL}, {2, 4, 2, 300, 300, 8, 6, true, NULL}};
    const int64_t documents[] = {1, 5, 17, 100, 128, 290};
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++)
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
            attention_sizes z = cases[k];
            int32_t *starts = attention_starts(z.b, z.t, documents[i]);
            z.starts = starts;
            compare_attention(*state, &z);
            free(starts);
        }
}

/* ---- latent attention: the expansion in double, then the reference above, then back through the expansion ---- */

typedef struct {
    int64_t b, t, h, n, r, v, c;
    bool causal;
    int64_t document; /* length of the documents; 0: one for all */
} latent_sizes;

/* Keys [nope; rope] and values from the latent, rounded to float as inputs of the reference. */
static void expand(const latent_sizes *z, const float *latent, const float *k_rope, const float *kv_b, float *k,
                   float *v) {
    for (int64_t row = 0; row < z->b * z->t; row++)
        for (int64_t h = 0; h < z->h; h++) {
            for (int64_t i = 0; i < z->n + z->v; i++) {
                double sum = 0;
                for (int64_t j = 0; j < z->c; j++)
                    sum += (double)kv_b[(h * (z->n + z->v) + i) * z->c + j] * (double)latent[row * z->c + j];
                if (i < z->n) k[(row * z->h + h) * (z->n + z->r) + i] = (float)sum;
                else v[(row * z->h + h) * z->v + i - z->n] = (float)sum;
            }
            for (int64_t i = 0; i < z->r; i++) k[(row * z->h + h) * (z->n + z->r) + z->n + i] = k_rope[row * z->r + i];
        }
}

static void unexpand(const latent_sizes *z, const float *latent, const float *kv_b, const attention_reference *r,
                     double *dlatent, double *dk_rope, double *dkv_b) {
    for (int64_t row = 0; row < z->b * z->t; row++)
        for (int64_t h = 0; h < z->h; h++) {
            const double *dk = r->dk + (row * z->h + h) * (z->n + z->r), *dv = r->dv + (row * z->h + h) * z->v;
            for (int64_t i = 0; i < z->n + z->v; i++) {
                const double d = i < z->n ? dk[i] : dv[i - z->n];
                const int64_t w = (h * (z->n + z->v) + i) * z->c;
                for (int64_t j = 0; j < z->c; j++) {
                    dlatent[row * z->c + j] += d * (double)kv_b[w + j];
                    dkv_b[w + j] += d * (double)latent[row * z->c + j];
                }
            }
            for (int64_t i = 0; i < z->r; i++) dk_rope[row * z->r + i] += dk[z->n + i];
        }
}

static void compare_latent(mla_context *context, const latent_sizes *z) {
    const int64_t rows = z->b * z->t, nq = rows * z->h * (z->n + z->r), nw = z->h * (z->n + z->v) * z->c;
    float *q = random_floats("q", nq), *latent = random_floats("latent", rows * z->c);
    float *k_rope = random_floats("rope", rows * (z->r + 1)), *kv_b = random_floats("kv_b", nw);
    float *dout = random_floats("dout", rows * z->h * z->v);
    for (int64_t i = 0; i < nw; i++) kv_b[i] *= 0.3f;
    float *k = random_floats("k", nq), *v = random_floats("v", rows * z->h * z->v);
    double *dlatent = zeros(rows * z->c), *dk_rope = zeros(rows * z->r + 1), *dkv_b = zeros(nw);
    int32_t *starts = z->document ? attention_starts(z->b, z->t, z->document) : NULL;
    const attention_sizes full = {z->b, z->h, z->h, z->t, z->t, z->n + z->r, z->v, z->causal, starts};
    expand(z, latent, k_rope, kv_b, k, v);
    attention_reference r = attention_reference_of(&full, q, k, v, dout);
    unexpand(z, latent, kv_b, &r, dlatent, dk_rope, dkv_b);
    mla_tape *tape;
    check_ok(context, mla_tape_create(context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){0});
    mla_tensor *tq = mla_input_with_gradient(tape, 4, (int64_t[]){z->b, z->t, z->h, z->n + z->r}, q);
    mla_tensor *tc = mla_input_with_gradient(tape, 3, (int64_t[]){z->b, z->t, z->c}, latent);
    mla_tensor *tr = z->r ? mla_input_with_gradient(tape, 3, (int64_t[]){z->b, z->t, z->r}, k_rope) : NULL;
    mla_tensor *tw = mla_input_with_gradient(tape, 2, (int64_t[]){z->h * (z->n + z->v), z->c}, kv_b);
    mla_tensor *o = mla_latent_attention(tape, tq, tc, tr, tw, z->h,
                                         &(mla_attention_options){.mask.causal = z->causal, .mask.starts = starts});
    check_ok(context, mla_error_status(context));
    assert_true(error_of(rows * z->h * z->v, o->data, r.o) < 2e-6);
    backward_from(tape, o, dout);
    assert_true(error_of(nq, tq->grad, r.dq) < 1e-5);
    assert_true(error_of(rows * z->c, tc->grad, dlatent) < 1e-5);
    assert_true(error_of(nw, tw->grad, dkv_b) < 1e-5);
    if (z->r) assert_true(error_of(rows * z->r, tr->grad, dk_rope) < 1e-5);
    mla_tape_destroy(tape);
    attention_reference_free(&r);
    free(q), free(latent), free(k_rope), free(kv_b), free(dout), free(k), free(v);
    free(starts), free(dlatent), free(dk_rope), free(dkv_b);
}

static void latent_attention_expands_the_latent(void **state) {
    const latent_sizes cases[] = {{2, 9, 3, 8, 4, 6, 10, true, 0},    {1, 200, 2, 16, 8, 16, 24, true, 0},
                                  {2, 130, 2, 8, 0, 8, 12, false, 0}, {1, 1, 2, 4, 2, 4, 3, true, 0},
                                  {2, 9, 3, 8, 4, 6, 10, true, 4},    {2, 200, 2, 16, 8, 16, 24, true, 60},
                                  {1, 300, 2, 8, 0, 8, 12, true, 140}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) compare_latent(*state, &cases[i]);
}

/* The last position of a whole pass equals the absorbed form over the cache of all positions. */
static void absorbed_equals_expanded(void **state) {
    mla_context *context = *state;
    enum { T = 37, H = 3, N = 8, R = 4, V = 6, C = 10 };
    float *q = random_floats("q", T * H * (N + R)), *latent = random_floats("latent", T * C);
    float *k_rope = random_floats("rope", T * R), *kv_b = random_floats("kv_b", H * (N + V) * C), cache[T * (C + R)];
    for (int64_t t = 0; t < T; t++) {
        memcpy(cache + t * (C + R), latent + t * C, C * sizeof *cache);
        memcpy(cache + t * (C + R) + C, k_rope + t * R, R * sizeof *cache);
    }
    mla_tape *tape;
    check_ok(context, mla_tape_create(context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){.inference = true});
    mla_tensor *w = mla_input(tape, MLA_F32, 2, (int64_t[]){H * (N + V), C}, kv_b);
    mla_tensor *whole = mla_latent_attention(tape, mla_input(tape, MLA_F32, 4, (int64_t[]){1, T, H, N + R}, q),
                                             mla_input(tape, MLA_F32, 3, (int64_t[]){1, T, C}, latent),
                                             mla_input(tape, MLA_F32, 3, (int64_t[]){1, T, R}, k_rope), w, H,
                                             &(mla_attention_options){.mask.causal = true});
    mla_tensor *last = mla_input(tape, MLA_F32, 4, (int64_t[]){1, 1, H, N + R}, q + (T - 1) * H * (N + R));
    const mla_cache_view view = {cache, cache, C + R, C + R, T, 1, C, MLA_F32};
    mla_tensor *summed = mla_cached_attention(tape, mla_absorb_query(tape, last, w, R), &view, 1 / sqrtf(N + R));
    mla_tensor *absorbed = mla_expand_values(tape, summed, w, H, N);
    check_ok(context, mla_error_status(context));
    assert_true(relative_error(H * V, absorbed->data, (float *)whole->data + (T - 1) * H * V) < 2e-6);
    mla_tape_destroy(tape);
    free(q), free(latent), free(k_rope), free(kv_b);
}

/* A cache of bf16 gives what one of f32 does that holds the same numbers: T positions are whole chunks and a rest. */
static void compare_bf16_cache(mla_context *context, int64_t groups, bool apart) {
    enum { T = 600, H = 6, K = 12, V = 10, ROW = 2 * (K + V) };
    float *q = random_floats("q", H * K), *cache = random_floats("cache", T * ROW);
    mla_bf16 *half = malloc(T * ROW * sizeof *half);
    mla_narrow(T * ROW, cache, half);
    mla_widen(T * ROW, half, cache);
    const mla_cache_view wide = {cache, apart ? cache + groups * K : cache, ROW, ROW, T, groups, V, MLA_F32};
    const mla_cache_view narrow = {half, apart ? half + groups * K : half, ROW, ROW, T, groups, V, MLA_BF16};
    mla_tape *tape;
    check_ok(context, mla_tape_create(context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){.inference = true});
    mla_tensor *query = mla_input(tape, MLA_F32, 4, (int64_t[]){1, 1, H, K}, q);
    const mla_tensor *a = mla_cached_attention(tape, query, &wide, 0.3f);
    const mla_tensor *b = mla_cached_attention(tape, query, &narrow, 0.3f);
    check_ok(context, mla_error_status(context));
    assert_true(relative_error(H * V, b->data, a->data) < 1e-6);
    mla_tape_destroy(tape);
    free(q), free(cache), free(half);
}

static void bf16_caches_are_widened(void **state) {
    compare_bf16_cache(*state, 1, false);
    compare_bf16_cache(*state, 1, true);
    compare_bf16_cache(*state, 2, true);
    compare_bf16_cache(*state, 2, false);
}

static void refuses_shapes_that_do_not_fit(void **state) {
    mla_context *context = *state;
    mla_tape *tape;
    float x[64] = {0};
    check_ok(context, mla_tape_create(context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){0});
    mla_tensor *q = mla_input(tape, MLA_F32, 4, (int64_t[]){1, 2, 3, 4}, x);
    mla_tensor *k = mla_input(tape, MLA_F32, 4, (int64_t[]){1, 2, 2, 4}, x);
    assert_ptr_equal(mla_attention(tape, q, k, k, &(mla_attention_options){0}), mla_inert(tape));
    check_error(context, mla_error_status(context), MLA_ERROR_SHAPE, "key heads must divide");
    mla_tensor *w = mla_input(tape, MLA_F32, 2, (int64_t[]){6, 5}, x),
               *c = mla_input(tape, MLA_F32, 3, (int64_t[]){1, 2, 5}, x);
    mla_latent_attention(tape, q, c, NULL, w, 3, &(mla_attention_options){0});
    check_error(context, mla_error_status(context), MLA_ERROR_SHAPE, "latent_attention");
    const int32_t starts[] = {0, 2};
    mla_tensor *one = mla_input(tape, MLA_F32, 4, (int64_t[]){1, 2, 1, 4}, x);
    mla_attention(tape, one, one, one, &(mla_attention_options){.mask.starts = starts});
    check_error(context, mla_error_status(context), MLA_ERROR_SHAPE, "starts need a causal mask");
    mla_latent_attention(tape, one, c, NULL, w, 1, &(mla_attention_options){.mask.starts = starts});
    check_error(context, mla_error_status(context), MLA_ERROR_SHAPE, "starts need a causal mask");
    mla_attention(tape, one, one, one, &(mla_attention_options){.mask.causal = true, .mask.starts = starts});
    check_error(context, mla_error_status(context), MLA_ERROR_ARGUMENT, "starts has 2 at position 1 of sample 0");
    mla_tape_destroy(tape);
}

static void refuses_caches_that_do_not_fit(void **state) {
    mla_context *context = *state;
    mla_tape *tape;
    float x[64] = {0};
    const mla_cache_view right = {x, x, 4, 3, 2, 1, 3, MLA_F32};
    const mla_cache_view wrong[] = {
        {NULL, x, 4, 3, 2, 1, 3, MLA_F32}, {x, NULL, 4, 3, 2, 1, 3, MLA_F32}, {x, x, 3, 3, 2, 1, 3, MLA_F32},
        {x, x, 4, 2, 2, 1, 3, MLA_F32},    {x, x, 4, 3, 0, 1, 3, MLA_F32},    {x, x, 4, 3, 2, 0, 3, MLA_F32},
        {x, x, 7, 6, 2, 2, 3, MLA_F32},    {x, x, 4, 3, 2, 1, 0, MLA_F32},    {x, x, 4, 3, 2, 1, 3, MLA_I32}};
    check_ok(context, mla_tape_create(context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){.inference = true});
    mla_tensor *q = mla_input(tape, MLA_F32, 4, (int64_t[]){1, 1, 2, 4}, x);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_ptr_equal(mla_cached_attention(tape, q, &wrong[i], 1), mla_inert(tape));
        check_error(context, mla_error_status(context), MLA_ERROR_SHAPE, "cached_attention: the cache must");
    }
    mla_cached_attention(tape, mla_input(tape, MLA_BF16, 4, q->shape, x), &right, 1);
    check_error(context, mla_error_status(context), MLA_ERROR_SHAPE, "cached_attention: inputs must be f32");
    mla_tensor *kv_b = mla_input(tape, MLA_F32, 2, (int64_t[]){10, 3}, x);
    mla_tensor *summed = mla_input(tape, MLA_F32, 3, (int64_t[]){1, 1, 6}, x);
    static const int64_t heads_and_nope[][2] = {{0, 3}, {-2, 3}, {2, -1}, {2, 0}, {2, 5}, {4, 3}};
    for (size_t i = 0; i < sizeof heads_and_nope / sizeof *heads_and_nope; i++) {
        mla_expand_values(tape, summed, kv_b, heads_and_nope[i][0], heads_and_nope[i][1]);
        check_error(context, mla_error_status(context), MLA_ERROR_SHAPE, "expand_values: summed must be");
    }
    assert_ptr_not_equal(mla_cached_attention(tape, q, &right, 1), mla_inert(tape));
    assert_ptr_not_equal(mla_expand_values(tape, summed, kv_b, 2, 3), mla_inert(tape));
    mla_tape_destroy(tape);
}

static void decoding_gives_no_gradient(void **state) {
    mla_context *context = *state;
    mla_tape *tape;
    float x[64] = {0};
    check_ok(context, mla_tape_create(context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){0});
    mla_tensor *q = mla_input_with_gradient(tape, 4, (int64_t[]){1, 1, 2, 4}, x);
    mla_tensor *kv_b = mla_input(tape, MLA_F32, 2, (int64_t[]){10, 3}, x);
    mla_cached_attention(tape, q, &(mla_cache_view){x, x, 4, 3, 2, 1, 3, MLA_F32}, 1);
    check_error(context, mla_error_status(context), MLA_ERROR_ARGUMENT, "cached_attention: no gradient flows");
    mla_absorb_query(tape, q, kv_b, 1);
    check_error(context, mla_error_status(context), MLA_ERROR_ARGUMENT, "absorb_query: no gradient flows");
    kv_b->needs_grad = true;
    mla_expand_values(tape, mla_input(tape, MLA_F32, 3, (int64_t[]){1, 1, 6}, x), kv_b, 2, 3);
    check_error(context, mla_error_status(context), MLA_ERROR_ARGUMENT, "expand_values: no gradient flows");
    mla_tape_begin(tape, &(mla_step){.inference = true});
    kv_b = mla_input_with_gradient(tape, 2, (int64_t[]){10, 3}, x);
    kv_b->needs_grad = true; /* as a parameter's may be */
    q = mla_input(tape, MLA_F32, 4, (int64_t[]){1, 1, 2, 4}, x);
    assert_ptr_not_equal(mla_absorb_query(tape, q, kv_b, 1), mla_inert(tape));
    mla_tape_destroy(tape);
}

static void check_cost(const mla_tape *tape, mla_cost *before, double flops, double bytes) {
    const mla_cost now = mla_tape_cost(tape);
    check_close(now.forward_flops - before->forward_flops, flops, 0);
    check_close(now.forward_bytes - before->forward_bytes, bytes, 0);
    *before = now;
}

/* T = 300 cached positions, H = 6 heads: every multiply-add counts as 2, every row is read once. */
static void decoding_states_its_costs(void **state) {
    mla_context *context = *state;
    enum { T = 300, H = 6, G = 2, K = 8, V = 5, N = 8, R = 4, C = 10 };
    const float one = 0, *values = &one + 1;
    mla_tape *tape;
    mla_cost cost = {0};
    check_ok(context, mla_tape_create(context, &tape, &(mla_tape_options){.shapes_only = true}));
    mla_tape_begin(tape, &(mla_step){.inference = true});
    const mla_cache_view apart = {&one, values, G * K, G * V, T, G, V, MLA_F32},
                         latent = {&one, &one, C + R, C + R, T, 1, C, MLA_F32};
    mla_cached_attention(tape, mla_input(tape, MLA_F32, 4, (int64_t[]){1, 1, H, K}, NULL), &apart, 1);
    check_cost(tape, &cost, 2 * T * H * (K + V), 4 * (T * G * (K + V) + H * (K + V)));
    mla_tensor *kv_b = mla_input(tape, MLA_F32, 2, (int64_t[]){H * (N + V), C}, NULL);
    mla_tensor *q = mla_absorb_query(tape, mla_input(tape, MLA_F32, 4, (int64_t[]){1, 1, H, N + R}, NULL), kv_b, R);
    check_cost(tape, &cost, 2 * H * N * C, 4 * (H * N * C + H * (N + R) + H * (C + R)));
    mla_tensor *summed = mla_cached_attention(tape, q, &latent, 1);
    check_cost(tape, &cost, 2 * T * H * (C + R + C), 4 * (T * (C + R) + H * (C + R + C)));
    mla_expand_values(tape, summed, kv_b, H, N);
    check_cost(tape, &cost, 2 * H * C * V, 4 * (H * C * V + H * (C + V)));
    check_ok(context, mla_error_status(context));
    mla_tape_destroy(tape);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(attention_is_softmax_attention),
                                       cmocka_unit_test(attention_stays_within_documents),
                                       cmocka_unit_test(latent_attention_expands_the_latent),
                                       cmocka_unit_test(absorbed_equals_expanded),
                                       cmocka_unit_test(bf16_caches_are_widened),
                                       cmocka_unit_test(refuses_shapes_that_do_not_fit),
                                       cmocka_unit_test(refuses_caches_that_do_not_fit),
                                       cmocka_unit_test(decoding_gives_no_gradient),
                                       cmocka_unit_test(decoding_states_its_costs)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
