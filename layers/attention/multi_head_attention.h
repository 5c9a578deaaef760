/* Multi-head attention (Vaswani et al. 2017), with grouped (GQA, Ainslie et al. 2023) or one (MQA, Shazeer 2019)
 * key and value heads, with or without RoPE.
 *
 *     y = o_proj attention(rope(q_norm q_proj x), rope(k_norm k_proj x), v_proj x)
 *
 * The norms, one gain for all heads, are there with qk_norm only. */
#ifndef MLA_LAYERS_ATTENTION_MULTI_HEAD_ATTENTION_H
#define MLA_LAYERS_ATTENTION_MULTI_HEAD_ATTENTION_H

#include "layers/attention/attention.h"
#include "layers/parts/linear.h"
#include "layers/parts/norm.h"

typedef struct mla_multi_head_layer mla_multi_head_layer;

/* For those who measure a layer: sees its input x (B,T,D), its queries (B,T,H,K) and keys (B,T,G,K) as they are before
 * RoPE. */
typedef struct {
    void (*see)(void *user, mla_tape *tape, const mla_multi_head_layer *layer, mla_tensor *x, mla_tensor *q,
                mla_tensor *k);
    void *user;
} mla_multi_head_probe;

struct mla_multi_head_layer {
    const mla_model_config *config;
    int64_t index;              /* which of the model's layers it is, from 0 */
    const mla_rope_table *rope; /* NULL without */
    mla_linear_layer q_proj, k_proj, v_proj, o_proj;
    mla_norm q_norm, k_norm;           /* empty without qk_norm */
    const mla_multi_head_probe *probe; /* or NULL */
};

/* model.attention: multi_head */
extern const mla_attention_kind mla_multi_head_kind;

/* The kind's apply, for those who measure one layer beside another. */
mla_tensor *mla_multi_head_layer_apply(mla_tape *tape, const mla_multi_head_layer *layer, mla_tensor *x,
                                       const mla_pass *pass, mla_layer_cache *cache);

#endif
