#include "layers/kinds.h"

#include <jansson.h>

static const char *const norms[] = {"rmsnorm", "layernorm", NULL};
static const char *const norm_positions[] = {"pre", "post", NULL};
static const char *const poolings[] = {"last", "mean", NULL};
static const char *const activations[] = {"silu", "relu", "gelu", "gelu_new", NULL};

/* Bounds on sizes keep every product of two or three of them far from overflow. */
#define AT(member) offsetof(mla_rope_scaling, member)
static const mla_field scaling_fields[] = {
    {"type", MLA_FIELD_ENUM, AT(type), .names = mla_rope_scaling_names, .alias = "rope_type", .help = "stretches RoPE"},
    {"factor", MLA_FIELD_FLOAT, AT(factor), 1, 1, 1e6, .help = "longest sequence / original longest sequence"},
    {"original_max_position_embeddings", MLA_FIELD_INT, AT(original_max_position_embeddings), 4096, 1, 1 << 24,
     .help = "longest sequence before stretching"},
    {"beta_fast", MLA_FIELD_FLOAT, AT(beta_fast), 32, 1e-6, 1e6, .help = "turns above which an angle stays as it is"},
    {"beta_slow", MLA_FIELD_FLOAT, AT(beta_slow), 1, 1e-6, 1e6,
     .help = "turns below which an angle is divided by factor"},
    {"mscale", MLA_FIELD_FLOAT, AT(mscale), 0, 0, 1e3,
     .help = "weight of log(factor) in the scale of cos and sin; 0: 1, whatever mscale_all_dim"},
    {"mscale_all_dim", MLA_FIELD_FLOAT, AT(mscale_all_dim), 0, 0, 1e3, .help = "the same for the softmax scale"},
    {"attention_factor", MLA_FIELD_FLOAT, AT(attention_factor), 0, 0, 1e3,
     .help = "scale of cos and sin; 0: follows from the others"},
    {"low_freq_factor", MLA_FIELD_FLOAT, AT(low_freq_factor), 1, 1e-6, 1e6,
     .help = "llama3: turns over the original sequence below which an angle is divided by factor"},
    {"high_freq_factor", MLA_FIELD_FLOAT, AT(high_freq_factor), 4, 1e-6, 1e6,
     .help = "llama3: turns above which an angle stays as it is"},
    {"short_factor", MLA_FIELD_FLOATS, AT(short_factor), 0, 1e-9, 1e30, .nullable = true,
     .help = "longrope: what each angle is divided by, for texts up to original_max_position_embeddings"},
    {"long_factor", MLA_FIELD_FLOATS, AT(long_factor), 0, 1e-9, 1e30, .nullable = true,
     .help = "longrope: the same for longer texts"},
};
#undef AT
static const mla_field_table scaling_table = {scaling_fields, sizeof scaling_fields / sizeof *scaling_fields,
                                              sizeof(mla_rope_scaling)};

#define AT(member) offsetof(mla_model_config, member)
static const mla_field model_fields[] = {
    {"vocab_size", MLA_FIELD_INT, AT(vocab_size), 0, 0, 1 << 24, .help = "tokens; 0 in a recipe: as the tokenizer has"},
    {"hidden_size", MLA_FIELD_INT, AT(hidden_size), 256, 1, 1 << 20, .help = "width of the residual stream"},
    {"intermediate_size", MLA_FIELD_INT, AT(intermediate_size), 704, 1, 1 << 22, .help = "width of the feed-forward"},
    {"num_hidden_layers", MLA_FIELD_INT, AT(num_hidden_layers), 4, 1, 4096, .help = "blocks"},
    {"num_attention_heads", MLA_FIELD_INT, AT(num_attention_heads), 4, 1, 1 << 14, .help = "heads of the attention"},
    {"num_key_value_heads", MLA_FIELD_INT, AT(num_key_value_heads), 0, 0, 1 << 14,
     .help = "multi_head: heads of keys and values; 0: as num_attention_heads"},
    {"head_dim", MLA_FIELD_INT, AT(head_dim), 0, 0, 1 << 16,
     .help = "multi_head: width of a head; 0: hidden_size / num_attention_heads"},
    {"q_lora_rank", MLA_FIELD_INT, AT(q_lora_rank), 0, 0, 1 << 20,
     .help = "latent: rank of the query projection; 0: full", .nullable = true},
    {"kv_lora_rank", MLA_FIELD_INT, AT(kv_lora_rank), 64, 1, 1 << 20,
     .help = "latent: width of the latent that keys and values pass through and that is cached"},
    {"qk_nope_head_dim", MLA_FIELD_INT, AT(qk_nope_head_dim), 0, 0, 1 << 16,
     .help = "latent: width of a key without position; 0: hidden_size / num_attention_heads"},
    {"qk_rope_head_dim", MLA_FIELD_INT, AT(qk_rope_head_dim), 32, 0, 1 << 16,
     .help = "latent: width of the rotary key; 0 unless position is rope"},
    {"v_head_dim", MLA_FIELD_INT, AT(v_head_dim), 0, 0, 1 << 16,
     .help = "latent: width of a value; 0: as qk_nope_head_dim"},
    {"max_position_embeddings", MLA_FIELD_INT, AT(max_position_embeddings), 2048, 1, 1 << 24,
     .help = "longest sequence in tokens"},
    {"rope_theta", MLA_FIELD_FLOAT, AT(rope_theta), 10000, 1, 1e12, .help = "base of the rotary angles"},
    {"rope_scaling", MLA_FIELD_GROUP, AT(rope_scaling), .group = &scaling_table, .nullable = true,
     .help = "for longer sequences than trained on"},
    {"rope_interleave", MLA_FIELD_BOOL, AT(rope_interleave), 1, .help = "rotary pairs are neighbours"},
    {"rms_norm_eps", MLA_FIELD_FLOAT, AT(rms_norm_eps), 1e-6, 1e-12, 1, .help = "added to the variance in the norms",
     .alias = "layer_norm_eps"},
    {"tie_word_embeddings", MLA_FIELD_BOOL, AT(tie_word_embeddings), 0,
     .help = "the output projection is the embedding"},
    {"attention_bias", MLA_FIELD_BOOL, AT(attention_bias), 0, .help = "biases in the attention's projections"},
    {"attention_dropout", MLA_FIELD_FLOAT, AT(attention_dropout), 0, 0, 1,
     .help = "of the attention's weights; only 0 is supported, use dropout"},
    {"initializer_range", MLA_FIELD_FLOAT, AT(initializer_range), 0.02, 1e-6, 1,
     .help = "standard deviation of initial weights"},
    {"hidden_act", MLA_FIELD_ENUM, AT(hidden_act), .names = activations, .help = "of the feed-forward"},
    {"mlp_bias", MLA_FIELD_BOOL, AT(mlp_bias), 0, .help = "biases in the feed-forward"},
    {"num_labels", MLA_FIELD_INT, AT(num_labels), 0, 0, 1 << 20,
     .help = "sequence, token: classes; 0 in a recipe: as the data has"},
    {"problem_type", MLA_FIELD_ENUM, AT(problem_type), .names = mla_problem_names,
     .help = "sequence: whether a document has one label, several, or numbers"},
    {"classifier_dropout", MLA_FIELD_FLOAT, AT(classifier_dropout), 0, 0, 0.95,
     .help = "sequence, token: share of the hidden states set to zero before the head in training"},
    {"attention", MLA_FIELD_KIND, AT(attention), .kinds = (const void *const *)mla_attention_kinds,
     .help = "kind of attention"},
    {"feed_forward", MLA_FIELD_KIND, AT(feed_forward), .kinds = (const void *const *)mla_feed_forward_kinds,
     .help = "kind of feed-forward"},
    {"head", MLA_FIELD_KIND, AT(head), .kinds = (const void *const *)mla_head_kinds, .help = "what the model is for"},
    {"pooling", MLA_FIELD_ENUM, AT(pooling), .names = poolings,
     .help = "sequence: the hidden state of the last token, or the mean over all"},
    {"position", MLA_FIELD_ENUM, AT(position), .names = mla_position_names, .help = "how the model knows positions"},
    {"latent_norm", MLA_FIELD_BOOL, AT(latent_norm), 1, .help = "RMSNorm on the latents"},
    {"qkv_bias", MLA_FIELD_BOOL, AT(qkv_bias), 0, .help = "multi_head: biases of queries, keys and values"},
    {"qk_norm", MLA_FIELD_BOOL, AT(qk_norm), 0, .help = "RMSNorm on the heads of queries and keys"},
    {"causal", MLA_FIELD_BOOL, AT(causal), 1, .help = "a token sees only those before it"},
    {"norm", MLA_FIELD_ENUM, AT(norm), .names = norms, .help = "of the blocks"},
    {"norm_position", MLA_FIELD_ENUM, AT(norm_position), .names = norm_positions,
     .help = "before each half of a block, or after its residual"},
    {"gated", MLA_FIELD_BOOL, AT(gated), 1, .help = "the feed-forward is act(gate) * up"},
    {"dropout", MLA_FIELD_FLOAT, AT(dropout), 0, 0, 0.95, .help = "share of activations set to zero in training"},
    {"final_norm", MLA_FIELD_BOOL, AT(final_norm), 1, .help = "a norm after the last block"},
    {"scaled_residual_init", MLA_FIELD_BOOL, AT(scaled_residual_init), 0,
     .help = "o_proj and down_proj begin smaller by sqrt(2 num_hidden_layers), as GPT-2's"},
    {"zero_attention_output", MLA_FIELD_BOOL, AT(zero_attention_output), 0,
     .help = "o_proj begins at 0, so that the first steps learn from each token by itself"},
    {"kv_lora_ranks", MLA_FIELD_INTS, AT(kv_lora_ranks), 0, 1, 1 << 20, .nullable = true,
     .help = "latent: kv_lora_rank of each layer, where they differ (mla rank)"},
};
#undef AT
const mla_field_table mla_model_fields = {model_fields, sizeof model_fields / sizeof *model_fields,
                                          sizeof(mla_model_config)};

void mla_model_config_default(mla_context *context, mla_model_config *config) {
    mla_fields_default(context, &mla_model_fields, config); /* no strings: cannot fail */
}

/* ---- checks ---- */

static mla_status check_factors(mla_context *context, const char *where, const char *key, const mla_floats *factors,
                                int64_t rotary) {
    if (factors->count == rotary / 2) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "%srope_scaling.%s: %lld numbers, there must be %lld, half of the rotary width", where, key,
                    (long long)factors->count, (long long)rotary / 2);
}

static mla_status check_longrope(mla_context *context, const char *where, const mla_model_config *c) {
    const mla_rope_scaling *s = &c->rope_scaling;
    const int64_t rotary = c->attention->rotary(c);
    mla_status status = check_factors(context, where, "short_factor", &s->short_factor, rotary);
    if (!status) status = check_factors(context, where, "long_factor", &s->long_factor, rotary);
    if (status || s->attention_factor > 0 || s->factor <= 1 || s->original_max_position_embeddings > 1) return status;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "%srope_scaling.attention_factor: must be given where original_max_position_embeddings is 1",
                    where);
}

static mla_status check_rope_scaling(mla_context *context, const char *where, const mla_model_config *c) {
    const mla_rope_scaling *s = &c->rope_scaling;
    if (s->type == MLA_ROPE_SCALING_NONE) return MLA_OK;
    if (c->position != MLA_POSITION_ROPE)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%srope_scaling.type: %s, but position is %s; set it to none",
                        where, mla_rope_scaling_names[s->type], mla_position_names[c->position]);
    if (s->type == MLA_ROPE_SCALING_LLAMA3 && s->high_freq_factor <= s->low_freq_factor)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%srope_scaling.high_freq_factor: %g must be larger than low_freq_factor %g (usual: "
                        "4 and 1)",
                        where, s->high_freq_factor, s->low_freq_factor);
    if (s->type == MLA_ROPE_SCALING_YARN && s->beta_fast <= s->beta_slow)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%srope_scaling.beta_fast: %g must be larger than beta_slow %g (usual: 32 and 1)", where,
                        s->beta_fast, s->beta_slow);
    return s->type == MLA_ROPE_SCALING_LONGROPE ? check_longrope(context, where, c) : MLA_OK;
}

mla_status mla_model_config_check(mla_context *context, const char *where, mla_model_config *config) {
    mla_status status = mla_fields_check(context, where, &mla_model_fields, config);
    if (status) return status;
    if (config->vocab_size < 1)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%svocab_size: %lld, it must be at least 1 (tokens)", where,
                        (long long)config->vocab_size);
    if (config->attention_dropout > 0)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%sattention_dropout: %g is not supported, it must be 0; use dropout", where,
                        config->attention_dropout);
    status = config->attention->check(context, where, config);
    if (!status && config->feed_forward->check) status = config->feed_forward->check(context, where, config);
    if (!status && config->head->check) status = config->head->check(context, where, config);
    return status ? status : check_rope_scaling(context, where, config);
}

/* ---- JSON ---- */

char *mla_model_config_json(mla_context *context, const mla_model_config *config) {
    json_t *json = mla_fields_write_json(context, &mla_model_fields, config);
    char *text = json ? mla_json_text(context, json) : NULL;
    json_decref(json);
    return text;
}

mla_status mla_model_config_parse_json(mla_context *context, const char *where, const char *text,
                                       mla_model_config *config, mla_list *ignored) {
    json_t *json;
    mla_status status = mla_json_parse(context, where, text, &json);
    if (status) return status;
    mla_model_config_default(context, config);
    status = mla_fields_read_json(context, where, &mla_model_fields, config, json, ignored);
    json_decref(json);
    return status ? status : mla_model_config_check(context, where, config);
}
