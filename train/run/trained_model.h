/* The model that a recipe trains. */
#ifndef MLA_TRAIN_RUN_TRAINED_MODEL_H
#define MLA_TRAIN_RUN_TRAINED_MODEL_H

#include "train/recipe/recipe.h"

/* Builds it with its adapters; what the recipe does not train is frozen, and kept in bf16 alone where that is enough
 * for steps of `precision`. Its parameters have no memory yet. The caller destroys *out, after errors too. Errors:
 * those of the configuration, MLA_ERROR_ARGUMENT for names in lora.targets or finetune.train that match nothing. */
mla_status mla_trained_model_create(mla_context *context, const mla_recipe *recipe, mla_dtype precision,
                                    mla_decoder **out);

#endif
