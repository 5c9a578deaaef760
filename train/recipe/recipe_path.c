#include "train/recipe/recipe_path.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool is_path(const char *name) {
    const char *dot = strrchr(name, '.');
    return strchr(name, '/') || (dot && !strcmp(dot, ".yaml")) || access(name, F_OK) == 0;
}

static void folder_of_program(size_t size, char *folder) {
    char program[PATH_MAX];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length < 0 ? 0 : length] = '\0';
    snprintf(folder, size, "%s", dirname(program));
}

mla_status mla_recipe_path(mla_context *context, const char *name, size_t size, char *path) {
    static const char *const beside[] = {"/../share/mla/recipes", "/../train/recipes"};
    char folder[PATH_MAX];
    snprintf(path, size, "%s", name);
    if (is_path(name)) return MLA_OK;
    folder_of_program(sizeof folder, folder);
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
        snprintf(path, size, "%s%s/%s.yaml", folder, beside[i], name);
        if (access(path, F_OK) == 0) return MLA_OK;
    }
    snprintf(path, size, "%s/recipes/%s.yaml", MLA_DATA_DIR, name);
    if (access(path, F_OK) == 0) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "%s: no file of this name, and no recipe that came with mla (such as quickstart, mla-small, "
                    "article); write a path, or the name of one of those",
                    name);
}
