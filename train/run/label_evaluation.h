/* How well a model labels (layers/head/classification.h): the loss, and what is right. */
#ifndef MLA_TRAIN_RUN_LABEL_EVALUATION_H
#define MLA_TRAIN_RUN_LABEL_EVALUATION_H

#include "train/distributed/team.h"
#include "train/run/evaluate.h"

/* Sums over targets, all in one array, so that several processes can add theirs up: the first few, then (3,K) counts.
 */
enum { MLA_TALLY_LOSS, MLA_TALLY_TARGETS, MLA_TALLY_RIGHT, MLA_TALLY_SQUARES, MLA_TALLY_CLASSES };
typedef struct {
    const mla_model_config *config;
    int64_t count; /* of the sums */
    double *sums;
} mla_label_tally;

/* Sums of zero for a model of this configuration, which must outlive it. MLA_ERROR_MEMORY. */
mla_status mla_label_tally_create(mla_context *context, mla_label_tally *out, const mla_model_config *config);
void mla_label_tally_free(mla_label_tally *tally);

/* Adds a target: its logits (K), and the row of the stream's labels that it is compared with. */
void mla_label_tally_add(mla_label_tally *tally, const mla_stream_labels *labels, int64_t row, const float *logits);

typedef struct {
    double loss;               /* the mean over targets; of numbers the squared error */
    int64_t targets;           /* texts or tokens */
    double accuracy;           /* share of targets whose label, or whose flags all, are right; NaN for numbers */
    double macro_f1, micro_f1; /* of classes that are there or are said to be, of all flags; NaN for numbers */
    double rmse;               /* of numbers; NaN for others */
} mla_label_scores;
mla_label_scores mla_label_scores_of(const mla_label_tally *tally);

/* What becomes of each target, in the order of windows and positions; the logits are gone after the call. */
typedef mla_status (*mla_label_visit)(void *user, int64_t row, const float *logits);

/* Goes through windows first ... end - 1 of a packed, labelled stream; *loss gets the sum. Errors: the graph's, the
 * visitor's. */
mla_status mla_label_windows(mla_tape *tape, const mla_decoder *model, const mla_evaluation_data *data, int64_t first,
                             int64_t end, mla_label_visit visit, void *user, double *loss);

/* The same for a tally. */
mla_status mla_label_evaluate(mla_tape *tape, const mla_decoder *model, const mla_evaluation_data *data, int64_t first,
                              int64_t end, mla_label_tally *tally);

/* The scores over windows of which each rank of the team goes through its own; a text in pieces counts as so many. */
mla_status mla_label_evaluate_team(mla_tape *tape, const mla_decoder *model, const mla_evaluation_data *data,
                                   mla_team *team, mla_range mine, mla_label_scores *out);

/* Labels of a stream as an input of the tape, for mla_batch. */
mla_tensor *mla_label_input(mla_tape *tape, const mla_token_stream *stream);

#endif
