/* One block of a transformer: attention and feed-forward, each with its norm and residual.
 *
 *     pre-norm:   x = x + dropout(attention(norm(x))),   x = x + dropout(feed_forward(norm(x)))
 *     post-norm:  x = norm(x + dropout(attention(x))),   x = norm(x + dropout(feed_forward(x)))
 *
 * Post-norm with LayerNorm, ReLU, biases in the feed-forward only and no mask is the article's TransformerLayer. */
#ifndef MLA_LAYERS_BLOCK_H
#define MLA_LAYERS_BLOCK_H

#include "layers/feed_forward.h"
#include "layers/latent_attention.h"
#include "layers/multi_head_attention.h"
#include "layers/norm.h"

typedef struct {
    const mla_model_config *config;
    mla_norm input_norm, post_attention_norm;
    mla_latent_layer latent;         /* or */
    mla_multi_head_layer multi_head; /* by config->attention */
    mla_feed_forward feed_forward;
} mla_block;

/* place: which of the model's blocks it is, from 0; prefix: "model.layers.0.". config and rope must outlive
 * the block. Errors: mla_params_add's. */
mla_status mla_block_build(mla_context *context, mla_params *params, mla_block *block,
                           const mla_model_config *config, const mla_rope_table *rope, int64_t place,
                           const char *prefix);

/* Its projections, in the order of its parameters, into `out`; returns how many there are. */
enum { MLA_BLOCK_PROJECTIONS = 9 };
int mla_block_projections(mla_block *block, mla_linear_layer *out[MLA_BLOCK_PROJECTIONS]);

/* x (B,T,D) -> (B,T,D). cache: see the attention layers; NULL in training. */
mla_tensor *mla_block_apply(mla_tape *tape, const mla_block *block, mla_tensor *x, mla_layer_cache *cache);

#endif
