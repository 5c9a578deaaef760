/* Attention layers against the same built here from the general ops alone: values and all gradients. Then what
 * follows from having a mask, or none, as an encoder has. */
#include "layers/attention/latent_attention.h"
#include "tests/support/layercheck.h"
#include "tests/support/small_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { B = 2, T = 9, D = SMALL_WIDTH };
static const int64_t shape[] = {B, T, D};
static const double tolerance = 1e-5;

/* ---- the composition ---- */

typedef struct {
    const mla_model_config *config;
    mla_params *params;
    const float *turns; /* (T,R,R): what a row of R elements is multiplied by at each position */
    int64_t rotary;
} composed;

static mla_tensor *param(const composed *m, const char *name) {
    mla_param *p = mla_params_find(m->params, name);
    return p ? &p->tensor : NULL;
}

/* x (B,T,K) Wᵀ + bias, by transposing W and a plain matrix product. */
static mla_tensor *project(mla_tape *tape, const composed *m, const char *weight, const char *bias, mla_tensor *x) {
    mla_tensor *w = param(m, weight), *b = bias ? param(m, bias) : NULL;
    mla_tensor *rows = mla_reshape(tape, x, 2, (int64_t[]){B * T, mla_width(x)});
    mla_tensor *y = mla_matmul(tape, rows, mla_transpose(tape, w, (int[]){1, 0}));
    if (b) y = mla_add(tape, y, b);
    return mla_reshape(tape, y, 3, (int64_t[]){B, T, w->shape[0]});
}

/* Row by row gain * x * exp(-log(mean(x²) + eps) / 2): sums over rows are products with ones. */
static mla_tensor *rms_norm(mla_tape *tape, const composed *m, const char *name, mla_tensor *x) {
    static const float eps = 1e-6f;
    static float ones[64];
    mla_tensor *gain = param(m, name);
    if (!gain) return x;
    const int64_t width = mla_width(x), rows[] = {mla_rows(x), width}, column[] = {width, 1}, row[] = {1, width};
    for (int i = 0; i < 64; i++) ones[i] = 1;
    mla_tensor *flat = mla_reshape(tape, x, 2, rows);
    mla_tensor *sums = mla_matmul(tape, mla_mul(tape, flat, flat), mla_input(tape, MLA_F32, 2, column, ones));
    mla_tensor *mean = mla_add(tape, mla_scale(tape, sums, 1 / (float)width),
                               mla_input(tape, MLA_F32, 1, (int64_t[]){1}, &eps));
    mla_tensor *inverse = mla_exp(tape, mla_scale(tape, mla_log(tape, mean), -0.5f));
    mla_tensor *spread = mla_matmul(tape, inverse, mla_input(tape, MLA_F32, 2, row, ones));
    return mla_reshape(tape, mla_mul(tape, mla_mul(tape, flat, spread), gain), x->ndim, x->shape);
}

/* x (B,T,heads,R): each row times its position's matrix. */
static mla_tensor *turn(mla_tape *tape, const composed *m, mla_tensor *x) {
    const int64_t heads = x->shape[2], r = m->rotary;
    static const int swap[] = {1, 0, 2, 3};
    mla_tensor *matrices = mla_input(tape, MLA_F32, 3, (int64_t[]){T, r, r}, m->turns);
    mla_tensor *y = mla_reshape(tape, mla_transpose(tape, x, swap), 3, (int64_t[]){T, B * heads, r});
    y = mla_reshape(tape, mla_matmul(tape, y, matrices), 4, (int64_t[]){T, B, heads, r});
    return mla_transpose(tape, y, swap);
}

/* Each of the heads of x (B,T,G,W) `times` times in a row. */
static mla_tensor *repeat_heads(mla_tape *tape, mla_tensor *x, int64_t times) {
    mla_tensor *all = NULL;
    for (int64_t h = 0; h < x->shape[2] * times; h++) {
        mla_tensor *one = mla_slice(tape, x, 2, h / times, 1);
        all = all ? mla_concat(tape, all, one, 2) : one;
    }
    return all;
}

/* softmax(scale q kᵀ) v with T x T scores: q (B,T,H,K), k (B,T,H,K), v (B,T,H,V) -> (B,T,H*V) */
static mla_tensor *attend(mla_tape *tape, mla_tensor *q, mla_tensor *k, mla_tensor *v, float scale, bool causal) {
    static const int heads_first[] = {0, 2, 1, 3}, keys_down[] = {0, 2, 3, 1};
    mla_tensor *scores = mla_matmul(tape, mla_transpose(tape, q, heads_first), mla_transpose(tape, k, keys_down));
    mla_tensor *p = mla_softmax(tape, mla_scale(tape, scores, scale), causal);
    mla_tensor *o = mla_transpose(tape, mla_matmul(tape, p, mla_transpose(tape, v, heads_first)), heads_first);
    return mla_reshape(tape, o, 3, (int64_t[]){B, T, v->shape[2] * v->shape[3]});
}

static mla_tensor *latent_queries(mla_tape *tape, const composed *m, mla_tensor *x) {
    const mla_model_config *c = m->config;
    const int64_t h = c->num_attention_heads, n = c->qk_nope_head_dim, r = c->qk_rope_head_dim;
    mla_tensor *q = x;
    if (c->q_lora_rank) {
        q = rms_norm(tape, m, "q_a_layernorm.weight", project(tape, m, "q_a_proj.weight", "q_a_proj.bias", x));
        q = project(tape, m, "q_b_proj.weight", NULL, q);
    } else q = project(tape, m, "q_proj.weight", NULL, x);
    q = mla_reshape(tape, q, 4, (int64_t[]){B, T, h, n + r});
    if (!r) return q;
    return mla_concat(tape, mla_slice(tape, q, 3, 0, n), turn(tape, m, mla_slice(tape, q, 3, n, r)), 3);
}

static mla_tensor *latent_composed(mla_tape *tape, const composed *m, mla_tensor *x) {
    const mla_model_config *c = m->config;
    const int64_t h = c->num_attention_heads, n = c->qk_nope_head_dim, r = c->qk_rope_head_dim, v = c->v_head_dim;
    const double s = c->rope_scaling.factor, yarn = 0.1 * c->rope_scaling.mscale_all_dim * log(s) + 1;
    const double scale = (c->rope_scaling.type ? yarn * yarn : 1) / sqrt((double)(n + r));
    mla_tensor *kv_a = project(tape, m, "kv_a_proj_with_mqa.weight", "kv_a_proj_with_mqa.bias", x);
    mla_tensor *latent = rms_norm(tape, m, "kv_a_layernorm.weight", mla_slice(tape, kv_a, 2, 0, c->kv_lora_rank));
    mla_tensor *kv = mla_reshape(tape, project(tape, m, "kv_b_proj.weight", NULL, latent), 4,
                                 (int64_t[]){B, T, h, n + v});
    mla_tensor *k = mla_slice(tape, kv, 3, 0, n);
    if (r) {
        mla_tensor *shared = mla_reshape(tape, mla_slice(tape, kv_a, 2, c->kv_lora_rank, r), 4,
                                         (int64_t[]){B, T, 1, r});
        k = mla_concat(tape, k, repeat_heads(tape, turn(tape, m, shared), h), 3);
    }
    mla_tensor *o = attend(tape, latent_queries(tape, m, x), k, mla_slice(tape, kv, 3, n, v), (float)scale, c->causal);
    return project(tape, m, "o_proj.weight", "o_proj.bias", o);
}

static mla_tensor *heads_of(mla_tape *tape, const composed *m, const char *weight, const char *bias, mla_tensor *x,
                            int64_t heads) {
    return mla_reshape(tape, project(tape, m, weight, bias, x), 4, (int64_t[]){B, T, heads, m->config->head_dim});
}

/* Queries or keys normed and turned, where the layer does so. */
static mla_tensor *norm_and_rotate(mla_tape *tape, const composed *m, mla_tensor *heads, const char *norm) {
    heads = rms_norm(tape, m, norm, heads);
    return m->rotary ? turn(tape, m, heads) : heads;
}

static mla_tensor *multi_head_composed(mla_tape *tape, const composed *m, mla_tensor *x) {
    const mla_model_config *c = m->config;
    const int64_t h = c->num_attention_heads, g = c->num_key_value_heads;
    mla_tensor *q = heads_of(tape, m, "q_proj.weight", "q_proj.bias", x, h);
    mla_tensor *k = heads_of(tape, m, "k_proj.weight", "k_proj.bias", x, g);
    mla_tensor *v = heads_of(tape, m, "v_proj.weight", "v_proj.bias", x, g);
    q = norm_and_rotate(tape, m, q, "q_norm.weight");
    k = norm_and_rotate(tape, m, k, "k_norm.weight");
    mla_tensor *o = attend(tape, q, repeat_heads(tape, k, h / g), repeat_heads(tape, v, h / g),
                           1 / sqrtf((float)c->head_dim), c->causal);
    return project(tape, m, "o_proj.weight", "o_proj.bias", o);
}

/* Row j, column i of a position's matrix: what x_j gives to y_i. */
static float *make_turns(const mla_rope_table *table) {
    const int64_t r = table->rotary, half = r / 2;
    float *turns = calloc((size_t)(T * r * r) + 1, sizeof *turns);
    assert_non_null(turns);
    for (int64_t t = 0; t < T; t++)
        for (int64_t i = 0; i < half; i++) {
            const int64_t a = table->interleaved ? 2 * i : i, b = table->interleaved ? 2 * i + 1 : i + half;
            const float cosine = table->cosine[t * half + i], sine = table->sine[t * half + i];
            float *matrix = turns + t * r * r;
            matrix[a * r + a] = matrix[b * r + b] = cosine;
            matrix[a * r + b] = sine;
            matrix[b * r + a] = -sine;
        }
    return turns;
}

/* ---- the comparison ---- */

typedef struct {
    float *y, *dx, *grads; /* (B,T,D), (B,T,D), the block of gradients */
} results;

static float *copy(const void *from, int64_t count) {
    float *to = malloc((size_t)count * sizeof *to);
    assert_non_null(to);
    return memcpy(to, from, (size_t)count * sizeof *to);
}

/* Gradients of sum(y * dy), and y. */
static results differentiate(mla_tape *tape, mla_params *params, mla_tensor *x, mla_tensor *y) {
    static float dy[B * T * D];
    fill_values(dy, B * T * D, "dy", 1);
    mla_context *context = mla_tape_context(tape);
    check_ok(context, mla_error_status(context));
    results r = {.y = copy(y->data, mla_count(y))};
    check_ok(context, mla_backward(tape, mla_sum(tape, mla_mul(tape, y, mla_input(tape, MLA_F32, 3, shape, dy)))));
    r.dx = copy(x->grad, mla_count(x));
    r.grads = copy(mla_params_gradients(params), mla_params_gradients_length(params));
    for (int64_t i = 0; i < mla_params_count(params); i++) assert_true(mla_params_at(params, i)->tensor.has_grad);
    mla_params_clear_gradients(params);
    return r;
}

static void check_near(const char *settings, const char *what, int64_t count, const float *a, const float *b,
                       double scale) {
    double squares = 0;
    for (int64_t i = 0; i < count; i++) squares += pow((double)a[i] - (double)b[i], 2);
    if (!(sqrt(squares) <= tolerance * scale))
        fail_msg("%s: %s: %.3g apart at a scale of %.3g", settings, what, sqrt(squares), scale);
}

static double norm(int64_t count, const float *x) {
    double squares = 0;
    for (int64_t i = 0; i < count; i++) squares += (double)x[i] * (double)x[i];
    return sqrt(squares);
}

/* Gradients are held against their own norm, or a hundredth of the norm of all: that of k_proj's bias is 0. */
static void compare_results(const char *settings, const mla_params *params, results a, results b) {
    const double whole = norm(mla_params_gradients_length(params), b.grads);
    check_near(settings, "y", B * T * D, a.y, b.y, norm(B * T * D, b.y));
    check_near(settings, "dx", B * T * D, a.dx, b.dx, norm(B * T * D, b.dx));
    for (int64_t i = 0; i < mla_params_count(params); i++) {
        const mla_param *p = mla_params_at(params, i);
        const float *own = b.grads + p->grad_offset;
        check_near(settings, p->spec.name, p->count, a.grads + p->grad_offset, own,
                   fmax(norm(p->count, own), whole / 100));
    }
}

static void free_results(results r) {
    free(r.y);
    free(r.dx);
    free(r.grads);
}

/* One layer, twice: as the library has it, and from general ops over the same parameters. */
typedef struct {
    mla_model_config config;
    mla_decoder *decoder; /* for its rotary table */
    void *layer;          /* of config.attention */
    composed general;
    float *turns;
} pair;

static bool is_latent(const pair *p) { return p->config.attention == &mla_latent_kind; }

static mla_tensor *apply_layer(mla_tape *tape, const pair *p, mla_tensor *x) {
    return p->config.attention->apply(tape, p->layer, x, &(mla_pass){0}, NULL);
}

static mla_tensor *apply_general(mla_tape *tape, const pair *p, mla_tensor *x) {
    return is_latent(p) ? latent_composed(tape, &p->general, x) : multi_head_composed(tape, &p->general, x);
}

static void create_pair(mla_context *context, pair *p, const char *settings) {
    mla_params *params;
    *p = (pair){.config = small_config(context, settings)};
    check_ok(context, mla_decoder_create(context, &p->decoder, &p->config));
    check_ok(context, mla_params_create(context, &params));
    const mla_rope_table *rope = &p->decoder->rope;
    p->layer = calloc(1, p->config.attention->size);
    const mla_builder builder = {.context = context,
                                 .params = params,
                                 .config = &p->config,
                                 .prefix = "",
                                 .rope = p->config.position == MLA_POSITION_ROPE ? rope : NULL};
    check_ok(context, p->config.attention->build(&builder, p->layer));
    check_ok(context, mla_params_allocate(params, true));
    fill_layer(params, 0.5f);
    p->turns = make_turns(rope);
    p->general = (composed){&p->config, params, p->turns, rope->rotary};
}

static void destroy_pair(pair *p) {
    free(p->turns);
    free(p->layer);
    mla_params_destroy(p->general.params);
    mla_decoder_destroy(p->decoder);
}

static results run(mla_tape *tape, const pair *p, mla_tensor *(*apply)(mla_tape *, const pair *, mla_tensor *)) {
    static float x[B * T * D];
    fill_values(x, B * T * D, "x", 1);
    mla_tape_begin(tape, &(mla_step){.training = true});
    mla_tensor *in = mla_input_with_gradient(tape, 3, shape, x);
    return differentiate(tape, p->general.params, in, apply(tape, p, in));
}

static void compare(mla_context *context, const char *settings) {
    pair p;
    mla_tape *tape;
    create_pair(context, &p, settings);
    check_ok(context, mla_tape_create(context, &tape, NULL));
    const results layer = run(tape, &p, apply_layer), general = run(tape, &p, apply_general);
    compare_results(settings, p.general.params, layer, general);
    free_results(layer);
    free_results(general);
    mla_tape_destroy(tape);
    destroy_pair(&p);
}

#define YARN                                                                                        \
    "rope_scaling.type=yarn rope_scaling.factor=4 rope_scaling.original_max_position_embeddings=4 " \
    "rope_scaling.beta_fast=2 rope_scaling.beta_slow=0.1 rope_scaling.mscale=1 rope_scaling.mscale_all_dim=0.7"

static void latent_attention_equals_its_composition(void **state) {
    static const char *const settings[] = {"",
                                           "q_lora_rank=6",
                                           "q_lora_rank=6 latent_norm=false attention_bias=true",
                                           "rope_interleave=false",
                                           "causal=false",
                                           YARN,
                                           YARN " q_lora_rank=6 rope_interleave=false attention_bias=true causal=false",
                                           "position=none causal=false latent_norm=false",
                                           "position=learned attention_bias=true"};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) compare(*state, settings[i]);
}

static void multi_head_attention_equals_its_composition(void **state) {
    static const char *const settings[] = {
        "attention=multi_head",
        "attention=multi_head rope_interleave=false attention_bias=true",
        "attention=multi_head num_key_value_heads=2 position=none causal=false",
        "attention=multi_head num_key_value_heads=1 attention_bias=true",
        "attention=multi_head num_key_value_heads=2 position=learned head_dim=5",
        "attention=multi_head num_key_value_heads=2 qkv_bias=true qk_norm=true rms_norm_eps=1e-6"};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) compare(*state, settings[i]);
}

/* ---- masks ---- */

/* The hidden states of one sequence; the caller frees them. */
static float *hidden_of(mla_context *context, mla_decoder *model, const int32_t *ids) {
    mla_tape *tape;
    check_ok(context, mla_tape_create(context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){.inference = true});
    mla_tensor *in = mla_input(tape, MLA_I32, 2, (int64_t[]){1, T}, ids);
    const mla_tensor *y = mla_decoder_hidden(tape, model, in, NULL);
    check_ok(context, mla_error_status(context));
    float *kept = copy(y->data, T * D);
    mla_tape_destroy(tape);
    return kept;
}

/* How far the hidden states at position t are apart. */
static double apart(const float *a, int at, const float *b, int bt) {
    return relative_error(D, a + at * D, b + bt * D);
}

/* With a mask, a position knows nothing of those behind it; without, each knows of each. */
static void mask_hides_what_follows(void **state) {
    static const char *const settings[] = {"", "causal=false", "attention=multi_head",
                                           "attention=multi_head causal=false"};
    for (int i = 0; i < 4; i++) {
        const bool causal = i % 2 == 0;
        int32_t ids[T], changed[T];
        mla_decoder *model = small_decoder(*state, settings[i]);
        fill_ids(T, ids);
        memcpy(changed, ids, sizeof ids);
        changed[5] = (changed[5] + 1) % SMALL_VOCABULARY;
        float *a = hidden_of(*state, model, ids), *b = hidden_of(*state, model, changed);
        for (int t = 0; t < T; t++) {
            const double difference = apart(a, t, b, t);
            if (t < 5 && causal) assert_true(difference < 1e-6);
            else assert_true(difference > 1e-4);
        }
        free(a);
        free(b);
        mla_decoder_destroy(model);
    }
}

/* As the article uses the layers: no mask and no positions. Tokens in another order give the same states in that
 * order. */
static void encoder_without_positions_knows_no_order(void **state) {
    int32_t ids[T], reversed[T];
    mla_decoder *model = small_decoder(*state,
                                       "norm_position=post norm=layernorm gated=false hidden_act=relu mlp_bias=true "
                                       "latent_norm=false position=none causal=false final_norm=false dropout=0.1");
    fill_ids(T, ids);
    for (int t = 0; t < T; t++) reversed[t] = ids[T - 1 - t];
    float *a = hidden_of(*state, model, ids), *b = hidden_of(*state, model, reversed);
    for (int t = 0; t < T; t++) assert_true(apart(a, t, b, T - 1 - t) < tolerance);
    assert_true(apart(a, 0, a, 1) > 1e-2);
    free(a);
    free(b);
    mla_decoder_destroy(model);
}

/* Positions of either kind make the order matter. */
static void positions_make_order_matter(void **state) {
    static const char *const settings[] = {"causal=false", "causal=false position=learned"};
    for (int i = 0; i < 2; i++) {
        int32_t ids[T], reversed[T];
        mla_decoder *model = small_decoder(*state, settings[i]);
        fill_ids(T, ids);
        for (int t = 0; t < T; t++) reversed[t] = ids[T - 1 - t];
        float *a = hidden_of(*state, model, ids), *b = hidden_of(*state, model, reversed);
        assert_true(apart(a, 0, b, T - 1) > 1e-3);
        free(a);
        free(b);
        mla_decoder_destroy(model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latent_attention_equals_its_composition),
        cmocka_unit_test(multi_head_attention_equals_its_composition), cmocka_unit_test(mask_hides_what_follows),
        cmocka_unit_test(encoder_without_positions_knows_no_order), cmocka_unit_test(positions_make_order_matter)};
    return cmocka_run_group_tests(tests, create_one_thread, destroy_context);
}
