/* Multi-head attention (Vaswani et al. 2017), with grouped (GQA, Ainslie et al. 2023) or one (MQA, Shazeer 2019)
 * key and value heads, with or without RoPE.
 *
 *     y = o_proj attention(rope(q_norm q_proj x), rope(k_norm k_proj x), v_proj x)
 *
 * The norms, one gain for all heads, are there with qk_norm only. */
#ifndef MLA_LAYERS_MULTI_HEAD_ATTENTION_H
#define MLA_LAYERS_MULTI_HEAD_ATTENTION_H

#include "layers/config.h"
#include "layers/kv_cache.h"
#include "layers/linear.h"
#include "layers/norm.h"

typedef struct {
    const mla_model_config *config;
    const mla_rope_table *rope; /* NULL without */
    mla_linear_layer q_proj, k_proj, v_proj, o_proj;
    mla_norm q_norm, k_norm; /* empty without qk_norm */
} mla_multi_head_layer;

/* prefix: "model.layers.0.self_attn.". config and rope must outlive the layer. Errors: mla_params_add's. */
mla_status mla_multi_head_layer_build(mla_context *context, mla_params *params, mla_multi_head_layer *layer,
                                      const mla_model_config *config, const mla_rope_table *rope, const char *prefix);

/* x (B,T,D) -> (B,T,D). cache (B = 1; NULL in training) gets the new positions; where it has some already, T
 * must be 1. */
mla_tensor *mla_multi_head_layer_apply(mla_tape *tape, const mla_multi_head_layer *layer, mla_tensor *x,
                                       mla_layer_cache *cache);

#endif
