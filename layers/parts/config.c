#include "layers/parts/config.h"

const char *const mla_position_names[] = {"rope", "learned", "none", NULL};
const char *const mla_rope_scaling_names[] = {"none", "yarn", "llama3", "linear", "longrope", NULL};
const char *const mla_problem_names[] = {"single_label_classification", "multi_label_classification", "regression",
                                         NULL};

int64_t mla_model_config_latent_rank(const mla_model_config *c, int64_t layer) {
    return c->kv_lora_ranks.count ? c->kv_lora_ranks.items[layer] : c->kv_lora_rank;
}

void mla_model_config_take_head(mla_model_config *config, const mla_model_config *from) {
    config->head = from->head;
    config->num_labels = from->num_labels;
    config->problem_type = from->problem_type;
    config->pooling = from->pooling;
    config->classifier_dropout = from->classifier_dropout;
}

mla_status mla_model_config_head_width(mla_context *context, const char *where, const char *key,
                                       const mla_model_config *c, int64_t *width) {
    if (*width > 0) return MLA_OK;
    if (c->hidden_size % c->num_attention_heads)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%snum_attention_heads: %lld heads do not divide hidden_size %lld; make one a multiple of "
                        "the other, or set %s",
                        where, (long long)c->num_attention_heads, (long long)c->hidden_size, key);
    *width = c->hidden_size / c->num_attention_heads;
    return MLA_OK;
}

mla_status mla_model_config_rotary_width(mla_context *context, const char *where, const char *key, int64_t width) {
    if (width >= 2 && width % 2 == 0) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "%s%s: %lld, but rotary pairs need an even width of at least 2; or set position to learned "
                    "or none%s",
                    where, key, (long long)width, width == 0 ? "" : " (and qk_rope_head_dim to 0)");
}
