/* The feed-forward part of a block.
 *
 *     gated:  y = down_proj dropout(act(gate_proj x) * up_proj x)       SwiGLU with silu (Shazeer 2020)
 *     else:   y = down_proj dropout(act(up_proj x)) */
#ifndef MLA_LAYERS_FEED_FORWARD_H
#define MLA_LAYERS_FEED_FORWARD_H

#include "layers/config.h"
#include "layers/linear.h"

typedef struct {
    const mla_model_config *config;
    mla_linear_layer gate_proj, up_proj, down_proj;
} mla_feed_forward;

/* prefix: "model.layers.0.mlp.". config must outlive the layer. Errors: mla_params_add's. */
mla_status mla_feed_forward_build(mla_context *context, mla_params *params, mla_feed_forward *layer,
                                  const mla_model_config *config, const char *prefix);

/* x (B,T,D) -> (B,T,D) */
mla_tensor *mla_feed_forward_apply(mla_tape *tape, const mla_feed_forward *layer, mla_tensor *x);

#endif
