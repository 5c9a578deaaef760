/* What mla eval prints of a model that labels. */
#ifndef MLA_TRAIN_COMMANDS_INFERENCE_LABEL_REPORT_H
#define MLA_TRAIN_COMMANDS_INFERENCE_LABEL_REPORT_H

#include "train/scoring/scores.h"
#include "train/scoring/thresholds.h"

#include <stdio.h>

typedef struct {
    FILE *out;
    const char *checkpoint, *saved; /* the model, and where it was written with its threshold; or NULL */
    mla_dtype precision;
    const mla_label_set *names;
    const mla_decisions *decisions;
    const mla_thresholds *thresholds; /* by which labels were said; NULL: none were chosen */
    double loss, at_fpr;
    double scores[MLA_SCORES];
    const mla_bounds *bounds; /* (MLA_SCORES) or NULL */
} mla_label_report;

void mla_label_report_text(const mla_label_report *report);
void mla_label_report_json(const mla_label_report *report);

#endif
