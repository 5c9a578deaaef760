/* What a model is: sizes and choices, with the names and meanings of Hugging Face's config.json for DeepSeek
 * models (`latent`) and Llama-like ones (`multi_head`), and a few keys of our own after them.
 *
 *     mla_model_config config;
 *     mla_model_config_default(context, &config);
 *     config.kv_lora_rank = 64;
 *     if ((status = mla_model_config_check(context, "", &config))) return status;
 *
 * The struct owns nothing: copy it by assignment. */
#ifndef MLA_LAYERS_PARTS_CONFIG_H
#define MLA_LAYERS_PARTS_CONFIG_H

#include "autograd/schema/fields.h"

/* What models are made of, each a descriptor in a table: layers/kinds.h. */
typedef struct mla_attention_kind mla_attention_kind;
typedef struct mla_feed_forward_kind mla_feed_forward_kind;
typedef struct mla_head_kind mla_head_kind;

typedef enum { MLA_POSITION_ROPE, MLA_POSITION_LEARNED, MLA_POSITION_NONE } mla_position_kind;
typedef enum { MLA_NORM_RMSNORM, MLA_NORM_LAYERNORM } mla_norm_kind;
typedef enum { MLA_NORM_PRE, MLA_NORM_POST } mla_norm_position;
typedef enum { MLA_ACT_SILU, MLA_ACT_RELU, MLA_ACT_GELU, MLA_ACT_GELU_NEW } mla_activation;
typedef enum {
    MLA_ROPE_SCALING_NONE,
    MLA_ROPE_SCALING_YARN,
    MLA_ROPE_SCALING_LLAMA3,
    MLA_ROPE_SCALING_LINEAR,
    MLA_ROPE_SCALING_LONGROPE
} mla_rope_scaling_type;
/* What labels are, in Hugging Face's words; what a document's logits are made of. */
typedef enum { MLA_PROBLEM_SINGLE_LABEL, MLA_PROBLEM_MULTI_LABEL, MLA_PROBLEM_REGRESSION } mla_problem_type;
typedef enum { MLA_POOLING_LAST, MLA_POOLING_MEAN } mla_pooling;
extern const char *const mla_problem_names[];                                   /* end with NULL */
extern const char *const mla_position_names[], *const mla_rope_scaling_names[]; /* end with NULL */

/* Longer contexts than trained on: YaRN (Peng et al. 2023) as DeepSeek uses it, Llama 3's rule, one factor for all
 * angles (linear), or one for each (LongRoPE, Ding et al. 2024). */
typedef struct {
    mla_rope_scaling_type type; /* NONE: the other members mean nothing */
    double factor;
    int64_t original_max_position_embeddings;
    double beta_fast, beta_slow;              /* yarn */
    double mscale, mscale_all_dim;            /* yarn; 0: not given, see layers/parts/rope.h */
    double attention_factor;                  /* yarn, longrope: of cos and sin; 0: follows from the others */
    double low_freq_factor, high_freq_factor; /* llama3 */
    mla_floats short_factor, long_factor;     /* longrope: of each wave length, up to the original length and beyond */
} mla_rope_scaling;

typedef struct {
    int64_t vocab_size;
    int64_t hidden_size;       /* D */
    int64_t intermediate_size; /* F */
    int64_t num_hidden_layers;
    int64_t num_attention_heads;     /* H */
    int64_t num_key_value_heads;     /* multi_head, qk_norm: groups that share keys and values; 0: as many as heads */
    int64_t head_dim;                /* multi_head, qk_norm: 0: hidden_size / num_attention_heads */
    int64_t q_lora_rank;             /* latent: 0: queries are projected directly */
    int64_t kv_lora_rank;            /* latent: C */
    int64_t qk_nope_head_dim;        /* latent: N; 0: hidden_size / num_attention_heads */
    int64_t qk_rope_head_dim;        /* latent: R; 0 where position is not rope */
    int64_t v_head_dim;              /* latent: V; 0: as qk_nope_head_dim */
    int64_t max_position_embeddings; /* longest sequence */
    double rope_theta;
    mla_rope_scaling rope_scaling;
    bool rope_interleave;
    double rms_norm_eps; /* of LayerNorm as well; the norms on the latents always use 1e-6 */
    bool tie_word_embeddings;
    bool attention_bias;      /* latent: of q_a_proj, kv_a_proj_with_mqa and o_proj; multi_head: of all four */
    double attention_dropout; /* of Hugging Face's files; only 0 is supported */
    double initializer_range; /* standard deviation of initial weights */
    mla_activation hidden_act;
    bool mlp_bias;
    int64_t num_labels; /* heads that label: K; language: 0 */
    mla_problem_type problem_type;
    double classifier_dropout; /* heads that label: of what they are applied to */
    /* our own */
    const mla_attention_kind *attention;
    const mla_feed_forward_kind *feed_forward;
    const mla_head_kind *head;
    mla_pooling pooling; /* sequence */
    mla_position_kind position;
    bool latent_norm; /* RMSNorm on the latents of queries, keys and values */
    bool qkv_bias;    /* multi_head: biases of q_proj, k_proj and v_proj only, as Qwen2 */
    bool qk_norm;     /* RMSNorm on each head of queries and keys before RoPE, as Qwen3; latent: before the latent */
    bool causal;
    mla_norm_kind norm;
    mla_norm_position norm_position;
    bool gated;     /* act(gate) * up, as in SwiGLU; otherwise act(up) */
    double dropout; /* after attention, inside and after the feed-forward */
    bool final_norm;
    bool scaled_residual_init;  /* o_proj and down_proj begin smaller: see mla_linear_build_residual */
    bool zero_attention_output; /* o_proj begins at 0 */
    mla_ints kv_lora_ranks;     /* latent: C of each layer, where they differ; kv_lora_rank is then the largest */
} mla_model_config;

/* The table that describes it. */
extern const mla_field_table mla_model_fields;

/* A small decoder with latent attention, as DeepSeek's in all but size; vocab_size is 0. */
void mla_model_config_default(mla_context *context, mla_model_config *config);

/* Replaces the members of which 0 means "follows from the others" and ranks of layers that are all equal,
 * then checks bounds and that the members fit together. Messages start with `where` ("" or "recipe.yaml:
 * model."). Error: MLA_ERROR_ARGUMENT. */
mla_status mla_model_config_check(mla_context *context, const char *where, mla_model_config *config);

/* For the checks of attentions. A head's width that is 0 becomes hidden_size / num_attention_heads; a width that RoPE
 * rotates must be even. `key` is the member's. */
mla_status mla_model_config_head_width(mla_context *context, const char *where, const char *key,
                                       const mla_model_config *config, int64_t *width);
mla_status mla_model_config_rotary_width(mla_context *context, const char *where, const char *key, int64_t width);

/* C of a layer. */
int64_t mla_model_config_latent_rank(const mla_model_config *config, int64_t layer);

/* Replaces what concerns the head alone by another configuration's. */
void mla_model_config_take_head(mla_model_config *config, const mla_model_config *from);

/* As JSON text, readable as a config.json; free() it. NULL after an error. */
char *mla_model_config_json(mla_context *context, const mla_model_config *config);

/* Reads JSON text and checks it. Members it does not name get their defaults; keys that are not ours are
 * appended to `ignored`, or are errors where that is NULL. */
mla_status mla_model_config_parse_json(mla_context *context, const char *where, const char *text,
                                       mla_model_config *config, mla_list *ignored);

#endif
