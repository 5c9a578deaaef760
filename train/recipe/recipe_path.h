/* Recipes that come with mla can be named without their folder: "quickstart". */
#ifndef MLA_TRAIN_RECIPE_RECIPE_PATH_H
#define MLA_TRAIN_RECIPE_RECIPE_PATH_H

#include "autograd/base/context.h"

/* Puts the file that `name` means into `path`: the name itself where it has a slash or ends in .yaml or is a
 * file; otherwise NAME.yaml among the recipes beside this program (installed, or in the build folder of the
 * source), or where they are installed by default. MLA_ERROR_ARGUMENT where there is none. */
mla_status mla_recipe_path(mla_context *context, const char *name, size_t size, char *path);

#endif
