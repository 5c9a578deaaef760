/* Changes of rank of whole models: what is chosen, what is reported, what is refused. */
#include "layers/adapt/latent_rank.h"
#include "tests/support/allocations.h"
#include "tests/support/layercheck.h"
#include "tests/support/small_model.h"
#include "train/convert/latent_rank.h"
#include "train/run/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 500 };

static int32_t tokens[TOKENS];
static const mla_token_stream text = {.count = TOKENS, .wide = tokens};

static mla_latent_rank_options options_of(mla_context *context, const char *ranks) {
    static const mla_field field = {"latent", MLA_FIELD_INTS, offsetof(mla_latent_rank_options, latent), .help = ""};
    static const mla_field_table table = {&field, 1, sizeof(mla_latent_rank_options)};
    mla_latent_rank_options o = {.text = &text, .sequence = 16, .tokens = TOKENS};
    check_ok(context, mla_fields_set(context, "", &table, &o, "latent", ranks));
    return o;
}

static mla_decoder *change(mla_context *context, mla_decoder *model, const mla_latent_rank_options *o,
                           mla_latent_rank_report *report) {
    mla_decoder *out;
    check_ok(context, mla_change_latent_rank(model, o, &out, report));
    assert_non_null(out);
    return out;
}

static void ranks_become_what_was_asked(void **state) {
    mla_decoder *model = small_decoder(*state, "");
    mla_latent_rank_report r;
    mla_latent_rank_options o = options_of(*state, "5,9");
    mla_decoder *out = change(*state, model, &o, &r);
    assert_int_equal(mla_latent_layer_at(out, 0)->kv_b_proj.weight->shape[1], 5);
    assert_int_equal(mla_latent_layer_at(out, 1)->kv_a_norm.gain->shape[0], 9);
    assert_int_equal(r.bytes_per_token[0], 4 * 2 * (7 + 4));
    assert_int_equal(r.bytes_per_token[1], 4 * (5 + 4 + 9 + 4));
    assert_int_equal(r.calibrated + r.left_out, 31 * 16); /* 499 / 16 sequences */
    assert_int_equal(r.left_out, 10 * 16);
    assert_true(r.layer[0].error > 1e-4 && r.layer[0].error < 1 && r.layer[1].error < 1e-6);
    assert_true(fabs(r.loss[1] - r.loss[0]) < 0.1 && r.loss[0] != r.loss[1] && r.loss[0] > 1);
    assert_true(fabs(r.calibration_loss[1] - r.calibration_loss[0]) < 0.1 && r.calibration_loss[0] > 1);
    assert_null(mla_latent_layer_at(model, 0)->probe);
    mla_decoder_destroy(out);
    mla_decoder_destroy(model);
}

static void every_third_window_is_left_out(void **state) {
    mla_decoder *model = small_decoder(*state, "");
    mla_latent_rank_report r;
    mla_tape *tape;
    mla_latent_rank_options o = options_of(*state, "5");
    double sums[2] = {0};
    mla_evaluation_sums sum;
    mla_decoder_destroy(change(*state, model, &o, &r));
    check_ok(*state, mla_tape_create(*state, &tape, NULL));
    for (int64_t i = 0; i < 31; i++) {
        check_ok(*state, mla_evaluate_windows(tape, model, &(mla_evaluation_data){&text, NULL, 1, 16, MLA_F32}, i,
                                              i + 1, &sum));
        sums[i % 3 == 2] += sum.loss;
    }
    check_close(r.calibration_loss[0], sums[0] / (21 * 16), 1e-5);
    check_close(r.loss[0], sums[1] / (10 * 16), 1e-5);
    mla_tape_destroy(tape);
    mla_decoder_destroy(model);
}

static void equal_ranks_are_one(void **state) {
    mla_decoder *model = small_decoder(*state, "kv_lora_ranks=7,9");
    mla_latent_rank_report r;
    mla_latent_rank_options o = options_of(*state, "9");
    o.text = NULL; /* to grow, none is needed, and then nothing is measured */
    mla_decoder *out = change(*state, model, &o, &r);
    assert_int_equal(out->config.kv_lora_ranks.count, 0);
    assert_int_equal(out->config.kv_lora_rank, 9);
    assert_true(isnan(r.loss[0]) && isnan(r.layer[0].error));
    mla_decoder_destroy(out);
    mla_decoder_destroy(model);
}

static const mla_tensor *logits_of(mla_tape *tape, const mla_decoder *model) {
    mla_tape_begin(tape, &(mla_step){.inference = true});
    return mla_decoder_logits(tape, model, mla_input(tape, MLA_I32, 2, (int64_t[]){8, 16}, tokens), NULL);
}

static void growing_changes_no_logit(void **state) {
    static float before[8 * 16 * SMALL_VOCABULARY];
    mla_decoder *model = small_decoder(*state, "num_hidden_layers=4");
    mla_latent_rank_report r;
    mla_tape *tape;
    mla_latent_rank_options o = options_of(*state, "12,7,16,9");
    mla_decoder *out = change(*state, model, &o, &r);
    check_ok(*state, mla_tape_create(*state, &tape, NULL));
    memcpy(before, logits_of(tape, model)->data, sizeof before);
    const float *after = logits_of(tape, out)->data;
    check_ok(*state, mla_error_status(*state));
    for (size_t i = 0; i < sizeof before / sizeof *before; i++)
        assert_true(fabs((double)after[i] - (double)before[i]) <= 1e-5);
    mla_tape_destroy(tape);
    mla_decoder_destroy(out);
    mla_decoder_destroy(model);
}

/* Layer 1 has use for a single direction of its latent, layer 0 for all of them. */
static void a_budget_goes_where_it_is_needed(void **state) {
    mla_decoder *model = small_decoder(*state, "");
    float *kv_b = mla_latent_layer_at(model, 1)->kv_b_proj.weight->data;
    mla_latent_rank_report r;
    for (int i = 0; i < 4 * (5 + 6); i++)
        for (int j = 1; j < 7; j++) kv_b[i * 7 + j] = 0;
    mla_latent_rank_options o = options_of(*state, "");
    o.budget = 4 * (6 + 4 + 1 + 4) + 3; /* what is left over buys nothing */
    mla_decoder *out = change(*state, model, &o, &r);
    assert_int_equal(r.layer[0].after, 6);
    assert_int_equal(r.layer[1].after, 1);
    mla_decoder_destroy(out);
    mla_decoder_destroy(model);
}

static void the_text_serves_better_than_the_weights(void **state) {
    mla_decoder *model = small_decoder(*state, "num_hidden_layers=1");
    mla_latent_rank_report with, without;
    mla_latent_rank_options o = options_of(*state, "4");
    mla_decoder_destroy(change(*state, model, &o, &with));
    o.method = MLA_LATENT_RANK_SVD;
    mla_decoder_destroy(change(*state, model, &o, &without));
    if (!(with.layer[0].error < without.layer[0].error))
        fail_msg("error %g with text, %g without", with.layer[0].error, without.layer[0].error);
    mla_decoder_destroy(model);
}

static void models_that_stay_what_they_are_do_so_exactly(void **state) {
    static const char *const kinds[] = {"q_lora_rank=6 attention_bias=true", "latent_norm=false position=learned",
                                        "norm_position=post causal=false dropout=0.5"};
    for (int i = 0; i < 3; i++) {
        mla_decoder *model = small_decoder(*state, kinds[i]);
        mla_latent_rank_report r;
        mla_latent_rank_options o = options_of(*state, "7");
        mla_decoder *out = change(*state, model, &o, &r);
        assert_memory_equal(mla_params_values(out->params), mla_params_values(model->params),
                            (size_t)mla_params_values_length(model->params) * sizeof(float));
        assert_true(r.loss[0] == r.loss[1] && r.layer[0].error == 0);
        o = options_of(*state, "4");
        mla_decoder_destroy(out);
        mla_decoder_destroy(change(*state, model, &o, &r));
        assert_true(r.layer[0].error > 0 && r.layer[0].error < 1);
        mla_decoder_destroy(model);
    }
}

/* ---- what is refused ---- */

static void refuse(mla_context *context, const char *kind, const mla_latent_rank_options *o, const char *words) {
    mla_decoder *model = small_decoder(context, kind), *out;
    mla_latent_rank_report r;
    check_error(context, mla_change_latent_rank(model, o, &out, &r), MLA_ERROR_ARGUMENT, words);
    assert_null(out);
    mla_decoder_destroy(model);
}

static void refuses_what_does_not_fit(void **state) {
    static const struct {
        const char *kind, *ranks, *words;
    } cases[] = {
        {"attention=multi_head", "4", "has no latent (attention: multi_head)"},
        {"", "4,4,4", "3 ranks for 2 layers; give one for all, or one for each"},
        {"", "4,17", "a latent of rank 17: it must be 1 to 16, the width of what it is made of (hidden_size)"},
        {"num_attention_heads=1", "12", "it must be 1 to 11, the width of its keys and values"},
        {"max_position_embeddings=8", "4", "sequence 16: the model has 8 positions"},
        {"", "", "give the ranks, or a budget"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const mla_latent_rank_options o = options_of(*state, cases[i].ranks);
        refuse(*state, cases[i].kind, &o, cases[i].words);
    }
    mla_latent_rank_options o = options_of(*state, "");
    o.latent = (mla_ints){1, {0}};
    refuse(*state, "", &o, "a latent of rank 0: it must be 1 to 16");
    o = options_of(*state, "4");
    o.budget = 60;
    refuse(*state, "", &o, "give the ranks, or a budget");
    o.text = NULL;
    o.budget = 0;
    refuse(*state, "", &o, "a smaller rank needs text");
    o = options_of(*state, "");
    o.budget = 4 * (1 + 4) * 2 - 1;
    refuse(*state, "", &o, "takes 88 per token now, and 40 with ranks of 1; choose one between");
    o.budget = 88;
    refuse(*state, "", &o, "a budget of 88 bytes");
    o.method = MLA_LATENT_RANK_SVD;
    refuse(*state, "", &o, "a budget needs text");
}

static void refuses_too_little_text(void **state) {
    const mla_token_stream little = {.count = 3 * 16, .wide = tokens};
    mla_latent_rank_options o = options_of(*state, "4");
    o.text = &little;
    refuse(*state, "", &o, "has 48 tokens, of which at most 500 are used, but at least 3 sequences of 16 are needed");
    o = options_of(*state, "4");
    o.tokens = 40;
    refuse(*state, "", &o, "of which at most 40 are used");
}

static void refuses_models_that_compute_no_number(void **state) {
    mla_decoder *model = small_decoder(*state, ""), *out;
    mla_latent_rank_report r;
    const mla_latent_rank_options o = options_of(*state, "4");
    ((float *)mla_latent_layer_at(model, 1)->kv_a_proj.weight->data)[3] = NAN;
    check_error(*state, mla_change_latent_rank(model, &o, &out, &r), MLA_ERROR_ARGUMENT,
                "the loss of the model on the text is");
    assert_null(out);
    assert_null(mla_latent_layer_at(model, 0)->probe);
    mla_decoder_destroy(model);
}

static void memory_may_end_anywhere(void **state) {
    mla_context *context = *state;
    mla_decoder *model = small_decoder(context, "num_hidden_layers=1"), *out;
    mla_latent_rank_options o = options_of(context, "4");
    mla_latent_rank_report r;
    o.tokens = 3 * 16;
    bool failed = allocations_can_be_watched();
    for (int64_t n = 1; failed; n += 1 + n / 16) {
        allocations_watch(n);
        const mla_status status = mla_change_latent_rank(model, &o, &out, &r);
        failed = allocations_stop().failed;
        assert_true(failed ? status == MLA_ERROR_MEMORY || status == MLA_ERROR_LIBRARY : !status);
        assert_true(!failed == !!out);
        assert_null(mla_latent_layer_at(model, 0)->probe);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(ranks_become_what_was_asked),
                                       cmocka_unit_test(every_third_window_is_left_out),
                                       cmocka_unit_test(equal_ranks_are_one),
                                       cmocka_unit_test(growing_changes_no_logit),
                                       cmocka_unit_test(a_budget_goes_where_it_is_needed),
                                       cmocka_unit_test(the_text_serves_better_than_the_weights),
                                       cmocka_unit_test(models_that_stay_what_they_are_do_so_exactly),
                                       cmocka_unit_test(refuses_what_does_not_fit),
                                       cmocka_unit_test(refuses_too_little_text),
                                       cmocka_unit_test(refuses_models_that_compute_no_number),
                                       cmocka_unit_test(memory_may_end_anywhere)};
    return cmocka_run_group_tests(tests, create, destroy_context);
}
