/* A model with multi-head attention (MHA, GQA, MQA) made into one with latent attention: what `mla convert` does.
 *
 *     norms     norms of heads become part of projections, where asked      layers/adapt/head_norms
 *     exact     the same function in DeepSeek-V3's layout                    layers/adapt/latent_form
 *     rotary    few of the keys' rows go on turning with their position      layers/adapt/key_frame
 *     latent    what does not turn, and the values, pass a narrow latent     train/convert/latent_rank
 *
 * After each stage the result is compared with the original on text that calibration has not seen. */
#ifndef MLA_TRAIN_CONVERT_TO_LATENT_H
#define MLA_TRAIN_CONVERT_TO_LATENT_H

#include "train/convert/latent_plan.h"

/* A new model; the caller owns it, and there is none where the first stage is refused. `model` is only read.
 * MLA_ERROR_ARGUMENT: a model that cannot be converted, or options that do not fit it. */
mla_status mla_to_latent(mla_decoder *model, const mla_to_latent_options *options, mla_decoder **out,
                         mla_conversion_report *report);

#endif
