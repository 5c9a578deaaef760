/* What a recipe trains on, opened: a prepared token file, text that is prepared first, or a synthetic source. */
#ifndef MLA_TRAIN_RUN_DATASET_H
#define MLA_TRAIN_RUN_DATASET_H

#include "data/text/synthetic.h"
#include "data/tokens/packing.h"
#include "data/tokens/token_file.h"
#include "layers/head/head.h"
#include "train/recipe/recipe.h"

typedef struct {
    mla_token_file *file; /* or */
    mla_synthetic *synthetic;
    mla_token_stream train, held_out;
    mla_packing *packed_train, *packed_held_out; /* NULL: the streams are cut where a sequence ends */
    int64_t vocabulary_size;
    const char *tokenizer;    /* JSON; NULL for a synthetic source */
    const char *hugging_face; /* the files beside it, as a checkpoint keeps them; NULL: there are none */
    const char *labels;       /* their names, a JSON list; NULL: there are none */
    int64_t label_count;
    char *label_text;     /* "3 labels: earn 284, acq 160, grain 4": how often a few of them are in training */
    float *label_weights; /* (K), of data.class_weights; NULL: all count alike */
    double entropy;       /* of a synthetic source, nats per token; NaN otherwise */
    double source_loss;   /* of that source itself on the held-out tokens: the entropy with their sampling error */
} mla_dataset;

/* What is done about text: a new run prepares it, one that resumes does so where no file is there, and a rank that
 * leaves this to another one never does. */
typedef enum { MLA_TEXT_PREPARE, MLA_TEXT_PREPARE_MISSING, MLA_TEXT_PREPARED } mla_dataset_text;

/* Opens the data of a checked recipe. Text is prepared into DIR/tokens.h5.
 * The caller closes it. */
mla_status mla_dataset_open(mla_context *context, mla_dataset *dataset, const mla_recipe *recipe, const char *dir,
                            mla_dataset_text text);
void mla_dataset_close(mla_dataset *dataset);

/* MLA_ERROR_ARGUMENT unless the data has what a model's head learns: the next tokens, labels of documents or of tokens.
 */
mla_status mla_dataset_check_head(mla_context *context, const mla_dataset *dataset, const mla_model_config *model);
/* The labels of a batch of the training part, and what they weigh. */
void mla_dataset_add_labels(mla_tape *tape, const mla_dataset *dataset, mla_batch *batch);

/* Packs the documents of both streams into sequences, where data.packing says so; those to train on in an order of the
 * seed's. The dataset must stay where it is. */
mla_status mla_dataset_pack(mla_context *context, mla_dataset *dataset, const mla_recipe *recipe, uint64_t seed);
/* Warns of examples that were cut or left out by that. */
void mla_dataset_warn(mla_context *context, const mla_dataset *dataset, int64_t sequence);

#endif
