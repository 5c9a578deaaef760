/* A model that another learns from (recipe: finetune.distil): opened, checked, and kept as it is. */
#ifndef MLA_TRAIN_RUN_TEACHER_H
#define MLA_TRAIN_RUN_TEACHER_H

#include "layers/objective.h"
#include "train/adapter/base.h"
#include "train/checkpoint/checkpoint.h"
#include "train/recipe/recipe.h"

#include <limits.h>

/* All zero for none: then the functions below do nothing. */
typedef struct {
    mla_context *context;
    mla_checkpoint *checkpoint;
    mla_decoder *model; /* NULL before mla_teacher_build */
    char path[PATH_MAX];
    char hash[MLA_BASE_HASH];
} mla_teacher;

/* Opens finetune.distil; its path is put into the recipe whole, and lives as long as `out`. MLA_ERROR_ARGUMENT where it
 * is an adapter, or too short for the recipe's sequences. */
mla_status mla_teacher_open(mla_context *context, mla_teacher *out, mla_recipe *recipe);
void mla_teacher_close(mla_teacher *teacher);

/* MLA_ERROR_ARGUMENT where the recipe's model, the pupil, has another vocabulary, or layers that cannot learn from the
 * teacher's but should. tokenizer: the pupil's, or NULL. */
mla_status mla_teacher_check(const mla_teacher *teacher, const mla_recipe *recipe, const char *tokenizer);

/* Its configuration; NULL for none. */
const mla_model_config *mla_teacher_config(const mla_teacher *teacher);

/* Builds and reads it for steps of this precision, in bf16 alone where they are of bf16. */
mla_status mla_teacher_build(mla_teacher *teacher, mla_dtype precision);

/* Puts the hash of the built teacher's weights into the recipe of a run, where it lives as long as `teacher`.
 * MLA_ERROR_ARGUMENT where the run is resumed and had another one. */
mla_status mla_teacher_remember(mla_teacher *teacher, mla_recipe_finetune *options, bool goes_on);

/* What is learned with it (the head's loss alone where there is none); *divergence, if it is not NULL, will get the
 * sums of KL(teacher || model) over the targets added. */
mla_objective mla_teacher_objective(const mla_teacher *teacher, const mla_recipe_finetune *options, double *divergence);

#endif
