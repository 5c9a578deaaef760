/* Pictures of decisions: ROC, precision over recall, and calibration, side by side. */
#ifndef MLA_TRAIN_SCORING_CURVES_H
#define MLA_TRAIN_SCORING_CURVES_H

#include "data/labels/label_set.h"
#include "train/scoring/decisions.h"

/* Draws them into a .svg or .png (train/log/gnuplot.h): of the positive class, or of the labels with the most rows, at
 * most ten, each against the rest. MLA_ERROR_ARGUMENT for numbers, and where no label has rows of both kinds. */
mla_status mla_scoring_plot(mla_context *context, const mla_decisions *decisions, const mla_label_set *names,
                            const char *path);

#endif
