#include "tests/support/small_model.h"
#include "tests/support/check.h"
#include "tests/support/layercheck.h"

#include <string.h>

static void apply_settings(mla_context *context, mla_model_config *config, const char *settings) {
    char text[512], *rest;
    assert_true(strlen(settings) < sizeof text);
    strcpy(text, settings);
    for (char *pair = strtok_r(text, " ", &rest); pair; pair = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(pair, '=');
        assert_non_null(value);
        *value++ = '\0';
        check_ok(context, mla_fields_set(context, "", &mla_model_fields, config, pair, value));
    }
}

mla_model_config small_config(mla_context *context, const char *settings) {
    mla_model_config c;
    mla_model_config_default(context, &c);
    c.vocab_size = SMALL_VOCABULARY;
    c.hidden_size = SMALL_WIDTH;
    c.intermediate_size = 20;
    c.num_hidden_layers = 2;
    c.num_attention_heads = 4;
    c.kv_lora_rank = 7;
    c.qk_nope_head_dim = 5;
    c.qk_rope_head_dim = 4;
    c.v_head_dim = 6;
    c.max_position_embeddings = SMALL_LENGTH;
    c.rope_theta = 100;
    apply_settings(context, &c, settings);
    if (c.position != MLA_POSITION_ROPE) c.qk_rope_head_dim = 0;
    check_ok(context, mla_model_config_check(context, "", &c));
    return c;
}

mla_decoder *small_decoder(mla_context *context, const char *settings) {
    const mla_model_config config = small_config(context, settings);
    mla_decoder *model;
    check_ok(context, mla_decoder_create(context, &model, &config));
    check_ok(context, mla_params_allocate(model->params, true));
    fill_layer(model->params, 0.3f);
    fill_values(model->embed_tokens->data, mla_count(model->embed_tokens), "embed_tokens", 1);
    return model;
}

mla_tensor *language_loss(mla_tape *tape, const mla_decoder *model, mla_tensor *ids, mla_tensor *targets, float scale,
                          const mla_pass *pass) {
    mla_batch batch = {.ids = ids, .targets = targets, .scale = scale};
    if (pass) batch.pass = *pass;
    return mla_decoder_loss(tape, model, &batch);
}

void fill_ids(int64_t count, int32_t *ids) {
    uint64_t x = 1;
    for (int64_t i = 0; i < count; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        ids[i] = (int32_t)((x >> 33) % SMALL_VOCABULARY);
    }
}
