#include "train/recipe/recipe_path.h"

#include <string.h>
#include <unistd.h>

static bool is_path(const char *name) {
    const char *dot = strrchr(name, '.');
    return strchr(name, '/') || (dot && !strcmp(dot, ".yaml")) || access(name, F_OK) == 0;
}

mla_status mla_recipe_find(mla_context *context, const char *name, const char **text) {
    *text = NULL;
    if (is_path(name)) return MLA_OK;
    for (const mla_built_in_recipe *r = mla_built_in_recipes; r->name; r++)
        if (!strcmp(r->name, name)) *text = r->text;
    if (*text) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "%s: no file of this name, and no recipe that came with mla (such as quickstart, mla-small, "
                    "article); write a path, or the name of one of those",
                    name);
}
