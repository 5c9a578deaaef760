/* Recipes that come with mla can be named without a file: "quickstart". Their texts (train/recipes) are built into the
 * library, so that they are there wherever the program is copied to. */
#ifndef MLA_TRAIN_RECIPE_RECIPE_PATH_H
#define MLA_TRAIN_RECIPE_RECIPE_PATH_H

#include "autograd/base/context.h"

typedef struct {
    const char *name, *text;
} mla_built_in_recipe;

/* Made of train/recipes when the library is built; ends with NULL. */
extern const mla_built_in_recipe mla_built_in_recipes[];

/* What `name` means: *text is NULL where it is a path, as it has a slash or ends in .yaml or is a file; otherwise the
 * recipe of this name. MLA_ERROR_ARGUMENT where there is none. */
mla_status mla_recipe_find(mla_context *context, const char *name, const char **text);

#endif
