#include "train/commands/pictures/subject.h"
#include "autograd/base/file.h"
#include "train/forecast/rehearsal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static mla_status open_checkpoint(mla_context *context, mla_opened_subject *out, const char *path,
                                  const mla_load_options *options) {
    mla_load_options o = *options;
    o.checkpoint = (char *)(uintptr_t)path;
    const mla_status status = mla_load_model(context, &out->loaded, &o);
    if (status) return status;
    out->config = out->loaded.model->config;
    out->subject.model = out->loaded.model;
    out->subject.tokenizer = out->loaded.tokenizer;
    return MLA_OK;
}

/* A recipe that begins with a model has that model's sizes. */
static mla_status base_config(mla_context *context, const char *base, mla_model_config *out) {
    mla_checkpoint *checkpoint;
    const mla_status status = mla_checkpoint_open(context, &checkpoint, base);
    if (status) return status;
    *out = *mla_checkpoint_config(checkpoint);
    mla_checkpoint_close(checkpoint);
    return MLA_OK;
}

static mla_status open_recipe(mla_context *context, mla_opened_subject *out, const char *path,
                              const mla_load_options *options) {
    mla_recipe recipe;
    mla_status status = mla_recipe_load(context, &recipe, path, NULL, 0);
    if (status) return status;
    out->config = recipe.model;
    out->config.vocab_size = mla_rehearsal_vocabulary(&recipe);
    if (recipe.model.head->labels && !recipe.model.num_labels) out->config.num_labels = 2;
    if (recipe.finetune.base) status = base_config(context, recipe.finetune.base, &out->config);
    mla_recipe_free(&recipe);
    if (!status && options->adapter.count)
        status = mla_fail(context, MLA_ERROR_ARGUMENT, "--adapter: %s is a recipe, and adapters go on a checkpoint",
                          path);
    return status ? status : mla_model_config_check(context, path, &out->config);
}

/* The recipe of a run folder that has no checkpoint yet, in `recipe`. */
static mla_status only_recipe(mla_context *context, const char *dir, char recipe[PATH_MAX], bool *is) {
    int64_t checkpoints;
    snprintf(recipe, PATH_MAX, "%s/recipe.yaml", dir);
    *is = false;
    if (access(recipe, F_OK)) return MLA_OK;
    const mla_status status = mla_checkpoint_count(context, dir, &checkpoints);
    *is = !status && !checkpoints;
    return status;
}

mla_status mla_subject_open(mla_context *context, mla_opened_subject *out, const char *path,
                            const mla_load_options *options) {
    char recipe[PATH_MAX];
    struct stat info;
    bool is_recipe = mla_ends_with(path, ".yaml") || mla_ends_with(path, ".yml") || stat(path, &info);
    *out = (mla_opened_subject){.subject = {.context = context, .name = path, .config = &out->config}};
    if (is_recipe) return open_recipe(context, out, path, options);
    if (S_ISDIR(info.st_mode)) {
        const mla_status status = only_recipe(context, path, recipe, &is_recipe);
        if (status) return status;
    }
    return is_recipe ? open_recipe(context, out, recipe, options) : open_checkpoint(context, out, path, options);
}

void mla_subject_close(mla_opened_subject *o) {
    mla_token_file_close(o->tokens);
    mla_text_ids_free(&o->texts);
    free(o->ids.ids);
    mla_loaded_close(&o->loaded);
}
