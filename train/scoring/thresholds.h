/* From which probability on a label is said, chosen on held-out texts and kept with the model: JSON,
 *
 *     {"chosen_by": "f1", "thresholds": {"fraud": 0.37}}
 *
 * with one of two classes, or all flags. */
#ifndef MLA_TRAIN_SCORING_THRESHOLDS_H
#define MLA_TRAIN_SCORING_THRESHOLDS_H

#include "data/labels/label_set.h"
#include "train/scoring/decisions.h"

/* Begins as {0}; freed by mla_thresholds_free. */
typedef struct {
    double *values;   /* (labels); NaN: none for this label. NULL: none at all */
    int64_t positive; /* of two classes the one that has it; otherwise -1 */
    char chosen_by[32];
} mla_thresholds;

/* Chosen on decisions, each label by itself: the best F1, or with a rate not below 0 the most recall at that rate of
 * false positives. MLA_ERROR_ARGUMENT for more than two classes, numbers, a label that has no rows of both kinds, and
 * where each threshold lets more than the rate pass. */
mla_status mla_thresholds_choose(mla_context *context, const mla_decisions *decisions, const mla_label_set *names,
                                 double false_positive_rate, mla_thresholds *out);

/* As JSON, free() it; and back. `where` begins the message. MLA_ERROR_FORMAT for other names than the labels', numbers
 * outside of 0 ... 1, flags that are missing, more than one of two classes. */
char *mla_thresholds_json(mla_context *context, const mla_thresholds *thresholds, const mla_label_set *names);
mla_status mla_thresholds_parse(mla_context *context, const char *where, const char *json, const mla_label_set *names,
                                mla_labels_kind kind, mla_thresholds *out);
void mla_thresholds_free(mla_thresholds *thresholds);

#endif
