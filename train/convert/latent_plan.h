/* What is asked of a conversion to latent attention (train/convert/to_latent), and what it reports: whether it is
 * possible, and what each stage will cache, before anything is done. */
#ifndef MLA_TRAIN_CONVERT_LATENT_PLAN_H
#define MLA_TRAIN_CONVERT_LATENT_PLAN_H

#include "train/convert/calibration.h"

typedef struct {
    int64_t rope_dim; /* rows of keys that turn, even; 0: all */
    int64_t fold;     /* neighbouring frequencies taken for one; 0: as measured */
    mla_ints latent;  /* kv_lora_rank: one for all layers, or one for each; or none, and */
    int64_t
        budget; /* bytes of cache a token may take (f32), spread as the loss needs it; 0 with no latent either: all */
    bool fold_norms;                /* of heads (qk_norm), so that no norm remains before the latent */
    double max_loss;                /* nats per token that a stage may add to the original's loss; 0: any */
    mla_calibration_text calibrate; /* text NULL: none; then nothing is measured, and only the exact stage possible */
} mla_to_latent_options;

enum { MLA_STAGE_NORMS, MLA_STAGE_EXACT, MLA_STAGE_ROTARY, MLA_STAGE_LATENT, MLA_STAGES };
extern const char *const mla_stage_names[MLA_STAGES];

typedef struct {
    bool made;
    double loss, divergence;     /* of the text left out: nats per token; KL(original || this). NaN without text */
    int64_t bytes_per_token;     /* of the cache */
    int64_t rank[MLA_MOST_INTS]; /* kv_lora_rank of each layer */
    double error[MLA_MOST_INTS]; /* of the attention's output for the original's input, relative to its size */
} mla_conversion_stage;

typedef struct {
    int64_t layers, calibrated, left_out; /* tokens */
    double loss;                          /* the original's */
    int64_t bytes_per_token;
    int64_t rope_dim, fold;
    mla_conversion_stage stage[MLA_STAGES];
    int last;    /* the stage that was reached */
    int refused; /* the one that lost more than max_loss; -1: none */
} mla_conversion_report;

/* The rows of the keys that turn at first: all, or none where there is no RoPE. */
int64_t mla_to_latent_all_rotary(const mla_model_config *config);

/* MLA_ERROR_ARGUMENT: a model that cannot be converted, or options that do not fit it or have no effect. */
mla_status mla_to_latent_check(const mla_decoder *model, const mla_to_latent_options *options);

/* Nothing is made yet, and nothing measured. */
void mla_to_latent_begin_report(const mla_decoder *model, const mla_to_latent_options *options,
                                mla_conversion_report *out);

/* What each stage would cache, without values: fills stage[].bytes_per_token and rank where they do not hang on the
 * text. The same errors. */
mla_status mla_to_latent_plan(const mla_decoder *model, const mla_to_latent_options *options,
                              mla_conversion_report *report);

#endif
