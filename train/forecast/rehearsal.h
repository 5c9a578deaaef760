/* A recipe's model that makes training steps, to be measured: weights and ids are random, and nothing is saved. Of
 * finetune.base only the sizes are read; a teacher is read whole. */
#ifndef MLA_TRAIN_FORECAST_REHEARSAL_H
#define MLA_TRAIN_FORECAST_REHEARSAL_H

#include "layers/decoder.h"
#include "optim/adamw.h"
#include "train/run/finetune.h"
#include "train/run/memory_plan.h"

/* The vocabulary of a recipe's model: what it says, or what its data will have. */
int64_t mla_rehearsal_vocabulary(const mla_recipe *recipe);

typedef struct {
    mla_context *context;
    const mla_recipe *recipe;
    mla_dtype precision;  /* chosen: MLA_F32 or MLA_BF16 */
    mla_memory_plan plan; /* of a pass of `rows` sequences, in one process */
    int64_t rows;
    mla_finetune base;
    mla_decoder *model;
    mla_adamw_state moments;
    mla_tape *tape;
    int32_t *ids;   /* (rows, sequence), also the targets */
    int32_t *zeros; /* the labels of a head that labels, one for each id */
} mla_rehearsal;

/* Builds the model. The recipe is a copy whose strings are not freed, and outlives it: it gets the base's
 * configuration, and model.vocab_size where that is left to the data (what data.vocab_size or a synthetic source says).
 * Passes will have at most `rows` sequences; `processes` do the same on this machine. The caller calls
 * mla_rehearsal_close in any case. MLA_ERROR_MEMORY where the machine has too little; errors of base, teacher and
 * model. */
mla_status mla_rehearsal_open(mla_context *context, mla_rehearsal *out, mla_recipe *recipe, int64_t rows,
                              int processes);
void mla_rehearsal_close(mla_rehearsal *rehearsal);

/* Forward and backward of `rows` sequences; `step` has the hooks, and numbers to draw dropout from. Adds to
 * the gradients, unless they were cleared. */
mla_status mla_rehearsal_pass(mla_rehearsal *rehearsal, int64_t rows, const mla_step *step, double *loss);
/* Clipping and AdamW. */
void mla_rehearsal_update(mla_rehearsal *rehearsal);

#endif
