/* What a model decided about texts or tokens, beside what is true of them. Arrays are (K,N): label by label, N rows. */
#ifndef MLA_TRAIN_SCORING_DECISIONS_H
#define MLA_TRAIN_SCORING_DECISIONS_H

#include "autograd/ops.h"
#include "train/scoring/ranking.h"

typedef struct {
    mla_labels_kind kind;
    int64_t rows, labels; /* N, K */
    int64_t positive;     /* of two classes, the one that is asked for; otherwise -1 */
    int64_t *units;       /* (N): the text that a row is of */
    int64_t unit_count;
    double *values;                 /* (K,N): probabilities of labels, or numbers */
    uint8_t *truth, *said;          /* (K,N): whether the row has the label, and is said to have it; of labels */
    double *numbers;                /* (K,N): what is true; of numbers */
    int64_t *order, *numbers_order; /* (K,N): rows by falling value */
    double *ranks;                  /* (2,N): scratch, of numbers */
} mla_decisions;

/* Allocates the arrays, zeroed; freed in any case. A row is its own unit. Only error: MLA_ERROR_MEMORY. */
mla_status mla_decisions_create(mla_context *context, mla_decisions *out, mla_labels_kind kind, int64_t rows,
                                int64_t labels);
void mla_decisions_free(mla_decisions *decisions);

/* When values, truth and numbers are filled in: fills in the orders and what is said. Flags are said from their
 * threshold on, thresholds (K); of classes with `positive` that one from its threshold on; of others the likeliest.
 * thresholds: NULL for 0.5, and for the likeliest of two classes, too. */
void mla_decisions_decide(mla_decisions *decisions, const double *thresholds);

/* The likeliest class of a row, the first of several. */
int64_t mla_decisions_likeliest(const mla_decisions *decisions, int64_t row);

/* One label's scores; weights (N) or NULL. */
mla_ranking mla_decisions_ranking(const mla_decisions *decisions, int64_t label, const double *weights);

#endif
