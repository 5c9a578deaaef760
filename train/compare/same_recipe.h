/* Whether two recipes are the same, for a folder that may hold another comparison. */
#ifndef MLA_TRAIN_COMPARE_SAME_RECIPE_H
#define MLA_TRAIN_COMPARE_SAME_RECIPE_H

#include "train/recipe/recipe.h"

/* Compares with the recipe in a file; where there is none, writes it there. MLA_ERROR_ARGUMENT names the first key that
 * differs, with both values, after `what`. */
mla_status mla_same_recipe(mla_context *context, const mla_recipe *recipe, const char *path, const char *what);

#endif
