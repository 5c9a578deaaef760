/* A multi-head layer (MHA, GQA, MQA) written as a latent one that computes the same, in DeepSeek-V3's own layout.
 *
 * With L = G K, the width of all its keys, and a frame (layers/adapt/key_frame.h) of which r rows turn:
 *
 *     latent      [keys that do not turn (L - r); values (L); 1]        kv_lora_rank = 2L - r + 1
 *     rotary key  [keys that turn (r)], one for all heads               qk_rope_head_dim = r
 *     kv_b        per head: the frame's way back to its group's keys, its group's values
 *     q           per head: [q (K); the frame's rotary part of q (r)], times sqrt((N + r) / K) for the other scale
 *
 * With all pairs turning (r = L) there is nothing for the part without position, which is a single zero (N = 1).
 *
 * Norms of heads (qk_norm) stay where they are, before the latent: then kv_a and q_b see heads instead of x, and their
 * weights are the frame itself.
 *
 * The norm of the latent is neutral (layers/adapt/neutral_norm.h). Biases of queries need q_a_proj for a constant 1
 * beside x, in the same way. */
#ifndef MLA_LAYERS_ADAPT_LATENT_FORM_H
#define MLA_LAYERS_ADAPT_LATENT_FORM_H

#include "layers/adapt/key_frame.h"
#include "layers/adapt/neutral_norm.h"

/* The configuration of a model whose layers all get such a form with `rotary` turning rows; frequencies are the
 * caller's to set. */
mla_model_config mla_latent_form_config(const mla_model_config *from, int64_t rotary);

/* Fills the parameters of `to`, a layer of that configuration. turned: what cosines and sines of `from` are multiplied
 * by (YaRN's attention factor), whose square is lost where keys no longer turn. Error: MLA_ERROR_MEMORY. */
mla_status mla_latent_form_fill(mla_context *context, const mla_multi_head_layer *from, const mla_key_frame *frame,
                                double turned, const mla_latent_layer *to);

#endif
