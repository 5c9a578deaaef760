/* Multi-head latent attention (DeepSeek-AI 2024, "DeepSeek-V2", section 2.1), with Hugging Face's names.
 *
 *     q  = q_proj x               or  q_b_proj norm(q_a_proj x)          per head [nope (N); rope (R)]
 *     [c; k_rope] = kv_a_proj_with_mqa x,   c = norm(c)                  latent (C), one rotary key (R)
 *     [k_nope; v] = kv_b_proj c                                          per head
 *     y = o_proj attention(rope(q), [k_nope; rope(k_rope)], v)
 *
 * With qk_norm, made of multi-head attention that norms its heads (layers/adapt/latent_form.h), the norms act before
 * the latent, so that all behind it is as above. With heads of head_dim, num_key_value_heads of them for keys:
 *
 *     q  = q_b_proj q_norm(q_proj x),   [c; k_rope] = kv_a_proj_with_mqa [k_norm(k_proj x); v_proj x]
 *
 * Without query rank, latent norms, rotary part and mask it is the layer of the article: W_down_kv is
 * kv_a_proj_with_mqa, and W_up_k and W_up_v are, head by head, the rows of kv_b_proj. */
#ifndef MLA_LAYERS_ATTENTION_LATENT_ATTENTION_H
#define MLA_LAYERS_ATTENTION_LATENT_ATTENTION_H

#include "layers/attention/attention.h"
#include "layers/parts/linear.h"
#include "layers/parts/norm.h"

typedef struct mla_latent_layer mla_latent_layer;

/* For those who measure a layer: sees its input x and its latents before and after their norm, and returns
 * what goes on in place of c, which may be c itself. */
typedef struct {
    mla_tensor *(*see)(void *user, mla_tape *tape, const mla_latent_layer *layer, mla_tensor *x, mla_tensor *h,
                       mla_tensor *c);
    void *user;
} mla_latent_probe;

struct mla_latent_layer {
    const mla_model_config *config;
    int64_t index;              /* which of the model's layers it is, from 0 */
    int64_t rank;               /* C */
    const mla_rope_table *rope; /* NULL without rotary part */
    float scale;                /* of the scores */
    mla_linear_layer q_proj, q_a_proj, q_b_proj, kv_a_proj, kv_b_proj, o_proj;
    mla_linear_layer k_proj, v_proj; /* with qk_norm only, as these norms */
    mla_norm q_norm, k_norm;
    mla_norm q_a_norm, kv_a_norm;
    const mla_latent_probe *probe; /* or NULL */
};

/* model.attention: latent */
extern const mla_attention_kind mla_latent_kind;

/* The kind's apply, for those who measure one layer beside another. */
mla_tensor *mla_latent_layer_apply(mla_tape *tape, const mla_latent_layer *layer, mla_tensor *x, const mla_pass *pass,
                                   mla_layer_cache *cache);

#endif
