/* Figures of decisions. All take weights (N), how often a row counts, or NULL: once. Definitions are scikit-learn's; a
 * figure that has no meaning for the kind of labels, or needs rows that are not there, is NaN. */
#ifndef MLA_TRAIN_SCORING_SCORES_H
#define MLA_TRAIN_SCORING_SCORES_H

#include "train/scoring/bootstrap.h"
#include "train/scoring/decisions.h"

/* How often a label is there and said, said, and there. */
typedef struct {
    double both, said, there;
} mla_label_counts;

/* 2 both / (said + there); 0 where it is neither. */
double mla_label_counts_f1(const mla_label_counts *counts);

/* F1 over several labels, added one by one; begins as {0}. */
typedef struct {
    mla_label_counts all;
    double sum, labels;
} mla_f1_sums;
/* A label that is neither said nor there counts in the mean only if `always`. */
void mla_f1_add(mla_f1_sums *sums, const mla_label_counts *counts, bool always);
double mla_f1_macro(const mla_f1_sums *sums); /* the mean of the labels' */
double mla_f1_micro(const mla_f1_sums *sums); /* of all counts together */

mla_label_counts mla_decisions_count(const mla_decisions *decisions, int64_t label, const double *weights);

typedef enum {
    MLA_SCORE_ACCURACY, /* all labels of the row are right */
    MLA_SCORE_MACRO_F1,
    MLA_SCORE_MICRO_F1,
    MLA_SCORE_AUROC,             /* of the positive class; otherwise the mean over labels, each against the rest, */
    MLA_SCORE_AVERAGE_PRECISION, /* that have rows of both kinds */
    MLA_SCORE_RECALL_AT_FPR,
    MLA_SCORE_CALIBRATION_ERROR, /* see mla_calibrate */
    MLA_SCORE_BRIER,             /* mean of (p - y)^2: of the positive class, of all flags, summed over classes */
    MLA_SCORE_MAE,               /* of numbers: means over all N*K; */
    MLA_SCORE_RMSE,
    MLA_SCORE_R2, /* and means over the K of 1 - squares of errors / squares about the mean; */
    MLA_SCORE_SPEARMAN,
    MLA_SCORES
} mla_score;
typedef struct {
    const char *key, *words;
} mla_score_name;
extern const mla_score_name mla_score_names[MLA_SCORES];

/* out (MLA_SCORES). false_positive_rate: of RECALL_AT_FPR. */
void mla_scores_of(const mla_decisions *decisions, const double *weights, double false_positive_rate, double *out);

/* 95 % intervals of them: out (MLA_SCORES). Texts are drawn, with all their rows. */
mla_status mla_scores_bounds(mla_context *context, const mla_decisions *decisions, double false_positive_rate,
                             int64_t replicates, uint64_t seed, mla_bounds *out);

/* Probabilities cut into bins of equal width: of the positive class, of all flags, or of the likeliest class. */
enum { MLA_CALIBRATION_BINS = 15 };
typedef struct {
    double weight, probability, right; /* sums */
} mla_calibration_bin;
void mla_calibrate(const mla_decisions *decisions, const double *weights, mla_calibration_bin *bins);
/* Sum over bins of |mean of probabilities - share that is right| * share of rows. */
double mla_calibration_error(const mla_calibration_bin *bins);

/* Whether a label counts in the means over labels: all do, or the positive class alone. */
bool mla_decisions_ask(const mla_decisions *decisions, int64_t label);

#endif
