#include "train/checkpoint/run_folder.h"
#include "autograd/base/file.h"
#include "data/tokenizer/tokenizer.h"
#include "train/checkpoint/checkpoint.h"
#include "train/checkpoint/folder_lock.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct mla_run_folder {
    mla_context *context;
    char path[PATH_MAX - 64], metrics[PATH_MAX];
    mla_folder_lock lock;
    bool made; /* by us */
};

static mla_status check_writable(const mla_run_folder *folder) {
    if (!access(folder->path, W_OK)) return MLA_OK;
    return mla_fail(folder->context, MLA_ERROR_IO, "%s: cannot be written to: %s; choose another folder with --out",
                    folder->path, strerror(errno));
}

static mla_status refuse_used(const mla_run_folder *folder) {
    int64_t count;
    const mla_status status = mla_checkpoint_count(folder->context, folder->path, &count);
    if (status || !count) return status;
    return mla_fail(folder->context, MLA_ERROR_ARGUMENT,
                    "%s: has checkpoints of a run already: resume it with --resume %s, or choose another folder with "
                    "--out",
                    folder->path, folder->path);
}

/* Files of ours that were not finished. Others are left alone. */
static const char *const leftovers[] = {"step-*.h5.tmp",      "latest.tmp",    "recipe.yaml.tmp",
                                        "tokenizer.json.tmp", "tokens.h5.tmp", NULL};
/* What is there before the first text is prepared. */
static const char *const beginnings[] = {".", "..", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
                                         NULL};

static bool is_among(const char *const *patterns, const char *name) {
    for (; *patterns; patterns++)
        if (!fnmatch(*patterns, name, 0)) return true;
    return false;
}

static void remove_leftovers(const mla_run_folder *folder) {
    DIR *entries = opendir(folder->path);
    if (!entries) return;
    for (struct dirent *entry; (entry = readdir(entries));)
        if (is_among(leftovers, entry->d_name)) unlinkat(dirfd(entries), entry->d_name, 0);
    closedir(entries);
}

mla_status mla_run_folder_open(mla_context *context, mla_run_folder **out, const char *path, bool resume) {
    mla_run_folder *folder = *out = mla_alloc(context, 1, sizeof *folder, "the run folder");
    if (!folder) return MLA_ERROR_MEMORY;
    folder->context = context;
    folder->lock.handle = -1;
    if (snprintf(folder->path, sizeof folder->path, "%s", path) >= (int)sizeof folder->path)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "the path of the run folder is too long");
    snprintf(folder->metrics, sizeof folder->metrics, "%s/metrics.jsonl", path);
    mla_status status = resume ? MLA_OK : mla_folder_make(context, folder->path, &folder->made);
    if (!status) status = check_writable(folder);
    if (!status) status = mla_folder_lock_take(context, &folder->lock, folder->path);
    if (!status && !resume) status = refuse_used(folder);
    if (!status) remove_leftovers(folder);
    return status;
}

/* The folder of a run that never began. One that has anything else in it stays as it is. */
static void remove_beginnings(const mla_run_folder *folder) {
    DIR *entries = opendir(folder->path);
    if (!entries) return;
    bool nothing_else = true;
    for (struct dirent *entry; (entry = readdir(entries));)
        nothing_else = nothing_else && is_among(beginnings, entry->d_name);
    rewinddir(entries);
    for (struct dirent *entry; nothing_else && (entry = readdir(entries));)
        unlinkat(dirfd(entries), entry->d_name, 0); /* fails for . and .. */
    closedir(entries);
    rmdir(folder->path); /* succeeds only where it is empty */
}

void mla_run_folder_close(mla_run_folder *folder) {
    if (!folder) return;
    mla_folder_lock_release(&folder->lock);
    if (folder->made) remove_beginnings(folder);
    free(folder);
}

const char *mla_run_folder_metrics(const mla_run_folder *folder) { return folder->metrics; }

mla_status mla_run_folder_write_recipe(mla_run_folder *folder, const mla_recipe *recipe) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/recipe.yaml", folder->path);
    return mla_recipe_save(folder->context, recipe, path);
}

mla_status mla_run_folder_write_tokenizer(mla_run_folder *folder, const char *json) {
    char path[PATH_MAX];
    mla_tokenizer *tokenizer;
    snprintf(path, sizeof path, "%s/tokenizer.json", folder->path);
    mla_status status = mla_tokenizer_parse(folder->context, &tokenizer, json, (int64_t)strlen(json));
    if (status) return status;
    status = mla_tokenizer_save(folder->context, tokenizer, path);
    mla_tokenizer_destroy(tokenizer);
    return status;
}
