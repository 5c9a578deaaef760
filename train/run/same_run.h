/* Whether a checkpoint is of the run that is to be resumed. */
#ifndef MLA_TRAIN_RUN_SAME_RUN_H
#define MLA_TRAIN_RUN_SAME_RUN_H

#include "train/checkpoint/checkpoint.h"
#include "train/run/mix.h"

/* MLA_ERROR_ARGUMENT where its model is not that of the run's recipe. */
mla_status mla_same_model(mla_context *context, const mla_checkpoint *checkpoint, const mla_model_config *wanted);

/* MLA_ERROR_ARGUMENT where it was trained on other data: the place in it means something only in the same. data_tokens:
 * of the checkpoint's state. */
mla_status mla_same_data(mla_context *context, const mla_checkpoint *checkpoint, int64_t data_tokens,
                         const mla_mix *mix);

#endif
