/* Models with multi-head attention become latent ones: exactly, and where asked with less. */
#include "layers/adapt/key_frame.h"
#include "layers/adapt/latent_rank.h"
#include "layers/adapt/neutral_norm.h"
#include "tests/support/allocations.h"
#include "tests/support/layercheck.h"
#include "tests/support/small_model.h"
#include "train/convert/latent_rank.h"
#include "train/convert/to_latent.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 500, LOGITS = 8 * 16 * SMALL_VOCABULARY };

#define GQA "attention=multi_head num_key_value_heads=2 head_dim=6 "

static int32_t tokens[TOKENS];
static const mla_token_stream text = {.count = TOKENS, .wide = tokens};

/* As small_decoder, but loaded as for no training. */
static mla_decoder *original(mla_context *context, const char *settings) {
    const mla_model_config config = small_config(context, settings);
    mla_decoder *model;
    check_ok(context, mla_decoder_create(context, &model, &config));
    check_ok(context, mla_params_allocate(model->params, false));
    fill_layer(model->params, 0.3f);
    fill_values(model->embed_tokens->data, mla_count(model->embed_tokens), "embed_tokens", 1);
    return model;
}

static mla_to_latent_options with_text(void) {
    return (mla_to_latent_options){.calibrate = {.text = &text, .sequence = 16, .tokens = TOKENS}};
}

static mla_decoder *convert(mla_context *context, mla_decoder *model, const mla_to_latent_options *o,
                            mla_conversion_report *report) {
    mla_decoder *out;
    check_ok(context, mla_to_latent(model, o, &out, report));
    assert_non_null(out);
    return out;
}

static void logits_of(mla_context *context, const mla_decoder *model, float *out) {
    mla_tape *tape;
    check_ok(context, mla_tape_create(context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){.inference = true});
    const mla_tensor *logits = mla_decoder_logits(tape, model, mla_input(tape, MLA_I32, 2, (int64_t[]){8, 16}, tokens),
                                                  NULL);
    check_ok(context, mla_error_status(context));
    memcpy(out, logits->data, LOGITS * sizeof *out);
    mla_tape_destroy(tape);
}

static double difference(mla_context *context, const mla_decoder *a, const mla_decoder *b) {
    static float x[LOGITS], y[LOGITS];
    logits_of(context, a, x);
    logits_of(context, b, y);
    return relative_error(LOGITS, x, y);
}

static const char *const kinds[] = {
    GQA,
    GQA "rope_interleave=false",
    GQA "qkv_bias=true rope_interleave=false",
    GQA "attention_bias=true",
    GQA "qk_norm=true rope_interleave=false",
    GQA "position=none",
    GQA "position=learned norm=layernorm",
    GQA "rope_scaling.type=llama3 rope_scaling.factor=4 rope_scaling.original_max_position_embeddings=8",
    GQA "rope_scaling.type=yarn rope_scaling.factor=4 rope_scaling.original_max_position_embeddings=8",
    "attention=multi_head num_key_value_heads=4 head_dim=8",
    "attention=multi_head num_key_value_heads=1 head_dim=10 rope_interleave=false",
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void the_first_stage_is_exact(void **state) {
    for (int i = 0; i < KINDS; i++) {
        mla_decoder *model = original(*state, kinds[i]);
        mla_conversion_report r;
        mla_decoder *out = convert(*state, model, &(mla_to_latent_options){0}, &r);
        const double error = difference(*state, out, model);
        if (!(error < 2e-6)) fail_msg("%s: %g", kinds[i], error);
        assert_true(r.last == MLA_STAGE_EXACT && isnan(r.stage[MLA_STAGE_EXACT].loss));
        assert_int_equal(r.stage[MLA_STAGE_EXACT].bytes_per_token, r.bytes_per_token + 2 * 4);
        mla_decoder_destroy(out);
        mla_decoder_destroy(model);
    }
}

/* All that is measured agrees with that. */
static void the_report_says_so(void **state) {
    mla_decoder *model = original(*state, GQA);
    const mla_to_latent_options o = with_text();
    mla_conversion_report r;
    mla_decoder_destroy(convert(*state, model, &o, &r));
    assert_int_equal(r.calibrated, 21 * 16);
    assert_int_equal(r.left_out, 10 * 16);
    check_close(r.stage[MLA_STAGE_EXACT].loss, r.loss, 1e-6);
    assert_true(r.loss > 1 && fabs(r.stage[MLA_STAGE_EXACT].divergence) < 1e-6);
    assert_true(r.stage[MLA_STAGE_EXACT].error[0] < 2e-6 && r.stage[MLA_STAGE_EXACT].error[1] < 2e-6 &&
                r.stage[MLA_STAGE_EXACT].error[0] > 0);
    mla_decoder_destroy(model);
}

static mla_key_moments moments_of(mla_context *context, const mla_model_config *config) {
    enum { COUNT = 40 };
    static float q[COUNT * 4 * 6], k[COUNT * 2 * 6];
    const mla_tensor queries = {.ndim = 4, .shape = {1, COUNT, 4, 6}, .data = q};
    const mla_tensor keys = {.ndim = 4, .shape = {1, COUNT, 2, 6}, .data = k};
    mla_key_moments m;
    fill_values(q, COUNT * 4 * 6, "queries", 1);
    fill_values(k, COUNT * 2 * 6, "keys", 2);
    check_ok(context, mla_key_moments_create(context, &m, config));
    check_ok(context, mla_key_moments_add(context, &m, config, &queries, &keys));
    return m;
}

/* Every token is the same vector or its opposite, so that in the only layer rms is the same for all, and its mean
 * exact. */
static void norms_that_do_not_vary_fold_exactly(void **state) {
    static const char *const models[] = {GQA "qk_norm=true num_hidden_layers=1",
                                         GQA "qk_norm=true num_hidden_layers=1 rope_interleave=false"};
    mla_to_latent_options o = with_text();
    o.fold_norms = true;
    for (int i = 0; i < 2; i++) {
        mla_decoder *model = original(*state, models[i]);
        mla_conversion_report r;
        const int64_t width = model->config.hidden_size;
        float *embeddings = model->embed_tokens->data;
        for (int64_t k = width; k < mla_count(model->embed_tokens); k++)
            embeddings[k] = k / width % 3 == 1 ? -embeddings[k % width] : embeddings[k % width];
        mla_decoder *out = convert(*state, model, &o, &r);
        const double error = difference(*state, out, model);
        if (!(error < 1e-5)) fail_msg("%s: %g", models[i], error);
        assert_false(out->config.qk_norm);
        assert_true(r.stage[MLA_STAGE_NORMS].made && fabs(r.stage[MLA_STAGE_NORMS].divergence) < 1e-6);
        assert_true(r.stage[MLA_STAGE_NORMS].error[0] < 1e-5);
        mla_decoder_destroy(out);
        mla_decoder_destroy(model);
    }
}

/* The stages after it add what they do beside the original, and the fold alone is told apart. */
static void folding_norms_is_a_stage_of_its_own(void **state) {
    mla_decoder *model = original(*state, GQA "qk_norm=true"), *out;
    mla_to_latent_options o = with_text();
    mla_conversion_report r;
    o.fold_norms = true;
    out = convert(*state, model, &o, &r);
    const mla_conversion_stage *norms = &r.stage[MLA_STAGE_NORMS], *exact = &r.stage[MLA_STAGE_EXACT];
    assert_true(norms->error[1] > 1e-4 && norms->divergence > 1e-7);
    check_close(exact->loss, norms->loss, 1e-6);
    check_close(exact->error[1], norms->error[1], 1e-5);
    assert_int_equal(norms->bytes_per_token, r.bytes_per_token);
    mla_decoder_destroy(out);
    o.max_loss = 1e-9;
    check_ok(*state, mla_to_latent(model, &o, &out, &r));
    if (r.refused == MLA_STAGE_NORMS) assert_null(out);
    else mla_decoder_destroy(out);
    mla_decoder_destroy(model);
}

/* queriesᵀ keys = 1, so that scores stay, and the values of each group descend. */
static void a_basis_leaves_scores_as_they_were(void **state) {
    static const double frequencies[] = {1, 0.3, 0.1};
    const mla_model_config config = small_config(*state, GQA);
    for (int64_t fold = 1; fold <= 3; fold += 2) {
        mla_key_moments m = moments_of(*state, &config);
        mla_key_basis b;
        check_ok(*state, mla_key_basis_measure(*state, &m, &(mla_key_positions){frequencies, fold, 16}, &b));
        for (int i = 0; i < 12 * 12; i++) {
            double sum = 0;
            for (int l = 0; l < 12; l++) sum += b.queries[l * 12 + i / 12] * b.keys[l * 12 + i % 12];
            check_close(sum, i / 12 == i % 12, 1e-9);
        }
        for (int p = 1; p < 6; p++) assert_true(p % (2 * fold) == 0 || b.value[p] <= b.value[p - 1]);
        mla_key_basis_free(&b);
        mla_key_moments_free(&m);
    }
}

static void fewer_rows_turn(void **state) {
    for (int i = 0; i < KINDS; i++) {
        mla_decoder *model = original(*state, kinds[i]);
        mla_to_latent_options o = with_text();
        mla_conversion_report r;
        if (model->config.position != MLA_POSITION_ROPE) {
            mla_decoder_destroy(model);
            continue;
        }
        double last = INFINITY;
        const int64_t all = model->config.num_key_value_heads * model->config.head_dim;
        for (o.rope_dim = 2; o.rope_dim < all; o.rope_dim += all - 4) {
            mla_decoder *out = convert(*state, model, &o, &r);
            const double error = difference(*state, out, model);
            assert_true(r.last == MLA_STAGE_ROTARY && error > 1e-5 && error < 1);
            assert_int_equal(out->config.qk_rope_head_dim, o.rope_dim);
            assert_int_equal(r.stage[MLA_STAGE_ROTARY].bytes_per_token, r.stage[MLA_STAGE_EXACT].bytes_per_token);
            if (!(error < last)) fail_msg("%s: %g with fewer rows, %g with more", kinds[i], last, error);
            last = error;
            mla_decoder_destroy(out);
        }
        mla_decoder_destroy(model);
    }
}

/* All keys are zero but one of the three pairs of each head. */
static mla_decoder *with_one_pair(mla_context *context, const char *settings, int64_t pair) {
    mla_decoder *model = original(context, settings);
    for (int64_t i = 0; i < 2; i++) {
        const mla_multi_head_layer *layer = model->blocks[i].attention;
        for (int64_t row = 0; row < 12; row++)
            if (row % 6 / 2 != pair) memset(mla_row(layer->k_proj.weight, row), 0, SMALL_WIDTH * sizeof(float));
    }
    return model;
}

static void loses_less(mla_context *context, mla_decoder *model, int64_t rope_dim, double most) {
    mla_to_latent_options o = with_text();
    mla_conversion_report r;
    o.rope_dim = rope_dim;
    o.fold = 1;
    mla_decoder *out = convert(context, model, &o, &r);
    const double error = difference(context, out, model);
    if (!(error < most)) fail_msg("%lld rows turn: %g", (long long)rope_dim, error);
    mla_decoder_destroy(out);
    mla_decoder_destroy(model);
}

static void what_turns_is_what_carries_the_scores(void **state) {
    loses_less(*state, with_one_pair(*state, GQA, 1), 4, 1e-4);
}

/* One of the two pairs stands still: 15 positions turn it by 0.0015. */
static void what_hardly_turns_may_stand_still(void **state) {
    loses_less(*state, with_one_pair(*state, GQA "rope_theta=1e6", 2), 2, 1e-4);
}

/* Without RoPE nothing is lost by positions; keys and values of 2 heads of 6 are 24 numbers made of 16. */
static void a_latent_as_wide_as_what_it_is_made_of_loses_nothing(void **state) {
    static const char *const models[] = {GQA "position=none", GQA "position=none attention_bias=true"};
    for (int i = 0; i < 2; i++) {
        mla_decoder *model = original(*state, models[i]);
        mla_to_latent_options o = with_text();
        mla_conversion_report r;
        o.latent = (mla_ints){.count = 1, .items = {17}};
        mla_decoder *out = convert(*state, model, &o, &r);
        assert_int_equal(out->config.kv_lora_rank, 17);
        assert_true(mla_neutral_norm_of_latent(mla_latent_layer_at(out, 1)));
        const double error = difference(*state, out, model);
        if (!(error < 1e-4)) fail_msg("%g", error);
        mla_decoder_destroy(out);
        mla_decoder_destroy(model);
    }
}

static void a_narrower_latent_loses_more(void **state) {
    mla_decoder *model = original(*state, GQA "qk_norm=true");
    mla_to_latent_options o = with_text();
    mla_conversion_report r;
    double last = 0;
    o.rope_dim = 4;
    for (int64_t rank = 16; rank >= 4; rank /= 2) {
        o.latent = (mla_ints){.count = 1, .items = {rank}};
        mla_decoder_destroy(convert(*state, model, &o, &r));
        assert_int_equal(r.stage[MLA_STAGE_LATENT].bytes_per_token, 2 * 4 * (rank + 4));
        assert_true(r.last == MLA_STAGE_LATENT && r.stage[MLA_STAGE_LATENT].divergence > last);
        last = r.stage[MLA_STAGE_LATENT].divergence;
    }
    mla_decoder_destroy(model);
}

/* mla rank on the result: growing and the same rank change no logit. */
static void a_neutral_latent_can_change_its_rank(void **state) {
    mla_decoder *model = original(*state, GQA "position=none attention_bias=true"), *wider;
    mla_conversion_report r;
    mla_latent_rank_report changed;
    mla_decoder *out = convert(*state, model, &(mla_to_latent_options){0}, &r);
    mla_latent_rank_options o = {.latent = {.count = 1, .items = {25}}};
    check_ok(*state, mla_change_latent_rank(out, &o, &wider, &changed));
    assert_true(difference(*state, wider, model) < 2e-6);
    mla_decoder_destroy(wider);
    o.latent.items[0] = 1;
    check_error(*state, mla_change_latent_rank(out, &o, &wider, &changed), MLA_ERROR_ARGUMENT, "must be 2 to");
    mla_decoder_destroy(out);
    mla_decoder_destroy(model);
}

static void a_stage_that_loses_too_much_is_refused(void **state) {
    mla_decoder *model = original(*state, GQA);
    mla_to_latent_options o = with_text();
    mla_conversion_report r;
    o.rope_dim = 2;
    o.max_loss = 1e-5;
    mla_decoder *out = convert(*state, model, &o, &r);
    assert_int_equal(r.last, MLA_STAGE_EXACT);
    assert_int_equal(r.refused, MLA_STAGE_ROTARY);
    assert_true(difference(*state, out, model) < 2e-6);
    mla_decoder_destroy(out);
    mla_decoder_destroy(model);
}

/* Both to do it and to plan it. */
static void refuse(mla_context *context, const char *kind, const mla_to_latent_options *o, const char *words) {
    mla_decoder *model = original(context, kind), *out;
    mla_conversion_report r;
    check_error(context, mla_to_latent_plan(model, o, &r), MLA_ERROR_ARGUMENT, words);
    check_error(context, mla_to_latent(model, o, &out, &r), MLA_ERROR_ARGUMENT, words);
    assert_null(out);
    mla_decoder_destroy(model);
}

static void refuses_what_does_not_fit(void **state) {
    mla_to_latent_options o = with_text();
    refuse(*state, "", &o, "latent already");
    o.rope_dim = 3;
    refuse(*state, GQA, &o, "must be even and at most 12");
    o.rope_dim = 14;
    refuse(*state, GQA, &o, "must be even and at most 12");
    o.rope_dim = 2;
    refuse(*state, GQA "position=none", &o, "no RoPE");
    o.fold = 2;
    refuse(*state, GQA, &o, "does not divide the 3 frequencies");
    o = with_text();
    o.budget = 100;
    refuse(*state, GQA, &o, "needs --rope-dim");
    o.rope_dim = 4;
    o.calibrate.text = NULL;
    refuse(*state, GQA, &o, "--calibrate TEXT");
    o = with_text();
    o.calibrate.tokens = 20;
    refuse(*state, GQA, &o, "give more");
}

/* Before anything is measured, and by a plan too: two layers of 4 rotary rows and latents of 21. */
static void refuses_latents_that_do_not_fit(void **state) {
    mla_to_latent_options o = with_text();
    o.rope_dim = 4;
    o.budget = 32;
    refuse(*state, GQA, &o, "the rotary keys alone (qk_rope_head_dim 4) take 32 per token, and 48 with ranks of 2");
    o.budget = 40;
    refuse(*state, GQA, &o, "takes 200 per token now, and 48 with ranks of 2");
    o.budget = 200;
    refuse(*state, GQA, &o, "takes 200 per token now");
    o.latent = (mla_ints){.count = 1, .items = {8}};
    refuse(*state, GQA, &o, "give the ranks, or a budget");
    o.budget = 0;
    o.latent.items[0] = 1;
    refuse(*state, GQA, &o, "a latent of rank 1: it must be 2 to");
    o.latent = (mla_ints){.count = 3, .items = {8, 8, 8}};
    refuse(*state, GQA, &o, "3 ranks for 2 layers");
}

static void refuses_what_would_have_no_effect(void **state) {
    mla_to_latent_options o = {.max_loss = 0.1};
    refuse(*state, GQA, &o, "without text no loss is measured");
    o.fold_norms = true;
    refuse(*state, GQA "qk_norm=true", &o, "text that tells how large heads are: --calibrate TEXT");
    refuse(*state, GQA, &o, "no norms of heads (qk_norm: false) to fold");
    o = with_text();
    o.fold = 3;
    refuse(*state, GQA, &o, "give a --rope-dim below 12");
    o.rope_dim = 12;
    refuse(*state, GQA, &o, "give a --rope-dim below 12");
}

/* What labels has no loss on text; the exact stage needs none. */
static void labels_are_for_the_exact_stage(void **state) {
    static const char *const kind = GQA "head=sequence num_labels=3";
    const mla_to_latent_options o = with_text();
    mla_conversion_report r;
    refuse(*state, kind, &o, "the model's head labels (sequence)");
    mla_decoder *model = original(*state, kind);
    mla_decoder_destroy(convert(*state, model, &(mla_to_latent_options){0}, &r));
    mla_decoder_destroy(model);
}

static void refuses_values_that_are_no_numbers(void **state) {
    mla_decoder *model = original(*state, GQA), *out;
    mla_conversion_report r;
    ((float *)mla_params_find(model->params, "model.layers.1.self_attn.k_proj.weight")->tensor.data)[3] = NAN;
    check_error(*state, mla_to_latent(model, &(mla_to_latent_options){0}, &out, &r), MLA_ERROR_ARGUMENT,
                "model.layers.1.self_attn.k_proj.weight has values that are no numbers");
    mla_decoder_destroy(model);
}

static void memory_may_end_anywhere(void **state) {
    mla_context *context = *state;
    mla_decoder *model = original(context, GQA "num_hidden_layers=1 qk_norm=true"), *out;
    mla_to_latent_options o = with_text();
    mla_conversion_report r;
    o.fold_norms = true;
    o.calibrate.tokens = 3 * 16;
    o.rope_dim = 4;
    o.latent = (mla_ints){.count = 1, .items = {5}};
    bool failed = allocations_can_be_watched();
    for (int64_t n = 1; failed; n += 1 + n / 16) {
        allocations_watch(n);
        const mla_status status = mla_to_latent(model, &o, &out, &r);
        failed = allocations_stop().failed;
        assert_true(failed ? status == MLA_ERROR_MEMORY || status == MLA_ERROR_LIBRARY : !status);
        assert_true(!failed == !!out);
        mla_clear_error(context);
        mla_decoder_destroy(out);
    }
    mla_decoder_destroy(model);
}

static int create(void **state) {
    fill_ids(TOKENS, tokens);
    return create_context(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_first_stage_is_exact),
                                       cmocka_unit_test(the_report_says_so),
                                       cmocka_unit_test(norms_that_do_not_vary_fold_exactly),
                                       cmocka_unit_test(folding_norms_is_a_stage_of_its_own),
                                       cmocka_unit_test(a_basis_leaves_scores_as_they_were),
                                       cmocka_unit_test(fewer_rows_turn),
                                       cmocka_unit_test(what_turns_is_what_carries_the_scores),
                                       cmocka_unit_test(what_hardly_turns_may_stand_still),
                                       cmocka_unit_test(a_latent_as_wide_as_what_it_is_made_of_loses_nothing),
                                       cmocka_unit_test(a_narrower_latent_loses_more),
                                       cmocka_unit_test(a_neutral_latent_can_change_its_rank),
                                       cmocka_unit_test(a_stage_that_loses_too_much_is_refused),
                                       cmocka_unit_test(refuses_what_does_not_fit),
                                       cmocka_unit_test(refuses_latents_that_do_not_fit),
                                       cmocka_unit_test(refuses_what_would_have_no_effect),
                                       cmocka_unit_test(labels_are_for_the_exact_stage),
                                       cmocka_unit_test(refuses_values_that_are_no_numbers),
                                       cmocka_unit_test(memory_may_end_anywhere)};
    return cmocka_run_group_tests(tests, create, destroy_context);
}
