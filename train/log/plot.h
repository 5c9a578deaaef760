/* Loss curves of one or more runs, drawn by gnuplot. */
#ifndef MLA_TRAIN_LOG_PLOT_H
#define MLA_TRAIN_LOG_PLOT_H

#include "autograd/schema/fields.h"
#include "train/log/gnuplot.h"
#include "train/log/metrics.h"

#include <stdio.h>

/* Draws the training and the held-out loss over the steps of the runs in `folders` (each with a metrics.jsonl) into a
 * .png or .svg at `path`, wholly or not at all. MLA_ERROR_IO where there is no metrics.jsonl, MLA_ERROR_FORMAT for an
 * empty one; otherwise mla_gnuplot_picture's. */
mla_status mla_plot_picture(mla_context *context, const mla_list *folders, const char *path);

/* The same as characters on `out`, which is as wide as `columns`. */
mla_status mla_plot_terminal(mla_context *context, const mla_list *folders, FILE *out, int columns);

/* What of a step is drawn, and of what is held out (NULL: nothing); NaN: not there. */
typedef struct {
    const char *title, *unit;
    double (*of_step)(const mla_metrics *m);
    double (*held_out)(const mla_metrics *m);
    bool exact; /* it has no noise that many steps would be smoothed for */
} mla_plot_kind;

/* The loss first; ends with NULL. */
extern const mla_plot_kind *const mla_plot_kinds[];

/* Draws as SVG, for a page that is white, or black. Errors as above. */
mla_status mla_plot_svg(mla_context *context, const mla_list *folders, const mla_plot_kind *kind, bool dark,
                        mla_picture_bytes *out);

#endif
