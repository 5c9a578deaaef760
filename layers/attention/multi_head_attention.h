/* Multi-head attention (Vaswani et al. 2017), with grouped (GQA, Ainslie et al. 2023) or one (MQA, Shazeer 2019)
 * key and value heads, with or without RoPE.
 *
 *     y = o_proj attention(rope(q_norm q_proj x), rope(k_norm k_proj x), v_proj x)
 *
 * The norms, one gain for all heads, are there with qk_norm only. */
#ifndef MLA_LAYERS_ATTENTION_MULTI_HEAD_ATTENTION_H
#define MLA_LAYERS_ATTENTION_MULTI_HEAD_ATTENTION_H

#include "layers/attention/attention.h"

/* model.attention: multi_head */
extern const mla_attention_kind mla_multi_head_kind;

#endif
