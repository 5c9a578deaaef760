/* The attentions that a model is held against: multi-head attention of the same heads, with keys and values for each
 * head (MHA), for groups of heads (GQA) and for all heads together (MQA); for a multi-head model, a latent one too. */
#ifndef MLA_TRAIN_DRAW_COUNTERPARTS_H
#define MLA_TRAIN_DRAW_COUNTERPARTS_H

#include "layers/parts/config.h"

enum { MLA_MOST_COUNTERPARTS = 4 };

/* Whether the attention caches a latent. */
bool mla_has_latent(const mla_model_config *config);

typedef struct {
    char name[64];           /* "GQA, 2 groups" */
    mla_model_config config; /* checked; all but the attention is the model's */
    bool own;                /* the model's own attention */
} mla_counterpart;

/* MHA first, then GQA and MQA where the heads allow them, then MLA. The model itself is one of them: a latent model the
 * MLA, a multi-head model whichever it is. Its MLA is then a supposed one, which caches as much as MQA
 * (layers/attention/replace.h). GQA has the model's groups, or as many as come nearest to a quarter of the heads.
 * Errors: those of mla_model_config_check. */
mla_status mla_counterparts(mla_context *context, const mla_model_config *own, mla_counterpart *out, int *count);

typedef struct {
    int64_t parameters, attention_parameters; /* of the model with this attention */
    int64_t cache_bytes_per_token;            /* all layers */
    double prompt_flops;                      /* of the attention of all layers, a token of a prompt of `tokens` */
    double decode_flops, decode_bytes;        /* the same of the token after them; NaN where causal is false */
} mla_attention_costs;

/* By the costs that the ops state, in f32. Errors: the model's, memory. */
mla_status mla_count_attention_costs(mla_context *context, const mla_model_config *config, int64_t tokens,
                                     mla_attention_costs *out);

#endif
