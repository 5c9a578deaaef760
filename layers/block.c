#include "layers/block.h"
#include "layers/parts/lesson.h"

#include <stdio.h>
#include <stdlib.h>

enum { LONGEST_PREFIX = 128 };

static mla_status build_norm(const mla_builder *b, mla_norm *norm, const char *name) {
    const mla_model_config *c = b->config;
    return mla_norm_build(b, norm, &(mla_norm_spec){name, c->norm, c->hidden_size, c->rms_norm_eps});
}

mla_status mla_block_build(const mla_builder *b, mla_block *block) {
    const mla_model_config *c = b->config;
    char attention_prefix[LONGEST_PREFIX], mlp_prefix[LONGEST_PREFIX];
    mla_builder attention = *b, feed_forward = *b;
    snprintf(attention_prefix, sizeof attention_prefix, "%sself_attn.", b->prefix);
    snprintf(mlp_prefix, sizeof mlp_prefix, "%smlp.", b->prefix);
    attention.prefix = attention_prefix;
    feed_forward.prefix = mlp_prefix;
    *block = (mla_block){
        .config = c, .index = b->layer, .attention = mla_alloc(b->context, 1, c->attention->size, "an attention")};
    block->feed_forward = mla_alloc(b->context, 1, c->feed_forward->size, "a feed-forward");
    if (!block->attention || !block->feed_forward) return MLA_ERROR_MEMORY;

    build_norm(b, &block->input_norm, "input_layernorm");
    c->attention->build(&attention, block->attention);
    build_norm(b, &block->post_attention_norm, "post_attention_layernorm");
    return c->feed_forward->build(&feed_forward, block->feed_forward);
}

void mla_block_free(mla_block *block) {
    free(block->attention);
    free(block->feed_forward);
    *block = (mla_block){0};
}

static mla_tensor *apply_attention(mla_tape *tape, const mla_block *block, mla_tensor *x, const mla_pass *pass,
                                   mla_layer_cache *cache) {
    const mla_attention_kind *kind = block->config->attention;
    if (!pass->onlooker) return kind->apply(tape, block->attention, x, pass, cache);
    if (kind->apply_in_steps && !cache) return kind->apply_in_steps(tape, block->attention, x, pass);
    mla_fail(mla_tape_context(tape), MLA_ERROR_ARGUMENT, "attention %s cannot be looked into%s", kind->name,
             cache ? " while it uses a cache" : "");
    return mla_inert(tape);
}

static mla_tensor *attend(mla_tape *tape, const mla_block *block, mla_tensor *x, const mla_pass *pass,
                          mla_layer_cache *cache) {
    mla_tensor *y = apply_attention(tape, block, x, pass, cache);
    return pass->lesson ? mla_lesson_take(tape, pass, block->index, y) : y;
}

mla_tensor *mla_block_apply(mla_tape *tape, const mla_block *block, mla_tensor *x, const mla_pass *pass,
                            mla_layer_cache *cache) {
    const mla_model_config *c = block->config;
    const float p = (float)c->dropout;
    const mla_dtype type = mla_tape_step(tape)->precision; /* of the norms' results before products */
    const int64_t scope = mla_scope_open(tape);
    if (c->norm_position == MLA_NORM_PRE) {
        mla_tensor *h = mla_norm_apply(tape, &block->input_norm, x, type);
        x = mla_residual_add(tape, x, attend(tape, block, h, pass, cache), p);
        h = mla_norm_apply(tape, &block->post_attention_norm, x, type);
        x = mla_residual_add(tape, x, c->feed_forward->apply(tape, block->feed_forward, h, pass), p);
    } else {
        x = mla_residual_add(tape, x, attend(tape, block, x, pass, cache), p);
        x = mla_norm_apply(tape, &block->input_norm, x, MLA_F32);
        mla_tensor *y = c->feed_forward->apply(tape, block->feed_forward, x, pass);
        x = mla_norm_apply(tape, &block->post_attention_norm, mla_residual_add(tape, x, y, p), MLA_F32);
    }
    return mla_scope_close(tape, scope, x);
}
