/* What is asked of a conversion to latent attention, before anything is done: whether it is possible, and what each
 * stage will cache. */
#ifndef MLA_TRAIN_CONVERT_LATENT_PLAN_H
#define MLA_TRAIN_CONVERT_LATENT_PLAN_H

#include "train/convert/to_latent.h"

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
