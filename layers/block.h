/* One block of a transformer: attention and feed-forward, each with its norm and residual.
 *
 *     pre-norm:   x = x + dropout(attention(norm(x))),   x = x + dropout(feed_forward(norm(x)))
 *     post-norm:  x = norm(x + dropout(attention(x))),   x = norm(x + dropout(feed_forward(x)))
 *
 * Post-norm with LayerNorm, ReLU, biases in the feed-forward only and no mask is the article's TransformerLayer. */
#ifndef MLA_LAYERS_BLOCK_H
#define MLA_LAYERS_BLOCK_H

#include "layers/kinds.h"
#include "layers/parts/norm.h"

typedef struct {
    const mla_model_config *config;
    int64_t index; /* which of the model's it is, from 0 */
    mla_norm input_norm, post_attention_norm;
    void *attention, *feed_forward; /* layers of the configuration's kinds; the block owns their memory */
} mla_block;

/* The builder's prefix is "model.layers.0.". After an error too, mla_block_free frees what is there. Errors:
 * mla_params_add's, memory. */
mla_status mla_block_build(const mla_builder *builder, mla_block *block);
void mla_block_free(mla_block *block);

/* x (B,T,D) -> (B,T,D). cache: the layer's own; NULL in training. */
mla_tensor *mla_block_apply(mla_tape *tape, const mla_block *block, mla_tensor *x, const mla_pass *pass,
                            mla_layer_cache *cache);

#endif
