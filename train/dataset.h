/* What a recipe trains on, opened: a prepared token file, text that is prepared first, or a synthetic source. */
#ifndef MLA_TRAIN_DATASET_H
#define MLA_TRAIN_DATASET_H

#include "data/synthetic.h"
#include "data/token_file.h"
#include "train/recipe.h"

typedef struct {
    mla_token_file *file;        /* or */
    mla_synthetic *synthetic;
    mla_token_stream train, held_out;
    int64_t vocabulary_size;
    const char *tokenizer; /* JSON; NULL for a synthetic source */
    double entropy;        /* of a synthetic source, nats per token; NaN otherwise */
    double source_loss;    /* of that source itself on the held-out tokens: the entropy with their sampling error */
} mla_dataset;

/* Opens the data of a checked recipe. Text is prepared into DIR/tokens.h5; a run that goes on (`resume`) uses what
 * is there, a new one replaces what another recipe may have left. The caller closes it. */
mla_status mla_dataset_open(mla_context *context, mla_dataset *dataset, const mla_recipe *recipe, const char *dir,
                            bool resume);
void mla_dataset_close(mla_dataset *dataset);

#endif
