/* Loss curves of one or more runs, drawn by gnuplot. */
#ifndef MLA_TRAIN_LOG_PLOT_H
#define MLA_TRAIN_LOG_PLOT_H

#include "autograd/schema/fields.h"
#include <stdio.h>

/* Draws the training and the held-out loss over the steps of the runs in `folders` (each with a metrics.jsonl) into a
 * .png or .svg at `path`, wholly or not at all. MLA_ERROR_IO where there is no metrics.jsonl, MLA_ERROR_FORMAT for an
 * empty one; otherwise mla_gnuplot_picture's. */
mla_status mla_plot_picture(mla_context *context, const mla_list *folders, const char *path);

/* The same as characters on `out`, which is as wide as `columns`. */
mla_status mla_plot_terminal(mla_context *context, const mla_list *folders, FILE *out, int columns);

#endif
