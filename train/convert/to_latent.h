/* A model with multi-head attention (MHA, GQA, MQA) made into one with latent attention: what `mla convert` does.
 *
 *     exact     the same function in DeepSeek-V3's layout                    layers/adapt/latent_form
 *     rotary    few of the keys' rows go on turning with their position      layers/adapt/key_frame
 *     latent    what does not turn, and the values, pass a narrow latent     train/convert/latent_rank
 *
 * After each stage the result is compared with the original on text that calibration has not seen. */
#ifndef MLA_TRAIN_CONVERT_TO_LATENT_H
#define MLA_TRAIN_CONVERT_TO_LATENT_H

#include "train/convert/calibration.h"

typedef struct {
    int64_t rope_dim; /* rows of keys that turn, even; 0: all */
    int64_t fold;     /* neighbouring frequencies taken for one; 0: as measured */
    mla_ints latent;  /* kv_lora_rank: one for all layers, or one for each; or none, and */
    int64_t
        budget; /* bytes of cache a token may take (f32), spread as the loss needs it; 0 with no latent either: all */
    double max_loss;                /* nats per token that a stage may add to the original's loss; 0: any */
    mla_calibration_text calibrate; /* text NULL: none; then nothing is measured, and only the exact stage possible */
} mla_to_latent_options;

enum { MLA_STAGE_EXACT, MLA_STAGE_ROTARY, MLA_STAGE_LATENT, MLA_STAGES };
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

/* A new model; the caller owns it. `model` is only read. MLA_ERROR_ARGUMENT: a model that cannot be converted, or
 * options that do not fit it. */
mla_status mla_to_latent(mla_decoder *model, const mla_to_latent_options *options, mla_decoder **out,
                         mla_conversion_report *report);

#endif
