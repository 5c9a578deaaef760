/* config.json of transformers: what is read, what is refused by name, and that what is written reads back. */
#include "layers/attention/latent_attention.h"
#include "layers/attention/multi_head_attention.h"
#include "layers/head/head.h"
#include "tests/support/check.h"
#include "train/hugging_face/model_config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char latent[] =
    "{\"vocab_size\": 100, \"hidden_size\": 64, \"intermediate_size\": 96, \"num_hidden_layers\": 2,"
    " \"num_attention_heads\": 4, \"max_position_embeddings\": 128, \"q_lora_rank\": null, \"kv_lora_rank\": "
    "24,"
    " \"qk_nope_head_dim\": 16, \"qk_rope_head_dim\": 8, \"v_head_dim\": 12, \"first_k_dense_replace\": 2,"
    " \"n_routed_experts\": 64, \"head_dim\": 8}";
static const char multi_head[] =
    "{\"vocab_size\": 100, \"hidden_size\": 64, \"intermediate_size\": 96, \"num_hidden_layers\": 2,"
    " \"num_attention_heads\": 4, \"max_position_embeddings\": 128, \"num_key_value_heads\": 2}";

/* The text of `base` with the members of `changes` in it; free() it. */
static char *merged(const char *base, const char *changes) {
    json_t *json = json_loads(base, 0, NULL), *more = json_loads(changes, 0, NULL);
    assert_non_null(json);
    assert_non_null(more);
    json_object_update(json, more);
    char *text = json_dumps(json, JSON_SORT_KEYS);
    json_decref(more);
    json_decref(json);
    return text;
}

static mla_model_config read(mla_context *context, const char *base, const char *changes) {
    mla_model_config config;
    char *text = merged(base, changes);
    check_ok(context, mla_hugging_face_read(context, "c: ", text, &config));
    free(text);
    return config;
}

static void families_are_told_apart(void **state) {
    mla_context *context = *state;
    mla_model_config c = read(context, latent, "{\"model_type\": \"deepseek_v2\", \"mlp_bias\": true}");
    assert_true(c.attention == &mla_latent_kind && c.rope_interleave && c.latent_norm && c.mlp_bias);
    assert_true(c.q_lora_rank == 0 && c.kv_lora_rank == 24 && c.v_head_dim == 12 && c.head_dim == 0);
    c = read(context, latent, "{\"model_type\": \"deepseek_v3\", \"rope_interleave\": false, \"mlp_bias\": true}");
    assert_true(c.attention == &mla_latent_kind && !c.rope_interleave && !c.mlp_bias);
    c = read(context, multi_head, "{\"model_type\": \"llama\", \"attention_bias\": true, \"head_dim\": null}");
    assert_true(c.attention == &mla_multi_head_kind && !c.rope_interleave && c.attention_bias && c.head_dim == 16);
    assert_true(c.num_key_value_heads == 2 && !c.qkv_bias && !c.qk_norm);
    c = read(context, multi_head, "{\"architectures\": [\"Qwen2ForCausalLM\"], \"tie_word_embeddings\": true}");
    assert_true(c.qkv_bias && !c.attention_bias && !c.qk_norm && c.tie_word_embeddings);
    c = read(context, multi_head, "{\"model_type\": \"qwen3\"}");
    assert_true(!c.qkv_bias && c.qk_norm && c.head_dim == 128);
    c = read(context, multi_head, "{\"model_type\": \"qwen3\", \"head_dim\": 24, \"rms_norm_eps\": 1e-5}");
    assert_int_equal(c.head_dim, 24);
    check_close(c.rms_norm_eps, 1e-5, 0);
    c = read(context, multi_head, "{\"model_type\": \"mistral\", \"sliding_window\": null, \"attention_bias\": true}");
    assert_true(!c.attention_bias && !c.qkv_bias && !c.qk_norm && c.head_dim == 16);
    c = read(context, multi_head, "{\"model_type\": \"phi3\", \"rms_norm_eps\": 1e-5}");
    assert_true(!c.attention_bias && !c.qkv_bias && !c.qk_norm && !c.rope_interleave && c.head_dim == 16);
}

static void both_forms_of_rope_are_read(void **state) {
    mla_context *context = *state;
    static const char *const forms[] = {
        "{\"model_type\": \"llama\", \"rope_theta\": 5e5, \"rope_scaling\": {\"type\": \"yarn\", \"factor\": "
        "4,"
        " \"original_max_position_embeddings\": 32, \"mscale_all_dim\": 0.5}}",
        "{\"model_type\": \"llama\", \"rope_parameters\": {\"rope_type\": \"yarn\", \"rope_theta\": 5e5, "
        "\"factor\": 4,"
        " \"original_max_position_embeddings\": 32, \"mscale_all_dim\": 0.5, \"beta_fast\": null}}",
        "{\"model_type\": \"llama\", \"original_max_position_embeddings\": 32, \"rope_theta\": 1, "
        "\"rope_parameters\":"
        " {\"rope_type\": \"yarn\", \"rope_theta\": 5e5, \"factor\": 4, \"mscale_all_dim\": 0.5, "
        "\"original_max_position_embeddings\": 64}, "
        "\"rope_scaling\": null}"};
    for (int i = 0; i < 3; i++) {
        const mla_model_config c = read(context, multi_head, forms[i]);
        assert_int_equal(c.rope_scaling.type, MLA_ROPE_SCALING_YARN);
        assert_int_equal(c.rope_scaling.original_max_position_embeddings, 32);
        check_close(c.rope_theta, 5e5, 0);
        check_close(c.rope_scaling.factor, 4, 0);
        check_close(c.rope_scaling.mscale, 0, 0);
        check_close(c.rope_scaling.mscale_all_dim, 0.5, 0);
        check_close(c.rope_scaling.beta_fast, 32, 0);
    }
    mla_model_config c = read(context, multi_head,
                              "{\"model_type\": \"llama\", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8,"
                              " \"low_freq_factor\": 2, \"high_freq_factor\": 3}}");
    assert_int_equal(c.rope_scaling.type, MLA_ROPE_SCALING_LLAMA3);
    assert_int_equal(c.rope_scaling.original_max_position_embeddings, 128);
    check_close(c.rope_scaling.high_freq_factor, 3, 0);
    c = read(context, multi_head, "{\"model_type\": \"llama\", \"rope_parameters\": {\"rope_type\": \"default\"}}");
    assert_int_equal(c.rope_scaling.type, MLA_ROPE_SCALING_NONE);
    check_close(c.rope_theta, 10000, 0);
}

#define FACTORS "\"short_factor\": [1,1,1,1,1,1,1,1.5], \"long_factor\": [1,2,3,4,5,6,7,8]"

/* The original length is a key beside in Phi-3's files, and 4096 where it is not there, whatever is inside. */
static void longrope_is_read(void **state) {
    mla_context *context = *state;
    static const struct {
        const char *changes;
        int64_t original;
        double factor, attention_factor;
    } cases[] = {
        {"{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"longrope\", " FACTORS
         ", \"original_max_position_embeddings\": 32}}",
         32, 4, 0},
        {"{\"model_type\": \"llama\", \"rope_parameters\": {\"rope_type\": \"longrope\", \"rope_theta\": 7, " FACTORS
         ", \"factor\": 3, \"attention_factor\": 1.5}}",
         128, 3, 1.5},
        {"{\"model_type\": \"qwen2\", \"rope_scaling\": {\"type\": \"su\", \"factor\": 0.5, " FACTORS "}}", 128, 1, 0},
        {"{\"model_type\": \"phi3\", \"rms_norm_eps\": 1e-5, \"original_max_position_embeddings\": 64,"
         " \"rope_scaling\": {\"type\": \"yarn\", " FACTORS ", \"original_max_position_embeddings\": 32}}",
         64, 2, 0},
        {"{\"model_type\": \"phi3\", \"rms_norm_eps\": 1e-5, \"rope_scaling\": {\"type\": \"longrope\", " FACTORS
         ", \"original_max_position_embeddings\": 32}}",
         4096, 1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const mla_rope_scaling s = read(context, multi_head, cases[i].changes).rope_scaling;
        assert_int_equal(s.type, MLA_ROPE_SCALING_LONGROPE);
        assert_int_equal(s.original_max_position_embeddings, cases[i].original);
        check_close(s.factor, cases[i].factor, 0);
        check_close(s.attention_factor, cases[i].attention_factor, 0);
        assert_int_equal(s.short_factor.count, 8);
        check_close(s.short_factor.items[7], 1.5, 0);
        check_close(s.long_factor.items[7], 8, 0);
    }
}

static void unsupported_features_are_named(void **state) {
    mla_context *context = *state;
    static const struct {
        const char *base, *changes, *words;
    } cases[] = {
        {multi_head, "{}", "c: model_type (none), architecture (none): not supported; DeepseekV2ForCausalLM"},
        {multi_head, "{\"model_type\": \"gemma\"}", "model_type gemma"},
        {multi_head, "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForQuestionAnswering\"]}",
         "architecture LlamaForQuestionAnswering: not supported"},
        {latent, "{\"model_type\": \"deepseek_v3\", \"first_k_dense_replace\": 1}",
         "n_routed_experts: the layers from 1 on (first_k_dense_replace) are mixtures of experts"},
        {multi_head, "{\"model_type\": \"qwen3\", \"num_experts\": 8}", "mixtures of experts are not supported"},
        {multi_head,
         "{\"model_type\": \"qwen2\", \"use_sliding_window\": true, \"sliding_window\": 64, "
         "\"max_window_layers\": 1}",
         "c: sliding_window: sliding windows are not supported"},
        {multi_head, "{\"model_type\": \"qwen3\", \"layer_types\": [\"full_attention\", \"sliding_attention\"]}",
         "c: layer_types: sliding windows are not supported"},
        {multi_head, "{\"model_type\": \"llama\", \"sliding_window\": 64}", "sliding windows"},
        {multi_head, "{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"proportional\", \"factor\": 2}}",
         "rope_type: \"proportional\" is not supported; default, yarn, llama3, linear, dynamic and longrope are"},
        {multi_head, "{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"linear\"}}", "factor: is missing"},
        {multi_head, "{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 0.5}}",
         "rope_scaling.factor: 0.5 is too small"},
        {multi_head, "{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"longrope\", \"long_factor\": [1]}}",
         "short_factor: is missing"},
        {multi_head,
         "{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"longrope\", \"long_factor\": [1],"
         " \"short_factor\": [1,1,1,1,1,1,1,1]}}",
         "rope_scaling.long_factor: 1 numbers, there must be 8, half of the rotary width"},
        {multi_head,
         "{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"longrope\", \"long_factor\": [1,1,1,1,0,1,1,1],"
         " \"short_factor\": [1,1,1,1,1,1,1,1]}}",
         "rope_scaling.long_factor: 0 is too small"},
        {multi_head, "{\"model_type\": \"llama\", \"rope_parameters\": {\"rope_type\": 3}}", "rope_type: \"\""},
        {multi_head, "{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"yarn\"}}", "factor: is missing"},
        {multi_head,
         "{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2, \"truncate\": "
         "false}}",
         "truncate: only true"},
        {multi_head,
         "{\"model_type\": \"llama\", \"rope_parameters\": {\"full_attention\": {\"rope_type\": "
         "\"default\"}}}",
         "full_attention: a RoPE of its own for each kind of layer"},
        {multi_head, "{\"model_type\": \"llama\", \"partial_rotary_factor\": 0.5}", "partial_rotary_factor: only 1"},
        {latent,
         "{\"model_type\": \"deepseek_v2\", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 2,"
         " \"mscale_all_dim\": 1}}",
         "mscale_all_dim: only supported with yarn"},
        {multi_head, "{\"model_type\": \"llama\", \"attn_logit_softcapping\": 50.0}",
         "attn_logit_softcapping: not supported"},
        {multi_head, "{\"model_type\": \"llama\", \"quantization_config\": {\"bits\": 4}}",
         "quantization_config: quant_method \"\"; of quantized weights those of eight bits are read"},
        {multi_head, "{\"model_type\": \"llama\", \"hidden_act\": \"swish\"}", "hidden_act: expected one of silu"},
        {multi_head, "{\"model_type\": \"llama\", \"num_key_value_heads\": 3}",
         "num_key_value_heads: 3 does not divide"},
        {multi_head, "{\"model_type\": \"llama\", \"hidden_size\": -64}", "hidden_size: -64 is too small"},
        {multi_head, "{\"model_type\": \"llama\", \"hidden_size\": \"64\"}", "hidden_size: expected a whole number"},
        {multi_head, "{\"model_type\": \"deepseek_v2\"}", "q_lora_rank: is missing"},
        {multi_head, "{\"model_type\": \"mistral\"}", "c: sliding_window: is missing"},
        {multi_head,
         "{\"model_type\": \"mistral\", \"sliding_window\": 127, \"use_sliding_window\": false,"
         " \"layer_types\": [\"full_attention\", \"full_attention\"]}",
         "c: sliding_window: sliding windows are not supported"},
        {multi_head,
         "{\"model_type\": \"phi3\", \"rms_norm_eps\": 1e-5, \"sliding_window\": 64, \"max_window_layers\": 2}",
         "c: sliding_window: sliding windows are not supported"},
        {multi_head, "{\"model_type\": \"phi3\"}", "rms_norm_eps: is missing"},
        {multi_head,
         "{\"model_type\": \"phi3\", \"rms_norm_eps\": 1e-5, \"rope_scaling\": {\"type\": \"longrope\","
         " \"short_factor\": [1], \"long_factor\": [1]}}",
         "short_factor: 1 numbers, there must be 8"},
        {multi_head, /* in Phi-3's files another word for longrope */
         "{\"model_type\": \"phi3\", \"rms_norm_eps\": 1e-5, \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2}}",
         "short_factor: is missing"},
        {multi_head,
         "{\"model_type\": \"phi3\", \"rms_norm_eps\": 1e-5, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}}",
         "rope_type: \"linear\" is not supported; of this model_type only default and longrope are"},
        {multi_head, "{\"model_type\": \"phi3\", \"rms_norm_eps\": 1e-5, \"partial_rotary_factor\": 0.5}",
         "partial_rotary_factor: only 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mla_model_config config;
        char *text = merged(cases[i].base, cases[i].changes);
        const mla_status status = mla_hugging_face_read(context, "c: ", text, &config);
        check_error(context, status, status ? status : MLA_ERROR_FORMAT, cases[i].words);
        free(text);
    }
    mla_model_config config;
    check_error(context, mla_hugging_face_read(context, "c: ", "[", &config), MLA_ERROR_FORMAT,
                "c: not valid JSON: line 1");
    check_error(context, mla_hugging_face_read(context, "c: ", "[]", &config), MLA_ERROR_FORMAT,
                "expected a JSON object");
    check_error(context, mla_hugging_face_read(context, "c: ", "{\"model_type\": \"llama\"}", &config),
                MLA_ERROR_FORMAT, "c: vocab_size: is missing");
}

/* What says no to a feature is not a use of it. */
static void unused_features_are_accepted(void **state) {
    mla_context *context = *state;
    read(context, multi_head, "{\"model_type\": \"qwen2\", \"use_sliding_window\": false, \"sliding_window\": 32768}");
    read(context, multi_head,
         "{\"model_type\": \"qwen2\", \"use_sliding_window\": true, \"sliding_window\": 9,"
         " \"max_window_layers\": 2}");
    /* a window as long as the positions, 128 */
    read(context, multi_head, "{\"model_type\": \"mistral\", \"sliding_window\": 128}");
    read(context, multi_head,
         "{\"model_type\": \"qwen3\", \"sliding_window\": 4096, \"use_sliding_window\": true, \"layer_types\": "
         "[\"full_attention\", \"sliding_attention\"]}");
    read(context, multi_head,
         "{\"model_type\": \"qwen3\", \"sliding_window\": null, \"layer_types\": [\"full_attention\","
         " \"full_attention\"]}");
    read(context, latent,
         "{\"model_type\": \"deepseek_v2\", \"n_routed_experts\": null, \"first_k_dense_replace\": 0}");
    read(context, multi_head,
         "{\"model_type\": \"llama\", \"attn_logit_softcapping\": null, \"pretraining_tp\": 2,"
         " \"rope_scaling\": {}, \"quantization_config\": null, \"partial_rotary_factor\": 1.0}");
}

/* ---- writing ---- */

static bool same(mla_context *context, const mla_model_config *a, const mla_model_config *b) {
    char *x = mla_model_config_json(context, a), *y = mla_model_config_json(context, b);
    const bool equal = !strcmp(x, y);
    if (!equal) print_error("%s\n%s\n", x, y);
    free(x);
    free(y);
    return equal;
}

static void check_round_trip(mla_context *context, const mla_model_config *config, const json_t *origin,
                             const char *model_type) {
    mla_model_config again;
    json_t *json = mla_hugging_face_write(context, config, origin);
    check_ok(context, mla_error_status(context));
    char *text = mla_json_text(context, json);
    assert_string_equal(json_string_value(json_object_get(json, "model_type")), model_type);
    check_ok(context, mla_hugging_face_read(context, "again: ", text, &again));
    assert_true(same(context, config, &again));
    free(text);
    json_decref(json);
}

static void written_configurations_read_back(void **state) {
    mla_context *context = *state;
    static const struct {
        const char *base, *changes, *type, *without; /* with and without the origin */
    } cases[] = {
        {latent, "{\"model_type\": \"deepseek_v3\", \"q_lora_rank\": 16, \"attention_bias\": true}", "deepseek_v3",
         "deepseek_v3"},
        {latent, "{\"model_type\": \"deepseek_v2\"}", "deepseek_v2", "deepseek_v3"},
        {latent,
         "{\"model_type\": \"deepseek_v3\", \"rope_interleave\": false, \"rope_scaling\": {\"type\": "
         "\"yarn\","
         " \"factor\": 4.5, \"mscale\": 0.7, \"mscale_all_dim\": 0.3, \"attention_factor\": 1.25}}",
         "deepseek_v3", "deepseek_v3"},
        {multi_head, "{\"model_type\": \"llama\", \"mlp_bias\": true, \"head_dim\": 20, \"rope_theta\": 12345.5}",
         "llama", "llama"},
        {multi_head,
         "{\"model_type\": \"llama\", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8,"
         " \"low_freq_factor\": 2, \"high_freq_factor\": 3, \"mscale\": 1}}",
         "llama", "llama"},
        {multi_head, "{\"model_type\": \"qwen2\", \"tie_word_embeddings\": true}", "qwen2", "qwen2"},
        {multi_head, "{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.5}}", "llama",
         "llama"},
        {multi_head,
         "{\"model_type\": \"phi3\", \"rms_norm_eps\": 1e-5, \"original_max_position_embeddings\": 64,"
         " \"rope_scaling\": {\"type\": \"su\", " FACTORS "}}",
         "phi3", "llama"},
        {latent,
         "{\"model_type\": \"deepseek_v3\", \"rope_scaling\": {\"type\": \"longrope\", \"short_factor\": [1,1,1,1.1],"
         " \"long_factor\": [1e20,2,3,1.25], \"original_max_position_embeddings\": 48, \"attention_factor\": 1.01}}",
         "deepseek_v3", "deepseek_v3"},
        {multi_head, "{\"model_type\": \"qwen3\", \"attention_bias\": true}", "qwen3", "qwen3"},
        {multi_head, "{\"model_type\": \"mistral\", \"sliding_window\": null, \"head_dim\": 20}", "mistral", "llama"},
        {multi_head, "{\"model_type\": \"phi3\", \"rms_norm_eps\": 1e-5}", "phi3", "llama"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const mla_model_config config = read(context, cases[i].base, cases[i].changes);
        char *text = merged(cases[i].base, cases[i].changes);
        json_t *origin = json_loads(text, 0, NULL);
        check_round_trip(context, &config, origin, cases[i].type);
        check_round_trip(context, &config, NULL, cases[i].without);
        json_decref(origin);
        free(text);
    }
}

/* What the origin says beside the computation stays; what is no longer true goes. */
static void the_origin_is_kept(void **state) {
    mla_context *context = *state;
    json_t *origin = json_pack("{s:s, s:i, s:[i,i], s:{s:s}, s:{s:s}, s:i}", "model_type", "llama", "bos_token_id", 7,
                               "eos_token_id", 8, 9, "auto_map", "AutoConfig", "x.py", "rope_parameters", "rope_type",
                               "default", "hidden_size", 1);
    mla_model_config config = read(context, multi_head, "{\"model_type\": \"llama\"}");
    json_t *json = mla_hugging_face_write(context, &config, origin);
    assert_int_equal(json_integer_value(json_object_get(json, "bos_token_id")), 7);
    assert_int_equal(json_array_size(json_object_get(json, "eos_token_id")), 2);
    assert_int_equal(json_integer_value(json_object_get(json, "hidden_size")), 64);
    assert_null(json_object_get(json, "auto_map"));
    assert_null(json_object_get(json, "rope_parameters"));
    json_decref(json);
    config.qk_norm = true; /* no Llama any more */
    json = mla_hugging_face_write(context, &config, origin);
    assert_string_equal(json_string_value(json_object_get(json, "model_type")), "qwen3");
    assert_null(json_object_get(json, "bos_token_id"));
    json_decref(json);
    json_decref(origin);

    /* Phi-3 would take it for longrope */
    origin = json_pack("{s:s}", "model_type", "phi3");
    config = read(context, multi_head, "{\"model_type\": \"phi3\", \"rms_norm_eps\": 1e-5}");
    check_ok(context, mla_fields_set(context, "", &mla_model_fields, &config, "rope_scaling.type", "yarn"));
    json = mla_hugging_face_write(context, &config, origin);
    assert_string_equal(json_string_value(json_object_get(json, "model_type")), "llama");
    json_decref(json);
    json_decref(origin);
}

static void models_of_no_architecture_are_refused(void **state) {
    mla_context *context = *state;
    static const struct {
        const char *base, *key, *value, *words;
    } cases[] = {
        {latent, "latent_norm", "false", "DeepseekV3ForCausalLM has no latent_norm: false"},
        {latent, "norm", "layernorm", "has no norm: layernorm"},
        {latent, "kv_lora_ranks", "8,16", "has no kv_lora_ranks, one for each layer: give all the largest of them"},
        {latent, "norm_position", "post", "has no norm_position: post"},
        {latent, "gated", "false", "has no gated: false"},
        {latent, "causal", "false", "has no causal: false"},
        {latent, "final_norm", "false", "has no final_norm: false"},
        {latent, "position", "learned", "has no position other than rope"},
        {multi_head, "rope_interleave", "true", "LlamaForCausalLM has no rope_interleave: true"},
        {multi_head, "num_attention_heads", "6", "LlamaForCausalLM has no heads that do not divide hidden_size"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const bool is_latent = cases[i].base == latent;
        mla_model_config c = read(context, cases[i].base,
                                  is_latent ? "{\"model_type\": \"deepseek_v3\"}" : "{\"model_type\": \"llama\"}");
        check_ok(context, mla_fields_set(context, "", &mla_model_fields, &c, cases[i].key, cases[i].value));
        assert_null(mla_hugging_face_write(context, &c, NULL));
        check_error(context, mla_error_status(context), MLA_ERROR_ARGUMENT, cases[i].words);
    }
}

/* ---- heads that label ---- */

static mla_status labels_of(mla_context *context, const char *changes, char **out) {
    char *text = merged(multi_head, changes);
    json_t *file = json_loads(text, 0, NULL);
    const mla_model_config config = read(context, multi_head, changes);
    const mla_status status = mla_hugging_face_labels(context, "c: ", file, &config, out);
    json_decref(file);
    free(text);
    return status;
}

static void heads_are_read(void **state) {
    mla_model_config c = read(*state, multi_head, "{\"architectures\": [\"LlamaForSequenceClassification\"]}");
    assert_string_equal(c.head->name, "sequence");
    assert_int_equal(c.num_labels, 2); /* transformers' default */
    assert_int_equal(c.problem_type, MLA_PROBLEM_SINGLE_LABEL);
    c = read(*state, multi_head,
             "{\"architectures\": [\"Qwen2ForSequenceClassification\"], \"id2label\": {\"0\": \"price\"}}");
    assert_int_equal(c.problem_type, MLA_PROBLEM_REGRESSION);
    c = read(*state, multi_head,
             "{\"architectures\": [\"Qwen3ForTokenClassification\"], \"id2label\": {\"0\": \"O\", \"1\": \"B-A\", "
             "\"2\": \"I-A\"}}");
    assert_string_equal(c.head->name, "token");
    assert_int_equal(c.num_labels, 3);
    check_close(c.classifier_dropout, 0.1, 1e-12); /* where the file does not say */
    c = read(*state, multi_head, "{\"architectures\": [\"Qwen3ForTokenClassification\"], \"classifier_dropout\": 0.0}");
    check_close(c.classifier_dropout, 0, 1e-12);
    c = read(*state, multi_head, "{\"architectures\": [\"LlamaForCausalLM\"], \"num_labels\": 7}");
    assert_string_equal(c.head->name, "language"); /* a remainder of another model */
}

static void labels_have_names(void **state) {
    char *names;
    check_ok(*state, labels_of(*state, "{\"architectures\": [\"LlamaForSequenceClassification\"]}", &names));
    assert_non_null(strstr(names, "\"LABEL_1\""));
    free(names);
    check_error(*state,
                labels_of(*state,
                          "{\"architectures\": [\"LlamaForSequenceClassification\"], \"id2label\": {\"0\": \"a\", "
                          "\"2\": \"b\"}}",
                          &names),
                MLA_ERROR_FORMAT, "c: id2label: 1 has no name");
    check_ok(*state, labels_of(*state, "{\"architectures\": [\"LlamaForCausalLM\"]}", &names));
    assert_null(names);
}

static void heads_are_written(void **state) {
    mla_model_config c = read(*state, latent, "{\"architectures\": [\"DeepseekV3ForSequenceClassification\"]}");
    json_t *file = mla_hugging_face_write(*state, &c, NULL);
    assert_non_null(file);
    assert_string_equal(json_string_value(json_array_get(json_object_get(file, "architectures"), 0)),
                        "DeepseekV3ForSequenceClassification");
    check_ok(*state, mla_hugging_face_set_labels(*state, "[\"a\", \"b\"]", file));
    assert_string_equal(json_string_value(json_object_get(json_object_get(file, "id2label"), "1")), "b");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(file, "label2id"), "b")), 1);
    json_decref(file);
    c.pooling = MLA_POOLING_MEAN;
    assert_null(mla_hugging_face_write(*state, &c, NULL));
    check_error(*state, mla_error_status(*state), MLA_ERROR_ARGUMENT, "no pooling: mean");
    c = read(*state, latent, "{\"architectures\": [\"DeepseekV3ForTokenClassification\"]}");
    c.mlp_bias = true; /* which V2 alone has, and that labels no tokens */
    assert_null(mla_hugging_face_write(*state, &c, NULL));
    check_error(*state, mla_error_status(*state), MLA_ERROR_ARGUMENT, "no architecture for this model");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(families_are_told_apart),
                                       cmocka_unit_test(both_forms_of_rope_are_read),
                                       cmocka_unit_test(longrope_is_read),
                                       cmocka_unit_test(longrope_is_read),
                                       cmocka_unit_test(unsupported_features_are_named),
                                       cmocka_unit_test(unused_features_are_accepted),
                                       cmocka_unit_test(written_configurations_read_back),
                                       cmocka_unit_test(the_origin_is_kept),
                                       cmocka_unit_test(models_of_no_architecture_are_refused),
                                       cmocka_unit_test(heads_are_read),
                                       cmocka_unit_test(labels_have_names),
                                       cmocka_unit_test(heads_are_written)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
