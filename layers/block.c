#include "layers/block.h"

#include <stdio.h>

enum { LONGEST_PREFIX = 128 };

mla_status mla_block_build(mla_context *context, mla_params *params, mla_block *block,
                           const mla_model_config *c, const mla_rope_table *rope, int64_t place,
                           const char *prefix) {
    char attention[LONGEST_PREFIX], mlp[LONGEST_PREFIX];
    snprintf(attention, sizeof attention, "%sself_attn.", prefix);
    snprintf(mlp, sizeof mlp, "%smlp.", prefix);
    *block = (mla_block){.config = c};
    mla_norm_build(context, params, &block->input_norm, c->norm, prefix, "input_layernorm", c->hidden_size,
                   c->rms_norm_eps);
    if (c->attention == MLA_ATTENTION_LATENT)
        mla_latent_layer_build(context, params, &block->latent, c, rope, place, attention);
    else mla_multi_head_layer_build(context, params, &block->multi_head, c, rope, attention);
    mla_norm_build(context, params, &block->post_attention_norm, c->norm, prefix, "post_attention_layernorm",
                   c->hidden_size, c->rms_norm_eps);
    return mla_feed_forward_build(context, params, &block->feed_forward, c, mlp);
}

int mla_block_projections(mla_block *b, mla_linear_layer *out[MLA_BLOCK_PROJECTIONS]) {
    mla_latent_layer *l = &b->latent;
    mla_multi_head_layer *m = &b->multi_head;
    mla_feed_forward *f = &b->feed_forward;
    mla_linear_layer *const latent[] = {&l->q_proj,     &l->q_a_proj,  &l->q_b_proj, &l->kv_a_proj, &l->kv_b_proj,
                                        &l->o_proj,     &f->gate_proj, &f->up_proj,  &f->down_proj};
    mla_linear_layer *const multi_head[] = {&m->q_proj, &m->k_proj, &m->v_proj, &m->o_proj,
                                            &f->gate_proj, &f->up_proj, &f->down_proj};
    if (!b->config) return 0; /* not built */
    const bool is_latent = b->config->attention == MLA_ATTENTION_LATENT;
    mla_linear_layer *const *all = is_latent ? latent : multi_head;
    int count = 0;
    for (int i = 0; i < (is_latent ? 9 : 7); i++)
        if (all[i]->weight) out[count++] = all[i];
    return count;
}

static mla_tensor *attend(mla_tape *tape, const mla_block *block, mla_tensor *x, mla_layer_cache *cache) {
    return block->config->attention == MLA_ATTENTION_LATENT
               ? mla_latent_layer_apply(tape, &block->latent, x, cache)
               : mla_multi_head_layer_apply(tape, &block->multi_head, x, cache);
}

mla_tensor *mla_block_apply(mla_tape *tape, const mla_block *block, mla_tensor *x, mla_layer_cache *cache) {
    const float p = (float)block->config->dropout;
    const mla_dtype type = mla_tape_step(tape)->precision; /* of the norms' results before products */
    const int64_t scope = mla_scope_open(tape);
    if (block->config->norm_position == MLA_NORM_PRE) {
        x = mla_residual_add(tape, x, attend(tape, block, mla_norm_apply(tape, &block->input_norm, x, type), cache), p);
        mla_tensor *h = mla_norm_apply(tape, &block->post_attention_norm, x, type);
        x = mla_residual_add(tape, x, mla_feed_forward_apply(tape, &block->feed_forward, h), p);
    } else {
        x = mla_residual_add(tape, x, attend(tape, block, x, cache), p);
        x = mla_norm_apply(tape, &block->input_norm, x, MLA_F32);
        mla_tensor *y = mla_feed_forward_apply(tape, &block->feed_forward, x);
        x = mla_norm_apply(tape, &block->post_attention_norm, mla_residual_add(tape, x, y, p), MLA_F32);
    }
    return mla_scope_close(tape, scope, x);
}
