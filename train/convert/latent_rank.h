/* Another latent rank for a trained model: what `mla rank` does (layers/adapt/latent_rank.h has the mathematics).
 *
 * Windows of the text pass through the model (train/convert/calibration.h) and tell what the latents of each layer are
 * and what the loss makes of them. */
#ifndef MLA_TRAIN_CONVERT_LATENT_RANK_H
#define MLA_TRAIN_CONVERT_LATENT_RANK_H

#include "train/convert/calibration.h"

typedef enum { MLA_LATENT_RANK_MOMENTS, MLA_LATENT_RANK_SVD } mla_latent_rank_method;

typedef struct {
    mla_ints latent;               /* ranks: one for all layers, or one for each; or none, and */
    int64_t budget;                /* bytes of cache a token may take (f32): ranks go where the loss needs them most */
    mla_latent_rank_method method; /* of shrinking; SVD: by the weights alone, to compare with */
    const mla_token_stream *text;  /* to calibrate and measure on; NULL where layers only grow, or SVD does without */
    int64_t sequence;              /* tokens that are seen together */
    int64_t tokens;                /* of the text at most */
    mla_comm *comm;                /* ranks that share the text, where latents have a neutral norm; NULL: none */
    bool unmeasured;               /* the caller measures the result, and the report has no losses and errors of it */
} mla_latent_rank_options;

typedef struct {
    int64_t before, after; /* ranks */
    double error;          /* of the attention's output given the old model's input, relative to its size; NaN without
                              text */
} mla_latent_rank_change;

typedef struct {
    mla_latent_rank_change layer[MLA_MOST_INTS];
    int64_t layers;
    int64_t calibrated, left_out; /* tokens */
    double calibration_loss[2];   /* before and after, nats per token; NaN without text */
    double loss[2];               /* the same of what was left out */
    int64_t bytes_per_token[2];   /* of the cache */
} mla_latent_rank_report;

/* Whether a model of this configuration, whose latents have a neutral norm or not, can get these ranks or be made to
 * fit this budget. MLA_ERROR_ARGUMENT where not, or where both or neither is given. */
mla_status mla_latent_rank_check(mla_context *context, const mla_model_config *config, bool neutral,
                                 const mla_ints *latent, int64_t budget);

/* A new model like `model` but for the ranks; the caller owns it. The model is only read. MLA_ERROR_ARGUMENT
 * for ranks, a budget or a text that do not fit it. */
mla_status mla_change_latent_rank(mla_decoder *model, const mla_latent_rank_options *options, mla_decoder **out,
                                  mla_latent_rank_report *report);

#endif
