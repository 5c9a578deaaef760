/* The log of a run as TensorBoard reads it, with the names that transformers gives to what it has too: train/loss,
 * train/learning_rate, train/grad_norm, eval/loss; time/..., statistics/...; and the recipe, as a text. Scalars are
 * f32. The loss and the gradient's norm of a skipped step are NaN, which TensorBoard marks. */
#ifndef MLA_TRAIN_LOG_TENSORBOARD_H
#define MLA_TRAIN_LOG_TENSORBOARD_H

#include "autograd/schema/fields.h"
#include "train/log/metrics.h"

/* ---- while a run trains: events.out.tfevents.*.mla in its folder */

typedef struct mla_tensorboard mla_tensorboard;

/* Continues after `step`, for which the log (metrics.jsonl) is open already: in the files of before, later steps are
 * cut off; steps that they lack are taken from the log; what comes goes into a new file, which the first step makes.
 * Other programs' event files are left alone. out NULL: this time without events, but what is cut off the log is cut
 * off them. MLA_ERROR_IO. */
mla_status mla_tensorboard_open(mla_context *context, mla_tensorboard **out, const char *folder, int64_t step);
/* Adds a step; NULL: nothing. MLA_ERROR_IO. */
mla_status mla_tensorboard_write(mla_tensorboard *tensorboard, const mla_metrics *metrics);
void mla_tensorboard_close(mla_tensorboard *tensorboard);

/* ---- afterwards */

/* Writes DIR/NAME/events.out.tfevents.mla of a run, in place of the one of before; NAME is that of its folder. A folder
 * without a log stands for the runs below it, as that of a comparison: DIR/NAME/ARM/... *paths: what was written, to be
 * freed with mla_list_free. MLA_ERROR_IO; MLA_ERROR_ARGUMENT: there is no run, or there are two of one name;
 * mla_metrics_read's. */
mla_status mla_tensorboard_export(mla_context *context, const char *dir, const mla_list *folders, mla_list *paths);

#endif
