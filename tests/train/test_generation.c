/* Generation: the absorbed form, the expanded form and the full forward pass say the same, 500 tokens far;
 * where a text ends; what a seed means; what is refused. */
#include "optim/adamw.h"
#include "tests/support/allocations.h"
#include "tests/support/check.h"
#include "tests/support/small_model.h"
#include "train/inference/generation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { V = 97, POSITIONS = 512, TOKENS = 500 };

static const int32_t prompt[] = {3, 1, 4, 1, 5, 9, 2, 6};
enum { PROMPT = sizeof prompt / sizeof *prompt };

/* ---- models: small, and with weights so large that every part matters to the result */

/* As JSON: `sizes`, one of `latent` and `heads`, and what else the variant says. */
static const char sizes[] = "'vocab_size': 97, 'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 2,"
                            "'num_attention_heads': 4, 'max_position_embeddings': 512, 'initializer_range': 0.25,";
static const char latent[] = "'kv_lora_rank': 12, 'qk_nope_head_dim': 8, 'qk_rope_head_dim': 4, 'v_head_dim': 6,";
static const char unturned[] = "'kv_lora_rank': 12, 'qk_nope_head_dim': 8, 'qk_rope_head_dim': 0, 'v_head_dim': 6,";
static const char heads[] = "'attention': 'multi_head', 'head_dim': 8,";

#define YARN                                                                                             \
    "'rope_scaling': {'type': 'yarn', 'factor': 8, 'original_max_position_embeddings': 64, 'mscale': 1," \
    "'mscale_all_dim': 0.8}"

/* Turned by other angles from the token on that outgrows the original length. */
#define LONGROPE(shorter, longer)                                                                          \
    "'rope_scaling': {'type': 'longrope', 'original_max_position_embeddings': 400, 'attention_factor': 1," \
    "'short_factor': [" shorter "], 'long_factor': [" longer "]}"

static const struct {
    const char *name, *kind, *rest;
} variants[] = {{"latent, no position, no norm", unturned, "'position': 'none', 'latent_norm': false"},
                {"latent, no position, norm", unturned, "'position': 'none'"},
                {"latent, learned positions", unturned, "'position': 'learned', 'norm': 'layernorm'"},
                {"latent, rope", latent, "'latent_norm': false"},
                {"latent, rope by halves, norm", latent, "'rope_interleave': false"},
                {"latent, query rank, rope", latent, "'q_lora_rank': 10"},
                {"latent, query rank, YaRN, biases", latent, "'q_lora_rank': 10, 'attention_bias': true, " YARN},
                {"latent, YaRN, tied", latent, "'tie_word_embeddings': true, " YARN},
                {"latent, LongRoPE", latent, LONGROPE("1,1.5", "2,3")},
                {"grouped, LongRoPE", heads, "'num_key_value_heads': 2," LONGROPE("1,1,2,1.5", "5,3,2,8")},
                {"multi-head, rope", heads, "'num_key_value_heads': 4"},
                {"grouped, YaRN", heads, "'num_key_value_heads': 2, " YARN},
                {"one key head, learned positions", heads, "'num_key_value_heads': 1, 'position': 'learned'"}};
enum { VARIANTS = sizeof variants / sizeof *variants, WITH_ROPE = 3, WITH_ALL = 6 };

static mla_model_config config_of(mla_context *context, int i) {
    mla_model_config config;
    char json[1024];
    snprintf(json, sizeof json, "{%s%s%s}", sizes, variants[i].kind, variants[i].rest);
    for (char *quote = json; (quote = strchr(quote, '\''));) *quote = '"';
    check_ok(context, mla_model_config_parse_json(context, variants[i].name, json, &config, NULL));
    return config;
}

static mla_decoder *make_model(mla_context *context, const mla_model_config *config) {
    mla_decoder *model;
    check_ok(context, mla_decoder_create(context, &model, config));
    check_ok(context, mla_params_allocate(model->params, true));
    mla_params_initialise(model->params, 11);
    return model;
}

static mla_decoder *make_variant(mla_context *context, int i) {
    const mla_model_config config = config_of(context, i);
    return make_model(context, &config);
}

/* A few steps on a text of which each token follows from the one before it. */
static void train(mla_context *context, mla_decoder *model, int steps) {
    enum { B = 4, T = 32 };
    const int64_t shape[] = {B, T};
    const mla_adamw_options options = {0.9f, 0.95f, 1e-8f, 0.1f};
    mla_adamw_state moments;
    mla_tape *tape;
    check_ok(context, mla_adamw_state_allocate(context, &moments, model->params));
    check_ok(context, mla_tape_create(context, &tape, NULL));
    for (int step = 0; step < steps; step++) {
        int32_t ids[B * T], targets[B * T];
        for (int i = 0; i < B * T; i++) {
            ids[i] = (step * 7 + i * i) % V;
            targets[i] = (ids[i] * 5 + 3) % V;
        }
        mla_params_clear_gradients(model->params);
        mla_tape_begin(tape, &(mla_step){.training = true});
        check_ok(context,
                 mla_backward(tape, language_loss(tape, model, mla_input(tape, MLA_I32, 2, shape, ids),
                                                  mla_input(tape, MLA_I32, 2, shape, targets), 1.0f / (B * T), NULL)));
        mla_adamw_step(&moments, model->params, &options, 3e-3f, 1);
    }
    mla_tape_destroy(tape);
    mla_adamw_state_free(&moments);
}

/* ---- what was generated */

typedef struct {
    int32_t ids[TOKENS];
    float logits[TOKENS][V];
    int64_t count;
} text;

static mla_status keep(void *user, int32_t id, const float *logits) {
    text *t = user;
    t->ids[t->count] = id;
    memcpy(t->logits[t->count++], logits, sizeof *t->logits);
    return MLA_OK;
}

static mla_generation generate(mla_context *context, const mla_decoder *model, mla_generation_options options,
                               text *out) {
    mla_generation result;
    out->count = 0;
    options.prompt = options.prompt ? options.prompt : prompt;
    options.prompt_count = options.prompt_count ? options.prompt_count : PROMPT;
    options.token = keep;
    options.user = out;
    check_ok(context, mla_generate(context, model, &options, &result));
    assert_int_equal(result.tokens, out->count);
    return result;
}

static int distinct(const text *t) {
    bool seen[V] = {0};
    int count = 0;
    for (int64_t i = 0; i < t->count; i++) {
        count += !seen[t->ids[i]];
        seen[t->ids[i]] = true;
    }
    return count;
}

/* ---- the three forms */

static void compare(const char *name, const char *form, const text *a, const text *b) {
    for (int i = 0; i < TOKENS; i++) {
        const double error = relative_error(V, a->logits[i], b->logits[i]);
        if (!(error < 1e-4)) fail_msg("%s, %s: the logits of token %d are off by %g", name, form, i, error);
        if (a->ids[i] != b->ids[i]) fail_msg("%s, %s: token %d is %d, not %d", name, form, i, a->ids[i], b->ids[i]);
    }
}

/* What one pass over the whole text says after each of its beginnings, and would have chosen. As no position
 * sees those after it, this is what passes over all the beginnings say. */
static void read_again(mla_context *context, const mla_decoder *model, const text *t, text *out) {
    int32_t ids[PROMPT + TOKENS];
    mla_tape *tape;
    memcpy(ids, prompt, sizeof prompt);
    memcpy(ids + PROMPT, t->ids, sizeof t->ids);
    check_ok(context, mla_tape_create(context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){.inference = true});
    mla_tensor *in = mla_input(tape, MLA_I32, 2, (int64_t[]){1, PROMPT + TOKENS}, ids);
    const mla_tensor *logits = mla_decoder_logits(tape, model, in, NULL);
    check_ok(context, mla_error_status(context));
    memcpy(out->logits, (const float *)logits->data + (PROMPT - 1) * V, sizeof out->logits);
    for (int i = 0; i < TOKENS; i++)
        check_ok(context, mla_sample(context, &(mla_sampling){0}, out->logits[i], V, i, NULL, &out->ids[i]));
    mla_tape_destroy(tape);
}

static void compare_forms(mla_context *context, const char *name, const mla_decoder *model, bool each_full) {
    text *absorbed = malloc(sizeof *absorbed), *other = malloc(sizeof *other);
    generate(context, model, (mla_generation_options){.tokens = TOKENS}, absorbed);
    assert_int_equal(absorbed->count, TOKENS);
    if (distinct(absorbed) < 10)
        fail_msg("%s: only %d different tokens: this compares little", name, distinct(absorbed));
    read_again(context, model, absorbed, other);
    compare(name, "one full pass", other, absorbed);
    generate(context, model, (mla_generation_options){.tokens = TOKENS, .form = MLA_DECODE_EXPANDED}, other);
    compare(name, "expanded", other, absorbed);
    if (each_full) generate(context, model, (mla_generation_options){.tokens = TOKENS, .form = MLA_DECODE_FULL}, other);
    compare(name, "a full pass for each", other, absorbed);
    free(absorbed);
    free(other);
}

static void compare_each_length(mla_context *context, const char *name, const mla_decoder *model) {
    text *absorbed = malloc(sizeof *absorbed), *other = malloc(sizeof *other);
    generate(context, model, (mla_generation_options){.tokens = TOKENS}, absorbed);
    assert_true(distinct(absorbed) >= 10);
    generate(context, model, (mla_generation_options){.tokens = TOKENS, .form = MLA_DECODE_EXPANDED}, other);
    compare(name, "expanded", other, absorbed);
    generate(context, model, (mla_generation_options){.tokens = TOKENS, .form = MLA_DECODE_FULL}, other);
    compare(name, "a full pass for each", other, absorbed);
    free(absorbed);
    free(other);
}

/* One full pass turns all by the longer text's angles; each text of its own length has to be read by itself. */
static void all_forms_agree(void **state) {
    for (int i = 0; i < VARIANTS; i++) {
        mla_decoder *model = make_variant(*state, i);
        if (model->rope.original) compare_each_length(*state, variants[i].name, model);
        else compare_forms(*state, variants[i].name, model, false);
        mla_decoder_destroy(model);
    }
}

static void all_forms_agree_after_training(void **state) {
    mla_decoder *model = make_variant(*state, WITH_ALL);
    train(*state, model, 60);
    compare_forms(*state, "trained", model, true);
    mla_decoder_destroy(model);
}

/* ---- where it ends, and what a seed means */

static void it_ends_where_it_should(void **state) {
    mla_context *context = *state;
    mla_decoder *model = make_variant(context, WITH_ROPE);
    text *first = malloc(sizeof *first), *again = malloc(sizeof *again);
    int32_t long_prompt[POSITIONS - 5] = {0};
    mla_generation result = generate(context, model, (mla_generation_options){.tokens = 20}, first);
    assert_int_equal(result.end, MLA_END_TOKENS);
    assert_int_equal(result.tokens, 20);
    int64_t place = 0;
    while (first->ids[place] != first->ids[7]) place++;
    result = generate(context, model, (mla_generation_options){.tokens = 20, .ending = &first->ids[7]}, again);
    assert_int_equal(result.end, MLA_END_SEPARATOR);
    assert_int_equal(result.tokens, place);
    result = generate(context, model,
                      (mla_generation_options){.prompt = long_prompt, .prompt_count = POSITIONS - 5, .tokens = 20},
                      again);
    assert_int_equal(result.end, MLA_END_POSITIONS);
    assert_int_equal(result.tokens, 5);
    result = generate(context, model, (mla_generation_options){.tokens = 0}, again);
    assert_int_equal(result.tokens, 0);
    mla_decoder_destroy(model);
    free(first);
    free(again);
}

static void a_seed_means_one_text(void **state) {
    mla_context *context = *state;
    mla_decoder *model = make_variant(context, WITH_ROPE);
    text *first = malloc(sizeof *first), *again = malloc(sizeof *again);
    const mla_sampling sampling = {.temperature = 5, .top_p = 0.9, .seed = 3};
    generate(context, model, (mla_generation_options){.tokens = 60, .sampling = sampling}, first);
    assert_true(distinct(first) > 10);
    generate(context, model, (mla_generation_options){.tokens = 60, .sampling = sampling, .form = MLA_DECODE_FULL},
             again);
    assert_memory_equal(first->ids, again->ids, 60 * sizeof *first->ids);

    /* the same from its middle on */
    int32_t longer[PROMPT + 30];
    memcpy(longer, prompt, sizeof prompt);
    memcpy(longer + PROMPT, first->ids, 30 * sizeof *longer);
    generate(
        context, model,
        (mla_generation_options){.prompt = longer, .prompt_count = PROMPT + 30, .tokens = 30, .sampling = sampling},
        again);
    assert_memory_equal(first->ids + 30, again->ids, 30 * sizeof *first->ids);

    generate(context, model, (mla_generation_options){.tokens = 60, .sampling = {5, 0, 0.9, 4, 0}}, again);
    assert_memory_not_equal(first->ids, again->ids, 60 * sizeof *first->ids);
    generate(context, model, (mla_generation_options){.tokens = 60, .sampling = {5, 0, 1, 3, 0}, .vocabulary = 10},
             again);
    for (int i = 0; i < 60; i++) assert_true(again->ids[i] < 10);

    /* so hot that the logits do not matter: what varies is the randomness of each position */
    generate(context, model, (mla_generation_options){.tokens = 60, .sampling = {.temperature = 1e9}}, again);
    assert_true(distinct(again) > 30);
    mla_decoder_destroy(model);
    free(first);
    free(again);
}

/* ---- what is refused */

static mla_status stop_after_three(void *user, int32_t id, const float *logits) {
    (void)id;
    (void)logits;
    return ++*(int *)user == 3 ? MLA_ERROR_STOPPED : MLA_OK;
}

static void wrong_use_is_refused(void **state) {
    mla_context *context = *state;
    mla_model_config open_config = config_of(context, 0);
    mla_decoder *model = make_variant(context, WITH_ROPE);
    const int32_t wrong[] = {5, V};
    int32_t long_prompt[POSITIONS] = {0};
    int seen = 0;
    mla_generation result;
    const struct {
        mla_generation_options options;
        const char *words;
    } cases[] = {
        {{.prompt = prompt, .tokens = 5}, "the prompt has no token"},
        {{.prompt = long_prompt, .prompt_count = POSITIONS, .tokens = 5}, "has 512 tokens, and the model has 512"},
        {{.prompt = prompt, .prompt_count = PROMPT, .tokens = -1}, "-1 tokens"},
        {{.prompt = prompt, .prompt_count = PROMPT, .tokens = 5, .vocabulary = V + 1}, "a vocabulary of 98"},
        {{.prompt = prompt, .prompt_count = PROMPT, .tokens = 5, .sampling = {.temperature = -1}}, "temperature"},
        {{.prompt = wrong, .prompt_count = 2, .tokens = 5}, "97"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_error(context, mla_generate(context, model, &cases[i].options, &result), MLA_ERROR_ARGUMENT,
                    cases[i].words);
    const mla_generation_options stopped = {
        .prompt = prompt, .prompt_count = PROMPT, .tokens = 9, .token = stop_after_three, .user = &seen};
    assert_int_equal(mla_generate(context, model, &stopped, &result), MLA_ERROR_STOPPED);
    assert_int_equal(seen, 3);
    mla_decoder_destroy(model);
    open_config.causal = false;
    model = make_model(context, &open_config);
    check_error(context,
                mla_generate(context, model,
                             &(mla_generation_options){.prompt = prompt, .prompt_count = 1, .tokens = 1}, &result),
                MLA_ERROR_ARGUMENT, "without a mask");
    mla_decoder_destroy(model);
}

static void every_allocation_may_fail(void **state) {
    if (!allocations_can_be_watched()) skip();
    mla_decoder *model = make_variant(*state, WITH_ROPE);
    const mla_generation_options options = {.prompt = prompt, .prompt_count = PROMPT, .tokens = 4};
    allocation_count count = {.failed = true};
    int64_t n;
    for (n = 1; count.failed; n++) {
        mla_generation result;
        allocations_watch(n);
        const mla_status status = mla_generate(*state, model, &options, &result);
        count = allocations_stop();
        if (count.failed != (status == MLA_ERROR_MEMORY || status == MLA_ERROR_LIBRARY))
            fail_msg("allocation %lld: the status is \"%s\"", (long long)n, mla_status_name(status));
        mla_clear_error(*state);
    }
    assert_true(n > 10);
    mla_decoder_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_forms_agree),         cmocka_unit_test(all_forms_agree_after_training),
        cmocka_unit_test(it_ends_where_it_should), cmocka_unit_test(a_seed_means_one_text),
        cmocka_unit_test(wrong_use_is_refused),    cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, create_one_thread, destroy_context);
}
