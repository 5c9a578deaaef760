/* How well scores put the rows that are of a label before those that are not, wherever the line is drawn between them.
 *
 *     mla_cut cut = {0};
 *     while (mla_cut_next(&ranking, &cut)) ...      every place where a line can be drawn, from the highest score down
 *
 * Equal scores are on one side of every line. Definitions are scikit-learn's (roc_auc_score, average_precision_score).
 */
#ifndef MLA_TRAIN_SCORING_RANKING_H
#define MLA_TRAIN_SCORING_RANKING_H

#include "autograd/base/context.h"

typedef struct {
    int64_t count;
    const double *scores;  /* (count), finite */
    const uint8_t *truth;  /* (count): 1 where the row is of the label */
    const int64_t *order;  /* rows by falling score: mla_rank_rows */
    const double *weights; /* (count), how often a row counts; NULL: once */
} mla_ranking;

/* Numbers of rows by falling score, equal ones in their order. */
void mla_rank_rows(int64_t count, const double *scores, int64_t *order);

/* What is said to be of the label when the line is drawn below `score`; begins as {0}. */
typedef struct {
    int64_t next; /* in the order */
    double score;
    double hits, alarms; /* weights of rows above the line that are of the label, and that are not */
} mla_cut;
/* Goes to the next lower score; false behind the last. */
bool mla_cut_next(const mla_ranking *ranking, mla_cut *cut);

/* Weights of the rows that are of the label, and of the others: the last cut. */
mla_cut mla_ranking_total(const mla_ranking *ranking);

/* Area under the ROC curve: the chance that a row of the label has a higher score than one that is not, equal scores
 * for a half. NaN where either is missing. */
double mla_ranking_auroc(const mla_ranking *ranking);
/* Sum over the cuts of (gain in recall) * precision. NaN where no row is of the label. */
double mla_ranking_average_precision(const mla_ranking *ranking);

/* A line, and what comes of it: rows of `threshold` and more are above. It lies half-way to the next lower score. */
typedef struct {
    double threshold; /* infinite: no row is above */
    double recall, precision, f1, false_positive_rate;
} mla_operating_point;

/* The lowest line with at most this share of the other rows above it; NaN where rows of either kind are missing. */
mla_operating_point mla_ranking_at_rate(const mla_ranking *ranking, double false_positive_rate);
/* The line of the best F1, the highest of several. */
mla_operating_point mla_ranking_best_f1(const mla_ranking *ranking);

#endif
