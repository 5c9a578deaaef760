/* A run that takes a fraction of a second: one layer on synthetic tokens, three steps, each saved. */
#ifndef MLA_TESTS_SUPPORT_TINY_RUN_H
#define MLA_TESTS_SUPPORT_TINY_RUN_H

#include "train/recipe/recipe.h"

/* Its recipe, changed by more assignments ("train.steps=10"), NULL after the last. The caller frees the recipe. */
mla_status tiny_recipe(mla_context *context, mla_recipe *recipe, const char *const *more);

#endif
