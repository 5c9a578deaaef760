/* The configurations of the reference models build models here. */
#include "layers/config.h"
#include "tests/support/check.h"
#include "tests/support/golden.h"

#include <stdlib.h>

static mla_model_config read_config(mla_context *context, const char *fixture) {
    mla_model_config config;
    mla_list ignored = {0};
    hid_t file = golden_open(fixture);
    char *text = golden_text(file, "config/model");
    check_ok(context, mla_model_config_parse_json(context, fixture, text, &config, &ignored));
    free(text);
    mla_list_free(&ignored);
    golden_close(file);
    return config;
}

static void deepseek(void **state) {
    mla_context *context = *state;
    static const char *const names[] = {"v2", "v2-noq", "v2-yarn", "v2-noq-yarn",
                                        "v3", "v3-noq", "v3-yarn", "v3-noq-yarn"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        mla_model_config config = read_config(context, names[i]);
        assert_int_equal(config.attention, MLA_ATTENTION_LATENT);
        assert_true(config.rope_interleave && config.latent_norm && config.gated && config.causal);
    }
    assert_int_equal(read_config(context, "v3-yarn").rope_scaling.type, MLA_ROPE_SCALING_YARN);
    assert_int_equal(read_config(context, "v3-noq").q_lora_rank, 0);
    mla_model_config half = read_config(context, "v3-half-bias-tied");
    assert_true(!half.rope_interleave && half.attention_bias && half.tie_word_embeddings);
}

static void others(void **state) {
    mla_context *context = *state;
    mla_model_config llama = read_config(context, "llama");
    assert_int_equal(llama.attention, MLA_ATTENTION_MULTI_HEAD);
    assert_int_equal(llama.num_key_value_heads, 2);
    assert_false(llama.rope_interleave);
    mla_model_config gpt2 = read_config(context, "gpt2-gelu");
    assert_int_equal(gpt2.position, MLA_POSITION_LEARNED);
    assert_int_equal(gpt2.hidden_act, MLA_ACT_GELU);
    check_close(gpt2.rms_norm_eps, 1e-3, 0);
    assert_int_equal(read_config(context, "gpt2-gelu-new").hidden_act, MLA_ACT_GELU_NEW);
    mla_model_config article = read_config(context, "article-layer");
    assert_int_equal(article.norm_position, MLA_NORM_POST);
    assert_true(!article.causal && !article.latent_norm && !article.final_norm);
}

static int create(void **state) { return (int)mla_context_create((mla_context **)state, NULL); }

static int destroy(void **state) {
    mla_context_destroy(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(deepseek), cmocka_unit_test(others)};
    return cmocka_run_group_tests(tests, create, destroy);
}
