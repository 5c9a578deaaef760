/* mla eval for a model whose head labels. */
#ifndef MLA_TRAIN_COMMANDS_INFERENCE_EVAL_LABELS_H
#define MLA_TRAIN_COMMANDS_INFERENCE_EVAL_LABELS_H

#include "train/commands/commands.h"
#include "train/commands/load.h"
#include "train/recipe/recipe.h"

typedef struct {
    const char *tokens; /* a token file with labels, or a run's; NULL: the operands are tables of labelled text */
    const char *field;  /* of these */
    int64_t sequence;
    bool json;
} mla_eval_labels_options;

/* recipe: the checkpoint's, which says which columns the tables have. A text in several pieces (data.too_long: stride)
 * is decided by the mean of their probabilities. */
mla_status mla_eval_labels(const mla_call *call, const mla_loaded *loaded, const mla_recipe *recipe,
                           const mla_eval_labels_options *options);

#endif
