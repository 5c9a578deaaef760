/* What a trained model can do with its context, without having been trained for it: to copy, and to recall. Where a
 * small cache loses something, these should lose it first.
 *
 * Copy: stretches of held-out text, each twice in a row; the loss of the same tokens the first and the second time.
 * Recall: pairs of a key and a value in a row, then the keys in another order, each of which asks for its value; keys
 * and values are different tokens of the held-out text, drawn by chance. */
#ifndef MLA_TRAIN_COMPARE_TASKS_H
#define MLA_TRAIN_COMPARE_TASKS_H

#include "data/tokens/token_file.h"
#include "layers/decoder.h"

typedef struct {
    double copy_first, copy_second; /* nats per token */
    double recall_loss;             /* nats per value */
    double recall_accuracy;         /* share of the values that were the model's first choice */
    int64_t cache_bytes;            /* of a token, counted in a cache that has some */
} mla_task_scores;

typedef struct {
    const mla_token_stream *held_out;
    int64_t sequence; /* tokens of a row, at most */
    uint64_t seed;
} mla_task_options;

/* Scores of tasks that the held-out text is too short for are NaN. Errors: those of the graph. */
mla_status mla_tasks_measure(mla_context *context, const mla_decoder *model, const mla_task_options *options,
                             mla_task_scores *out);

#endif
