/* Model configurations: defaults, what 0 stands for, bounds, JSON as Hugging Face writes it, unknown keys. */
#include "autograd/schema/nearest.h"
#include "layers/attention/latent_attention.h"
#include "layers/attention/multi_head_attention.h"
#include "layers/parts/config.h"
#include "tests/support/check.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mla_model_config valid(mla_context *context) {
    mla_model_config config;
    mla_model_config_default(context, &config);
    config.vocab_size = 1000;
    return config;
}

static void derives_head_widths(void **state) {
    mla_context *context = *state;
    mla_model_config config = valid(context);
    check_ok(context, mla_model_config_check(context, "", &config));
    assert_int_equal(config.qk_nope_head_dim, 64);
    assert_int_equal(config.v_head_dim, 64);
    config = valid(context);
    config.attention = &mla_multi_head_kind;
    check_ok(context, mla_model_config_check(context, "", &config));
    assert_int_equal(config.head_dim, 64);
    assert_int_equal(config.num_key_value_heads, 4);
}

/* One wrong member per row: the message names the key, the value and the remedy. */
static void refuses_what_does_not_fit(void **state) {
    mla_context *context = *state;
    static const struct {
        const char *keys[3], *values[3], *message;
    } cases[] = {
        {{"num_attention_heads"}, {"3"}, "m.num_attention_heads: 3 heads do not divide hidden_size 256"},
        {{"attention", "num_attention_heads"}, {"multi_head", "3"}, "do not divide hidden_size 256"},
        {{"attention", "num_key_value_heads"}, {"multi_head", "3"}, "3 does not divide num_attention_heads 4"},
        {{"qk_rope_head_dim"}, {"7"}, "m.qk_rope_head_dim: 7, but rotary pairs need an even width"},
        {{"qk_rope_head_dim"}, {"0"}, "set position to learned or none"},
        {{"position"}, {"learned"}, "m.qk_rope_head_dim: 32, but position is learned"},
        {{"attention", "head_dim"}, {"multi_head", "5"}, "m.head_dim: 5, but rotary pairs"},
        {{"attention_dropout"}, {"0.1"}, "attention_dropout: 0.1 is not supported"},
        {{"rope_scaling.type", "rope_scaling.beta_fast"},
         {"yarn", "1"},
         "beta_fast: 1 must be larger than beta_slow 1"},
        {{"rope_scaling.type", "rope_scaling.high_freq_factor"},
         {"llama3", "1"},
         "high_freq_factor: 1 must be larger than low_freq_factor 1"},
        {{"rope_scaling.type", "rope_scaling.short_factor"},
         {"longrope", "1,1.5"},
         "m.rope_scaling.short_factor: 2 numbers, there must be 16, half of the rotary width"},
        {{"rope_scaling.type"}, {"longrope"}, "short_factor: 0 numbers, there must be 16"},
        {{"kv_lora_ranks"}, {"64,32,16"}, "m.kv_lora_ranks: 3 ranks for 4 layers; give one for each"},
        {{"attention", "kv_lora_ranks"}, {"multi_head", "1,2,3,4"}, "kv_lora_ranks: attention is multi_head"},
        {{"rope_scaling.type", "position", "qk_rope_head_dim"}, {"yarn", "none", "0"}, "yarn, but position is none"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mla_model_config config = valid(context);
        for (int j = 0; j < 3 && cases[i].keys[j]; j++)
            check_ok(context,
                     mla_fields_set(context, "", &mla_model_fields, &config, cases[i].keys[j], cases[i].values[j]));
        check_error(context, mla_model_config_check(context, "m.", &config), MLA_ERROR_ARGUMENT, cases[i].message);
    }
    mla_model_config config = valid(context);
    config.vocab_size = 0;
    check_error(context, mla_model_config_check(context, "", &config), MLA_ERROR_ARGUMENT, "vocab_size: 0");
}

static void checks_bounds(void **state) {
    mla_context *context = *state;
    mla_model_config config = valid(context);
    config.kv_lora_rank = 0;
    check_error(context, mla_model_config_check(context, "", &config), MLA_ERROR_ARGUMENT,
                "kv_lora_rank: 0 is too small, it must be at least 1 (latent: width of the latent");
    config.kv_lora_rank = INT64_MAX;
    check_error(context, mla_model_config_check(context, "", &config), MLA_ERROR_ARGUMENT, "too large");
    config = valid(context);
    config.rope_scaling.factor = NAN;
    check_error(context, mla_model_config_check(context, "", &config), MLA_ERROR_ARGUMENT,
                "rope_scaling.factor: nan is not a finite number");
}

static void set_parses_what_users_write(void **state) {
    mla_context *context = *state;
    mla_model_config config = valid(context);
    static const struct {
        const char *key, *text, *message; /* no message: fine */
    } cases[] = {
        {"rope_theta", "1e6", NULL},
        {"causal", "no", NULL},
        {"hidden_act", "gelu_new", NULL},
        {"rope_scaling.rope_type", "yarn", NULL},
        {"hidden_size", "12x", "w hidden_size: expected a whole number, got \"12x\""},
        {"hidden_size", "", "expected a whole number, got \"\""},
        {"hidden_size", "1.5", "expected a whole number"},
        {"hidden_size", "99999999999999999999", "expected a whole number"},
        {"rope_theta", "fast", "rope_theta: expected a number, got \"fast\""},
        {"rope_theta", "inf", "inf is not a finite number"},
        {"causal", "maybe", "causal: expected true or false, got \"maybe\""},
        {"hidden_act", "swish", "expected one of silu, relu, gelu, gelu_new, got \"swish\""},
        {"rope_scaling", "yarn", "rope_scaling: expected a group of keys"},
        {"kv_rank", "1", "w unknown key \"kv_rank\"; did you mean \"kv_lora_rank\"?"},
        {"factor", "1", "did you mean \"rope_scaling.factor\"?"},
        {"rope_scaling.hidden_size", "1", "did you mean \"hidden_size\"?"},
        {"rope_scaling.zzzzzz", "1", "known here are: type, factor, original"},
        {"causal.x", "1", "unknown key \"causal.x\""},
        {"kv_lora_ranks", "16, 32,8", NULL},
        {"kv_lora_ranks", "16;32", "kv_lora_ranks: expected whole numbers with commas between, got \"16;32\""},
        {"kv_lora_ranks", "16,", "got \"16,\""},
        {"kv_lora_ranks", ",16", "got \",16\""},
        {"kv_lora_ranks", "16,,8", "got \"16,,8\""},
        {"kv_lora_ranks", "16,0", "kv_lora_ranks: 0 is too small"},
        {"kv_lora_ranks", "99999999999999999999", "expected whole numbers"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mla_status status = mla_fields_set(context, "w ", &mla_model_fields, &config, cases[i].key, cases[i].text);
        if (cases[i].message) check_error(context, status, MLA_ERROR_ARGUMENT, cases[i].message);
        else check_ok(context, status);
    }
    assert_int_equal(config.hidden_size, 256);
    assert_int_equal(config.hidden_act, MLA_ACT_GELU_NEW);
    assert_int_equal(config.rope_scaling.type, MLA_ROPE_SCALING_YARN);
    assert_false(config.causal);
    assert_int_equal(config.kv_lora_ranks.count, 3); /* those that are wrong change nothing */
    assert_int_equal(config.kv_lora_ranks.items[1], 32);
}

static void ranks_of_layers(void **state) {
    mla_context *context = *state;
    mla_model_config config = valid(context), again;
    check_ok(context, mla_fields_set(context, "", &mla_model_fields, &config, "kv_lora_ranks", "16,48,8,24"));
    check_ok(context, mla_model_config_check(context, "", &config));
    assert_int_equal(config.kv_lora_rank, 48);
    assert_int_equal(mla_model_config_latent_rank(&config, 2), 8);
    char *text = mla_model_config_json(context, &config);
    check_ok(context, mla_model_config_parse_json(context, "", text, &again, NULL));
    free(text);
    assert_int_equal(mla_model_config_latent_rank(&again, 3), 24);
    check_ok(context, mla_fields_set(context, "", &mla_model_fields, &config, "kv_lora_ranks", "32,32,32,32"));
    check_ok(context, mla_model_config_check(context, "", &config));
    assert_int_equal(config.kv_lora_ranks.count, 0); /* equal ranks are one */
    assert_int_equal(mla_model_config_latent_rank(&config, 3), 32);
}

static void longest_lists_fit(void **state) {
    mla_context *context = *state;
    char text[MLA_MOST_INTS * 2 + 3] = "";
    mla_model_config config = valid(context);
    for (int i = 0; i <= MLA_MOST_INTS; i++) strcat(text, i ? ",7" : "7");
    check_error(context, mla_fields_set(context, "", &mla_model_fields, &config, "kv_lora_ranks", text),
                MLA_ERROR_ARGUMENT, "expected whole numbers");
    text[MLA_MOST_INTS * 2 - 1] = '\0';
    check_ok(context, mla_fields_set(context, "", &mla_model_fields, &config, "kv_lora_ranks", text));
    assert_int_equal(config.kv_lora_ranks.count, MLA_MOST_INTS);
}

/* Every member of one configuration equals the other's, through the table. */
static void assert_same(mla_context *context, const mla_model_config *a, const mla_model_config *b) {
    char *left = mla_model_config_json(context, a), *right = mla_model_config_json(context, b);
    assert_non_null(left);
    assert_string_equal(left, right);
    free(left);
    free(right);
}

static void json_returns_the_same(void **state) {
    mla_context *context = *state;
    mla_model_config config = valid(context), again;
    config.rope_scaling = (mla_rope_scaling){MLA_ROPE_SCALING_YARN, 40, 4096, 32, 1, 0.707, 1.0 / 3, 0, 1, 4, {0}, {0}};
    config.rms_norm_eps = 1e-6;
    config.dropout = 0.1;
    check_ok(context, mla_model_config_check(context, "", &config));
    char *text = mla_model_config_json(context, &config);
    assert_non_null(text);
    check_ok(context, mla_model_config_parse_json(context, "", text, &again, NULL));
    assert_same(context, &config, &again);
    assert_true(again.rope_scaling.mscale_all_dim == 1.0 / 3);
    free(text);

    config = valid(context);
    text = mla_model_config_json(context, &config);
    assert_non_null(strstr(text, "\"q_lora_rank\": null"));
    assert_non_null(strstr(text, "\"rope_scaling\": null"));
    assert_non_null(strstr(text, "\"rope_theta\": 10000.0"));
    assert_non_null(strstr(text, "\"initializer_range\": 0.02,"));
    free(text);
}

/* As transformers 4 writes it for a DeepSeek-V2. */
static const char hugging_face[] =
    "{\"architectures\": [\"DeepseekV2ForCausalLM\"], \"attention_bias\": false, \"attention_dropout\": 0.0,"
    " \"hidden_act\": \"silu\", \"hidden_size\": 64, \"initializer_range\": 0.02, \"intermediate_size\": 96,"
    " \"kv_lora_rank\": 16, \"max_position_embeddings\": 256, \"model_type\": \"deepseek_v2\","
    " \"num_attention_heads\": 4, \"num_hidden_layers\": 2, \"num_key_value_heads\": 4, \"q_lora_rank\": "
    "null,"
    " \"qk_nope_head_dim\": 16, \"qk_rope_head_dim\": 8, \"rms_norm_eps\": 1e-05, \"rope_theta\": 10000,"
    " \"rope_scaling\": {\"rope_type\": \"yarn\", \"type\": \"yarn\", \"factor\": 4.0, \"mscale\": 1,"
    " \"mscale_all_dim\": 0.8, \"original_max_position_embeddings\": 64},"
    " \"tie_word_embeddings\": false, \"v_head_dim\": 16, \"vocab_size\": 128}";

static void reads_hugging_face_files(void **state) {
    mla_context *context = *state;
    mla_model_config config;
    mla_list ignored = {0};
    check_ok(context, mla_model_config_parse_json(context, "", hugging_face, &config, &ignored));
    assert_int_equal(config.q_lora_rank, 0);
    assert_int_equal(config.qk_nope_head_dim, 16);
    assert_int_equal(config.rope_scaling.type, MLA_ROPE_SCALING_YARN);
    check_close(config.rope_scaling.mscale_all_dim, 0.8, 0);
    check_close(config.rms_norm_eps, 1e-5, 0);
    assert_int_equal(ignored.count, 2);
    assert_string_equal(ignored.items[0], "architectures");
    assert_string_equal(ignored.items[1], "model_type");
    mla_list_free(&ignored);
    check_error(context, mla_model_config_parse_json(context, "c.json: ", hugging_face, &config, NULL),
                MLA_ERROR_ARGUMENT, "c.json: unknown key \"architectures\"");
}

static void refuses_wrong_json(void **state) {
    mla_context *context = *state;
    mla_model_config config;
    static const struct {
        const char *text, *message;
        mla_status status;
    } cases[] = {
        {"{\"hidden_size\": \"64\"}", "hidden_size: expected a whole number", MLA_ERROR_ARGUMENT},
        {"{\"hidden_size\": [64]}", "hidden_size: expected a whole number", MLA_ERROR_ARGUMENT},
        {"{\"hidden_act\": 1}", "hidden_act: expected one of silu", MLA_ERROR_ARGUMENT},
        {"{\"rope_scaling\": 1}", "rope_scaling: expected a group", MLA_ERROR_ARGUMENT},
        {"{\"rope_scaling\": {\"type\": \"dynamic\"}}",
         "expected one of none, yarn, llama3, linear, longrope, got \"dynamic\"", MLA_ERROR_ARGUMENT},
        {"{\"kv_lora_rank\": -4}", "kv_lora_rank: -4 is too small", MLA_ERROR_ARGUMENT},
        {"{\"kv_lora_ranks\": [8, 1.5]}", "kv_lora_ranks: expected whole numbers", MLA_ERROR_ARGUMENT},
        {"{\"kv_lora_ranks\": [8, -4]}", "kv_lora_ranks: -4 is too small", MLA_ERROR_ARGUMENT},
        {"{\"kv_lora_ranks\": \"8,4\"}", "kv_lora_ranks: expected whole numbers", MLA_ERROR_ARGUMENT},
        {"{\"vocab_size\": 9, \"kv_lora_ranks\": [8, 4]}", "kv_lora_ranks: 2 ranks for 4 layers", MLA_ERROR_ARGUMENT},
        {"[1]", "expected a JSON object", MLA_ERROR_FORMAT},
        {"{\"hidden_size\": 1,\n  2}", "not valid JSON: line 2, column 3: expected a key", MLA_ERROR_FORMAT},
        {"{", "not valid JSON", MLA_ERROR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_error(context, mla_model_config_parse_json(context, "", cases[i].text, &config, NULL), cases[i].status,
                    cases[i].message);
}

static void tables_are_sound(void **state) {
    mla_context *context = *state;
    mla_model_config config = valid(context);
    check_ok(context, mla_fields_check(context, "", &mla_model_fields, &config));
    for (int i = 0; i < mla_model_fields.count; i++) {
        const mla_field *field = &mla_model_fields.fields[i];
        assert_non_null(field->help);
        assert_true(field->offset < sizeof config);
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(field->key, mla_model_fields.fields[j].key);
            assert_int_not_equal(field->offset, mla_model_fields.fields[j].offset);
        }
    }
}

static void measures_distances(void **state) {
    (void)state;
    assert_int_equal(mla_word_distance("", "abc"), 3);
    assert_int_equal(mla_word_distance("kitten", "sitting"), 3);
    assert_int_equal(mla_word_distance("train", "train"), 0);
    assert_int_equal(mla_word_distance("tarin", "train"), 1);
    char longer[200];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(mla_word_distance(longer, ""), 63);
    mla_nearest nearest = {.word = "tarin"};
    mla_nearest_offer(&nearest, "generate");
    assert_null(nearest.best);
    mla_nearest_offer(&nearest, "train");
    assert_string_equal(nearest.best, "train");
    assert_int_equal(mla_word_slip("warmup", "warmup_steps"), 1);
    assert_int_equal(mla_word_slip("lr", "lr_ratio"), -1);
}

/* Whole numbers that are too large become real ones; strings and what is real already stay. */
static void reads_huge_numbers(void **state) {
    static const char text[] =
        "{\"a\": 1000000000000000019884624838656, \"b\": [\"\\\"1234567890123456789012\\\\\", 7],"
        " \"c\": 0.12345678901234567890123, \"d\": -12345678901234567890, \"e\": true}";
    json_t *json;
    check_ok(*state, mla_json_parse(*state, "", text, &json));
    check_close(json_real_value(json_object_get(json, "a")), 1e30, 1e-12);
    const json_t *list = json_object_get(json, "b");
    assert_string_equal(json_string_value(json_array_get(list, 0)), "\"1234567890123456789012\\");
    assert_int_equal(json_integer_value(json_array_get(list, 1)), 7);
    check_close(json_real_value(json_object_get(json, "c")), 0.12345678901234568, 1e-15);
    check_close(json_real_value(json_object_get(json, "d")), -12345678901234567890.0, 1e-12);
    assert_true(json_is_true(json_object_get(json, "e")));
    json_decref(json);
    check_error(*state, mla_json_parse(*state, "x: ", "{\"a\": 1000000000000000019884624838656 \"", &json),
                MLA_ERROR_FORMAT, "x: not valid JSON");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(derives_head_widths),
                                       cmocka_unit_test(refuses_what_does_not_fit),
                                       cmocka_unit_test(checks_bounds),
                                       cmocka_unit_test(set_parses_what_users_write),
                                       cmocka_unit_test(json_returns_the_same),
                                       cmocka_unit_test(reads_huge_numbers),
                                       cmocka_unit_test(reads_hugging_face_files),
                                       cmocka_unit_test(refuses_wrong_json),
                                       cmocka_unit_test(tables_are_sound),
                                       cmocka_unit_test(measures_distances),
                                       cmocka_unit_test(ranks_of_layers),
                                       cmocka_unit_test(longest_lists_fit)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
