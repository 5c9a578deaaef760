/* Adapters on projections: which get one; that decoding in every form has them, with every kind of them; that merging
 * changes nothing; their gradients. */
#include "layers/adapt/adapters.h"
#include "tests/support/allocations.h"
#include "tests/support/layercheck.h"
#include "tests/support/small_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { T = 12 };

static mla_lora_options options_of(mla_context *context, const char *settings) {
    mla_lora_options o;
    char text[512], *rest;
    check_ok(context, mla_fields_default(context, &mla_lora_fields, &o));
    snprintf(text, sizeof text, "%s", settings);
    for (char *pair = strtok_r(text, " ", &rest); pair; pair = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(pair, '=');
        *value++ = '\0';
        if (!strcmp(pair, "targets")) check_ok(context, mla_list_append(context, &o.targets, value));
        else check_ok(context, mla_fields_set(context, "", &mla_lora_fields, &o, pair, value));
    }
    return o;
}

static mla_status attach(mla_decoder *model, const char *settings) {
    mla_lora_options o = options_of(model->context, settings);
    const mla_status status = mla_adapters_attach(model, &o);
    mla_fields_free(&mla_lora_fields, &o);
    return status;
}

static mla_decoder *unfilled(mla_context *context, const char *settings) {
    const mla_model_config config = small_config(context, settings);
    mla_decoder *model;
    check_ok(context, mla_decoder_create(context, &model, &config));
    return model;
}

/* A model with adapters; their B is not zero. */
static mla_decoder *adapted(mla_context *context, const char *settings, const char *lora) {
    mla_decoder *model = unfilled(context, settings);
    check_ok(context, attach(model, lora));
    check_ok(context, mla_params_allocate(model->params, true));
    fill_layer(model->params, 0.3f);
    fill_values(model->embed_tokens->data, mla_count(model->embed_tokens), "embed_tokens", 1);
    check_ok(context, mla_adapters_begin(model));
    mla_param *m; /* magnitudes that are not the norms */
    for (int64_t i = 0; i < mla_params_count(model->params); i++)
        if ((m = mla_params_at(model->params, i))->spec.adapter && m->spec.ndim == 1)
            for (int64_t j = 0; j < m->count; j++) ((float *)m->tensor.data)[j] *= 1 + 0.1f * (float)(j % 5);
    return model;
}

/* ---- which projections get one ---- */

static int64_t ranks(const mla_decoder *model, const char *name) {
    const mla_linear_layer *p = mla_adapters_find(model, name);
    assert_non_null(p);
    return p->lora ? p->lora->rank : 0;
}

static void patterns_choose_projections(void **state) {
    mla_decoder *model = unfilled(*state, "");
    check_ok(*state, attach(model, "targets=layers.1.self_attn.q_proj:2:3 targets=q_proj targets=mlp.*:5 "
                                   "targets=model.layers.0.self_attn.kv_?_proj* rank=4 alpha=8 rslora=true"));
    assert_int_equal(ranks(model, "model.layers.0.self_attn.q_proj"), 4);
    assert_int_equal(ranks(model, "model.layers.1.self_attn.q_proj"), 2);
    assert_int_equal(ranks(model, "model.layers.0.self_attn.kv_a_proj_with_mqa"), 4);
    assert_int_equal(ranks(model, "model.layers.0.self_attn.kv_b_proj"), 4);
    assert_int_equal(ranks(model, "model.layers.1.self_attn.kv_b_proj"), 0);
    assert_int_equal(ranks(model, "model.layers.1.self_attn.o_proj"), 0);
    assert_int_equal(ranks(model, "model.layers.0.mlp.gate_proj"), 5);
    assert_null(mla_adapters_find(model, "model.layers.2.mlp.gate_proj"));
    const mla_lora_layer *l = mla_adapters_find(model, "model.layers.1.self_attn.q_proj")->lora;
    check_close((double)l->scale, 3 / 1.4142135, 1e-6);
    assert_null(l->next);
    assert_non_null(mla_params_find(model->params, "model.layers.1.self_attn.q_proj.lora_A.default.weight"));
    mla_decoder_destroy(model);
}

static void what_cannot_be_is_named(void **state) {
    static const struct {
        const char *lora, *words;
    } cases[] = {
        {"targets=q_prj", "\"q_prj\" names no projection of this model: did you mean \"q_proj\"?"},
        {"targets=q_proj targets=layers.0.self_attn.kv_bproj", "did you mean \"kv_b_proj\"?"},
        {"targets=layers.7.self_attn.q_proj", "in layers 0 to 1"},
        {"targets=zebra", "it has q_proj, kv_a_proj_with_mqa, kv_b_proj, o_proj, gate_proj, up_proj, down_proj"},
        {"targets=q_proj:0", "rank 0 on model.layers.0.self_attn.q_proj: the rank must be at least 1 and at most 16"},
        {"targets=q_proj rank=0", "rank 0"},
        {"targets=q_proj rank=-3", "rank -3"},
        {"targets=kv_b_proj:8", "at most 7"},
        {"targets=q_proj:two", "the rank is no whole number"},
        {"targets=q_proj:2:x", "alpha is no number"},
        {"targets=q_proj:2:-1", "alpha is no number above 0"},
        {"targets=:2", "the pattern is empty"},
        {"targets=q_proj dora=true init=pissa", "dora does not go with init: pissa"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mla_decoder *model = unfilled(*state, "");
        check_error(*state, attach(model, cases[i].lora), MLA_ERROR_ARGUMENT, cases[i].words);
        mla_decoder_destroy(model);
    }
}

/* Attaches and begins in a model that may fail at any allocation. */
static mla_status create_adapted(mla_context *context, const mla_model_config *config, const mla_lora_options *lora) {
    mla_decoder *model;
    mla_status status = mla_decoder_create(context, &model, config);
    if (!status) status = mla_adapters_attach(model, lora);
    if (!status) status = mla_params_allocate(model->params, true);
    if (!status) mla_params_initialise(model->params, 1);
    if (!status) status = mla_adapters_begin(model);
    mla_decoder_destroy(model);
    return status;
}

static void every_allocation_may_fail(void **state) {
    mla_context *context = *state;
    const mla_model_config config = small_config(context, "num_hidden_layers=1");
    for (int k = 0; k < 2; k++) {
        mla_lora_options lora = options_of(context, k ? "targets=* rank=2 init=pissa" : "targets=* rank=2 dora=true");
        bool failed = allocations_can_be_watched();
        check_ok(context,
                 create_adapted(context, &config, &lora)); /* oneDNN may lack what it tries at its first product */
        for (int64_t n = 1; failed; n++) {
            allocations_watch(n);
            const mla_status status = create_adapted(context, &config, &lora);
            failed = allocations_stop().failed;
            if (failed) assert_true(status == MLA_ERROR_MEMORY || status == MLA_ERROR_LIBRARY); /* oneDNN's plans */
            else check_ok(context, status);
            mla_clear_error(context);
        }
        mla_fields_free(&mla_lora_fields, &lora);
    }
}

static void only_adapters_are_trained(void **state) {
    mla_decoder *model = adapted(*state, "", "targets=q_proj:2 targets=kv_b_proj:3");
    const int64_t expected = 2 * (2 * (16 + 4 * 9) + 3 * (7 + 4 * 11));
    assert_int_equal(mla_params_elements(model->params, true), expected);
    assert_true(mla_params_gradients_length(model->params) < expected + 4 * 16);
    mla_decoder_destroy(model);
}

/* ---- decoding ---- */

typedef enum { FULL, ABSORBED, EXPANDED, FORMS } form;

/* The logits of T positions, the first 5 at once where there is a cache. */
static void logits_in_form(const mla_decoder *model, form f, mla_dtype precision, float *out) {
    mla_context *context = model->context;
    int32_t ids[T];
    mla_tape *tape;
    mla_kv_cache *cache = NULL;
    fill_ids(T, ids);
    check_ok(context, mla_tape_create(context, &tape, NULL));
    if (f != FULL) check_ok(context, mla_kv_cache_create(context, &cache, &model->config, T, precision));
    if (f == EXPANDED) mla_kv_cache_expand(cache);
    for (int64_t t = 0, count = f == FULL ? T : 5; t < T; t += count, count = 1) {
        mla_tape_begin(tape, &(mla_step){.inference = true, .precision = precision});
        const mla_tensor *logits = mla_decoder_logits(
            tape, model, mla_input(tape, MLA_I32, 2, (int64_t[]){1, count}, ids + t), &(mla_pass){.cache = cache});
        check_ok(context, mla_error_status(context));
        memcpy(out + t * SMALL_VOCABULARY, logits->data, (size_t)mla_size(logits));
    }
    mla_kv_cache_destroy(cache);
    mla_tape_destroy(tape);
}

static double difference(const mla_decoder *model, form f, const mla_decoder *other, form g) {
    static float a[T * SMALL_VOCABULARY], b[T * SMALL_VOCABULARY];
    logits_in_form(model, f, MLA_F32, a);
    logits_in_form(other, g, MLA_F32, b);
    return relative_error(T * SMALL_VOCABULARY, a, b);
}

static const char *const models[] = {"", "q_lora_rank=6 attention_bias=true", "position=none latent_norm=false",
                                     "attention=multi_head num_key_value_heads=2 qkv_bias=true"};
static const char *const kinds[] = {"targets=* rank=3", "targets=* rank=3 rslora=true", "targets=* rank=3 dora=true"};
enum { MODELS = sizeof models / sizeof *models, KINDS = sizeof kinds / sizeof *kinds };

static void all_forms_have_all_adapters(void **state) {
    for (int m = 0; m < MODELS; m++)
        for (int k = 0; k < KINDS; k++) {
            mla_decoder *model = adapted(*state, models[m], kinds[k]);
            for (form f = ABSORBED; f < FORMS; f++) {
                const double error = difference(model, f, model, FULL);
                if (!(error < 1e-5)) fail_msg("\"%s\", \"%s\", form %d: error %g", models[m], kinds[k], f, error);
            }
            mla_decoder_destroy(model);
        }
}

/* In bf16 the forms differ by its rounding, as it does from f32. */
static void all_forms_have_all_adapters_in_bf16(void **state) {
    static float whole[T * SMALL_VOCABULARY], logits[T * SMALL_VOCABULARY];
    for (int m = 0; m < MODELS; m++)
        for (int k = 0; k < KINDS; k++) {
            mla_decoder *model = adapted(*state, models[m], kinds[k]);
            logits_in_form(model, FULL, MLA_F32, whole);
            for (form f = FULL; f < FORMS; f++) {
                logits_in_form(model, f, MLA_BF16, logits);
                const double error = relative_error(T * SMALL_VOCABULARY, logits, whole);
                if (!(error < 5e-2)) fail_msg("\"%s\", \"%s\", form %d: error %g", models[m], kinds[k], f, error);
            }
            mla_decoder_destroy(model);
        }
}

/* Every adapter matters, in every form: without any one of them, the logits are others. */
static void a_dropped_adapter_shows(void **state) {
    for (int m = 0; m < MODELS; m++) {
        mla_decoder *model = adapted(*state, models[m], kinds[0]);
        mla_linear_layer *p;
        for (int64_t i = 0; (p = mla_decoder_projection(model, i)); i++)
            for (form f = ABSORBED; f < FORMS; f++) {
                static float with[T * SMALL_VOCABULARY], without[T * SMALL_VOCABULARY];
                mla_lora_layer *lora = p->lora;
                logits_in_form(model, FULL, MLA_F32, with);
                p->lora = NULL;
                logits_in_form(model, f, MLA_F32, without);
                p->lora = lora;
                if (!(relative_error(T * SMALL_VOCABULARY, without, with) > 1e-3))
                    fail_msg("\"%s\": %s has no adapter in form %d", models[m], p->weight->name, f);
            }
        mla_decoder_destroy(model);
    }
}

/* ---- stacks, merging ---- */

static void merged_is_unmerged(void **state) {
    for (int m = 0; m < MODELS; m++)
        for (int k = 0; k < KINDS; k++) {
            mla_decoder *model = adapted(*state, models[m], kinds[k]), *merged = adapted(*state, models[m], kinds[k]);
            check_ok(*state, mla_adapters_merge(merged));
            assert_null(mla_decoder_projection(merged, 0)->lora);
            const double error = difference(merged, FULL, model, FULL);
            if (!(error < 1e-5)) fail_msg("\"%s\", \"%s\": error %g", models[m], kinds[k], error);
            mla_decoder_remove_adapters(model);
            assert_true(difference(merged, FULL, model, FULL) > 1e-2);
            mla_decoder_destroy(model);
            mla_decoder_destroy(merged);
        }
}

/* A second adapter on every projection of kinds[second], by its share. */
static mla_decoder *stacked(mla_context *context, const char *settings, bool dora, float share) {
    mla_decoder *model = unfilled(context, settings);
    mla_linear_layer *p;
    for (int64_t i = 0; (p = mla_decoder_projection(model, i)); i++) {
        check_ok(context, mla_lora_add(context, model->params, p,
                                       &(mla_lora_spec){.name = "a", .rank = 3, .alpha = 6, .share = 1}));
        check_ok(context,
                 mla_lora_add(context, model->params, p,
                              &(mla_lora_spec){.name = "b", .rank = 2, .alpha = 2, .share = share, .dora = dora}));
    }
    check_ok(context, mla_params_allocate(model->params, false));
    fill_layer(model->params, 0.3f);
    return model;
}

static void stacks_add_up_by_their_shares(void **state) {
    for (int dora = 0; dora < 2; dora++)
        for (int m = 0; m < MODELS; m++) {
            mla_decoder *model = stacked(*state, models[m], dora, 0.5f),
                        *other = stacked(*state, models[m], dora, 0.25f);
            for (form f = ABSORBED; f < FORMS; f++) assert_true(difference(model, f, model, FULL) < 1e-5);
            assert_true(difference(model, FULL, other, FULL) > 1e-3);
            mla_linear_layer *p = mla_decoder_projection(model, 1), *q = mla_decoder_projection(other, 1);
            check_ok(*state, mla_adapters_merge(model));
            check_ok(*state, mla_adapters_merge(other));
            /* shares 1/2 and 1/4 of the same change */
            mla_decoder *none = stacked(*state, models[m], dora, 0);
            check_ok(*state, mla_adapters_merge(none));
            const float *half = p->weight->data, *quarter = q->weight->data,
                        *zero = mla_decoder_projection(none, 1)->weight->data;
            for (int64_t i = 0; i < mla_count(p->weight); i++)
                check_close((double)(half[i] - zero[i]), 2 * (double)(quarter[i] - zero[i]), 1e-6);
            mla_decoder_destroy(none);
            mla_decoder_destroy(model);
            mla_decoder_destroy(other);
        }
}

/* PiSSA begins with much in A and B, and yet with the model's own function; then A and B make another one. */
static void pissa_begins_with_the_model(void **state) {
    for (int m = 0; m < MODELS; m++) {
        mla_decoder *model = adapted(*state, models[m], "targets=* rank=3 init=pissa"),
                    *plain = small_decoder(*state, models[m]);
        for (form f = FULL; f < FORMS; f++) assert_true(difference(model, f, plain, f) < 1e-5);
        const mla_lora_layer *l = mla_decoder_projection(model, 0)->lora;
        assert_true(l->a->needs_grad && !l->next->a->needs_grad);
        float *b = l->b->data;
        assert_true(b[0] * b[0] > 0);
        for (int64_t i = 0; i < mla_count(l->b); i++) b[i] *= 2;
        assert_true(difference(model, FULL, plain, FULL) > 1e-3);
        for (form f = ABSORBED; f < FORMS; f++) assert_true(difference(model, f, model, FULL) < 1e-5);
        mla_decoder_destroy(model);
        mla_decoder_destroy(plain);
    }
}

/* ---- training ---- */

static mla_tensor *loss_of(mla_tape *tape, const void *user) {
    static int32_t ids[2 * 6 + 1];
    fill_ids(2 * 6 + 1, ids);
    const int64_t shape[] = {2, 6};
    return language_loss(tape, user, mla_input(tape, MLA_I32, 2, shape, ids),
                         mla_input(tape, MLA_I32, 2, shape, ids + 1), 1, NULL);
}

static mla_tensor *hidden_of(mla_tape *tape, const mla_decoder *model, int64_t batch) {
    static int32_t ids[11 * 6];
    fill_ids(11 * 6, ids);
    return mla_decoder_hidden(tape, model, mla_input(tape, MLA_I32, 2, (int64_t[]){batch, 6}, ids), NULL);
}

static mla_tensor *hidden_of_few(mla_tape *tape, const void *user) { return hidden_of(tape, user, 2); }
static mla_tensor *hidden_of_many(mla_tape *tape, const void *user) { return hidden_of(tape, user, 11); }

/* Few rows are taken by matrix products, many row by row. */
static void adapters_have_right_gradients(void **state) {
    static const struct {
        const char *lora;
        mla_tensor *(*apply)(mla_tape *tape, const void *user);
    } cases[] = {{"targets=* rank=2 alpha=1", hidden_of_few},
                 {"targets=* rank=2 alpha=1", hidden_of_many},
                 {"targets=* rank=2 alpha=1 rslora=true dropout=0.3", hidden_of_many}};
    for (int m = 0; m < MODELS; m++)
        for (int k = 0; k < 3; k++) {
            char why[GRADCHECK_WORDS] = "";
            mla_decoder *model = adapted(*state, models[m], cases[k].lora);
            const layercheck check = {
                .params = model->params, .apply = cases[k].apply, .user = model, .tolerance = 3e-3};
            if (!layer_is_right(*state, &check, why)) fail_msg("\"%s\", case %d: %s", models[m], k, why);
            mla_decoder_destroy(model);
        }
}

/* mla_adapters_attach freezes what is below adapters, mla_lora_add does not. */
static void a_weight_below_an_adapter_may_be_trained(void **state) {
    char why[GRADCHECK_WORDS] = "";
    mla_decoder *model = unfilled(*state, "tie_word_embeddings=true");
    mla_linear_layer *projection;
    for (int64_t i = 0; (projection = mla_decoder_projection(model, i)); i++)
        check_ok(*state, mla_lora_add(*state, model->params, projection,
                                      &(mla_lora_spec){.name = "default", .rank = 2, .alpha = 1, .share = 1}));
    check_ok(*state, mla_params_allocate(model->params, true));
    fill_layer(model->params, 0.3f);
    const layercheck check = {.params = model->params, .apply = hidden_of_few, .user = model, .tolerance = 3e-3};
    if (!layer_is_right(*state, &check, why)) fail_msg("%s", why);
    mla_decoder_destroy(model);
}

static double loss_in(mla_decoder *model, mla_dtype precision, bool training) {
    mla_tape *tape;
    check_ok(model->context, mla_tape_create(model->context, &tape, NULL));
    mla_params_clear_gradients(model->params);
    mla_tape_begin(tape, &(mla_step){.seed = 1, .training = training, .precision = precision});
    mla_tensor *loss = loss_of(tape, model);
    check_ok(model->context, mla_backward(tape, loss));
    const double value = (double)*(float *)loss->data;
    mla_tape_destroy(tape);
    return value;
}

static double sum_of_gradients(const mla_decoder *model) {
    double sum = 0;
    for (int64_t i = 0; i < mla_params_count(model->params); i++) {
        const mla_param *p = mla_params_at(model->params, i);
        for (int64_t j = 0; !p->spec.frozen && j < p->count; j++) sum += fabs((double)((float *)p->tensor.grad)[j]);
    }
    return sum;
}

/* Computing blocks again gives the same loss and gradients, with the same dropout. */
static void recompute_changes_nothing(void **state) {
    static const char *const loras[] = {"targets=* rank=3 dropout=0.3", "targets=* rank=3 dora=true"};
    for (int k = 0; k < 2; k++) {
        mla_decoder *model = adapted(*state, "q_lora_rank=6", loras[k]);
        double loss[2], gradients[2];
        for (int again = 0; again < 2; again++) {
            mla_tape *tape;
            check_ok(*state, mla_tape_create(*state, &tape, NULL));
            mla_params_clear_gradients(model->params);
            mla_tape_begin(tape, &(mla_step){.seed = 1, .training = true});
            mla_tensor *result = loss_of(tape, model);
            check_ok(*state, mla_backward(tape, result));
            loss[again] = (double)*(float *)result->data;
            gradients[again] = sum_of_gradients(model);
            mla_tape_destroy(tape);
        }
        check_close(loss[1], loss[0], 0);
        check_close(gradients[1], gradients[0], 1e-6);
        mla_decoder_destroy(model);
    }
}

/* Dropout in front of kv_b_proj's adapter expands keys and values for themselves: with next to no dropout the loss is
 * the same, with much another, and outside training there is none. */
static void dropout_acts_on_latents(void **state) {
    mla_decoder *none = adapted(*state, "", "targets=kv_b_proj rank=3");
    mla_decoder *little = adapted(*state, "", "targets=kv_b_proj rank=3 dropout=1e-12");
    mla_decoder *much = adapted(*state, "", "targets=kv_b_proj rank=3 dropout=0.5");
    const double without = loss_in(none, MLA_F32, true), with = loss_in(much, MLA_F32, true);
    check_close(loss_in(little, MLA_F32, true), without, 1e-5);
    assert_true(with < without - 1e-3 || with > without + 1e-3);
    check_close(loss_in(much, MLA_F32, false), without, 1e-6);
    mla_decoder_destroy(none);
    mla_decoder_destroy(little);
    mla_decoder_destroy(much);
}

static void bf16_is_f32_but_for_rounding(void **state) {
    static const char *const loras[] = {"targets=* rank=3", "targets=* rank=3 dora=true",
                                        "targets=* rank=3 dropout=1e-12"};
    for (int m = 0; m < MODELS; m++)
        for (int k = 0; k < 3; k++) {
            mla_decoder *model = adapted(*state, models[m], loras[k]);
            const double f32 = loss_in(model, MLA_F32, true);
            check_close(loss_in(model, MLA_BF16, true), f32, 1e-2);
            mla_decoder_destroy(model);
        }
}

static int setup(void **state) { return mla_context_create((mla_context **)state, NULL) != MLA_OK; }
static int teardown(void **state) {
    mla_context_destroy(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_choose_projections),   cmocka_unit_test(what_cannot_be_is_named),
        cmocka_unit_test(every_allocation_may_fail),     cmocka_unit_test(only_adapters_are_trained),
        cmocka_unit_test(all_forms_have_all_adapters),   cmocka_unit_test(all_forms_have_all_adapters_in_bf16),
        cmocka_unit_test(a_dropped_adapter_shows),       cmocka_unit_test(merged_is_unmerged),
        cmocka_unit_test(stacks_add_up_by_their_shares), cmocka_unit_test(pissa_begins_with_the_model),
        cmocka_unit_test(adapters_have_right_gradients), cmocka_unit_test(a_weight_below_an_adapter_may_be_trained),
        cmocka_unit_test(recompute_changes_nothing),     cmocka_unit_test(dropout_acts_on_latents),
        cmocka_unit_test(bf16_is_f32_but_for_rounding)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
