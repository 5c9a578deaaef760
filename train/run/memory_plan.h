/* How much memory a run will take, before it starts. Bytes. */
#ifndef MLA_TRAIN_RUN_MEMORY_PLAN_H
#define MLA_TRAIN_RUN_MEMORY_PLAN_H

#include "train/recipe/recipe.h"

typedef struct {
    int64_t parameters, gradients,
        moments;       /* the model's blocks; parameters with their bf16 copies, if any, and a teacher's */
    int64_t reduction; /* gradients of other ranks on their way; 0 for one rank */
    int64_t copy;      /* of what a background save writes; 0 without one */
    int64_t step;      /* activations, gradients of activations and scratch, at their peak */
    int64_t products;  /* what oneDNN generates and sets aside for the products of a model */
    mla_cost cost;     /* of one microbatch */
} mla_memory_plan;

/* Runs one training step of the recipe's model (with a teacher, if it is not NULL) on `rows` sequences, and one
 * evaluation, on shapes alone. Errors: those of the model and of its graph. */
mla_status mla_memory_predict(mla_context *context, const mla_recipe *recipe, const mla_model_config *teacher,
                              int64_t rows, mla_dtype precision, mla_memory_plan *plan);
int64_t mla_memory_total(const mla_memory_plan *plan);

/* MLA_ERROR_MEMORY, with the figures, where the plan, of each of some processes on this machine, does not fit into what
 * is available. Only one of them makes the copy. */
mla_status mla_memory_check(mla_context *context, const mla_memory_plan *plan, int processes);

#endif
