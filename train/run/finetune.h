/* Training that begins with a model that is there, whole or with adapters on it (recipe: finetune, lora). */
#ifndef MLA_TRAIN_RUN_FINETUNE_H
#define MLA_TRAIN_RUN_FINETUNE_H

#include "data/labels/label_set.h"
#include "train/checkpoint/checkpoint.h"
#include "train/recipe/recipe.h"
#include "train/run/teacher.h"

/* All zero for a new model: then the functions below do nothing but what a new model needs. */
typedef struct {
    mla_context *context;
    const mla_recipe *recipe;
    mla_checkpoint *checkpoint; /* of the model to begin with; or NULL */
    mla_teacher teacher;        /* of finetune.distil */
    char path[PATH_MAX], tokenizer[PATH_MAX];
    const char *hugging_face; /* what it says of where it came from, for checkpoints of the whole model; or NULL */
    bool new_head;            /* the base's is another, and stays behind */
    mla_label_set labels;     /* of the base, where its head goes on */
    char *adapter, *text;     /* for checkpoints of an adapter: its configuration, and its base; or NULL */
} mla_finetune;

/* Opens finetune.distil and finetune.base, puts the base's configuration into the recipe (but for the head, where the
 * recipe's labels and is another: then the head is new) with the names of its labels, and its (or the teacher's)
 * tokenizer where text has yet to be prepared; strings that are put there live as long as `out`. folder: where to write
 * the tokenizer; NULL where another rank does. MLA_ERROR_ARGUMENT where the base is an adapter, or too short for the
 * recipe's sequences, or adapters have none. */
mla_status mla_finetune_open(mla_context *context, mla_finetune *out, mla_recipe *recipe, const char *folder);
void mla_finetune_close(mla_finetune *finetune);

/* MLA_ERROR_ARGUMENT where the data has other labels than the base's head. */
mla_status mla_finetune_check_labels(const mla_finetune *finetune, const char *labels);

/* MLA_ERROR_ARGUMENT where the tokens were made by another tokenizer than the base's or the teacher's. */
mla_status mla_finetune_check_tokenizer(const mla_finetune *finetune, const char *tokenizer);

/* What checkpoints keep of Hugging Face's files: those that came with the base or else, `of_data`, with the tokenizer
 * of the data; NULL: none. An adapter's are its base's. */
const char *mla_finetune_files(const mla_finetune *finetune, const char *of_data);

/* A run that begins: the base's values into an initialised model, and what its adapters begin with. */
mla_status mla_finetune_begin(mla_finetune *finetune, mla_decoder *model);
/* A run that resumes: all values from its checkpoint and, where that is an adapter's, the base, which must be the same
 * still. */
mla_status mla_finetune_read(mla_finetune *finetune, mla_checkpoint *checkpoint, mla_decoder *model);

#endif
