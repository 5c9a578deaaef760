/* A recipe's model that makes training steps on random ids, to be measured; nothing is read or saved. */
#ifndef MLA_TRAIN_REHEARSAL_H
#define MLA_TRAIN_REHEARSAL_H

#include "layers/decoder.h"
#include "optim/adamw.h"
#include "train/memory.h"
#include "train/recipe.h"

typedef struct {
    mla_context *context;
    const mla_recipe *recipe;
    mla_dtype precision;  /* chosen: MLA_F32 or MLA_BF16 */
    mla_memory_plan plan; /* of a pass of `rows` sequences, in one process */
    int64_t rows;
    mla_decoder *model;
    mla_adamw_state moments;
    mla_tape *tape;
    int32_t *ids; /* (rows, sequence), also the targets */
} mla_rehearsal;

/* Builds the model, and fills in model.vocab_size where the recipe leaves it to the data: what
 * data.vocab_size or a synthetic source says. Passes will have at most `rows` sequences; `processes` do the
 * same on this machine. The recipe, complete but for that, outlives it; the caller calls mla_rehearsal_close
 * in any case. MLA_ERROR_MEMORY where the machine has too little; errors of the model. */
mla_status mla_rehearsal_open(mla_context *context, mla_rehearsal *out, mla_recipe *recipe, int64_t rows,
                              int processes);
void mla_rehearsal_close(mla_rehearsal *rehearsal);

/* Forward and backward of `rows` sequences; `step` has the hooks, and numbers to draw dropout from. Adds to
 * the gradients, unless they were cleared. */
mla_status mla_rehearsal_pass(mla_rehearsal *rehearsal, int64_t rows, const mla_step *step, double *loss);
/* Clipping and AdamW. */
void mla_rehearsal_update(mla_rehearsal *rehearsal);

#endif
