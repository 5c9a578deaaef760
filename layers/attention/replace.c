#include "layers/attention/replace.h"
#include "layers/attention/latent_attention.h"
#include "layers/attention/multi_head_attention.h"

#include <stdlib.h>

int64_t mla_usual_groups(const mla_model_config *c) {
    const int64_t heads = c->num_attention_heads;
    int64_t best = 0;
    for (int64_t groups = 2; groups < heads; groups++)
        if (heads % groups == 0 && (!best || llabs(4 * groups - heads) < llabs(4 * best - heads))) best = groups;
    return best;
}

void mla_replace_by_multi_head(mla_model_config *c, int64_t groups) {
    c->head_dim = c->attention->head_width(c);
    c->num_key_value_heads = groups;
    c->attention = &mla_multi_head_kind;
    c->kv_lora_ranks = (mla_ints){0};
}

void mla_replace_by_latent(mla_model_config *c) {
    if (c->attention == &mla_latent_kind) return;
    const int64_t width = c->attention->head_width(c), turned = width < 4 ? 2 : width / 4 * 2;
    c->attention = &mla_latent_kind;
    c->q_lora_rank = 0;
    c->qk_nope_head_dim = c->v_head_dim = width;
    c->qk_rope_head_dim = c->position == MLA_POSITION_ROPE ? turned : 0;
    c->kv_lora_rank = 2 * width - turned;
    if (c->kv_lora_rank < 1) c->kv_lora_rank = 1;
}
