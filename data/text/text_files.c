#include "data/text/text_files.h"
#include "autograd/base/file.h"

#include <errno.h>
#include <fts.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Behind a message about a path that is not there: it may have been meant as several. */
static const char *remedy(const char *path) {
    return strpbrk(path, ", ") ? "; it is read as one path: give several as a list in the recipe, source: [a, b], or "
                                 "one by one on the command line"
                               : "";
}

static mla_status find_failed(mla_text_files *f, const char *action, const char *path, int error) {
    return mla_fail(f->context, MLA_ERROR_IO, "cannot %s %s: %s%s", action, path, strerror(error),
                    error == ENOENT ? remedy(path) : "");
}

/* ---- what is left out */

static void add_name(mla_text_names *names, const char *name, const char *what) {
    const size_t used = strlen(names->names), size = sizeof names->names - used;
    if (names->count++ >= 3) return;
    snprintf(names->names + used, size, "%s%s%s%s%s", used ? ", " : "", name, what ? " (" : "", what ? what : "",
             what ? ")" : "");
}

void mla_text_files_leave_out(mla_text_files *files, mla_text_file *file, const char *what) {
    file->left_out = true;
    add_name(&files->no_text, file->path, what);
}

static void warn_of(mla_context *context, const mla_text_names *names, const char *kind) {
    char others[48] = "";
    if (names->count > 3) snprintf(others, sizeof others, " and %lld more", (long long)names->count - 3);
    if (names->count)
        mla_warn(context, "left out, %s: %lld, %s%s", kind, (long long)names->count, names->names, others);
}

void mla_text_files_warn(mla_text_files *f) {
    warn_of(f->context, &f->no_text, "files that hold no text");
    warn_of(f->context, &f->hidden, "hidden files and folders");
}

/* ---- finding */

static mla_status add_file(mla_text_files *f, const char *path, bool named) {
    mla_status status = mla_grow(f->context, &f->items, &f->capacity, f->count + 1, sizeof *f->items, "file names");
    char *copy = status ? NULL : strdup(path);
    if (status) return status;
    if (!copy) return mla_fail(f->context, MLA_ERROR_MEMORY, "no memory for file names");
    f->items[f->count++] = (mla_text_file){.path = copy, .spool = -1, .named = named};
    return MLA_OK;
}

static mla_status add_pipe(mla_text_files *f, const char *path) {
    const mla_status status = add_file(f, strcmp(path, "-") ? path : "standard input", true);
    return status ? status : mla_file_spool(f->context, path, &f->items[f->count - 1].spool);
}

/* Below the folder that was asked for: .x and ._x, and folders such as .git. */
static bool is_hidden(const FTSENT *entry) { return entry->fts_level > 0 && entry->fts_name[0] == '.'; }

static mla_status add_entry(mla_text_files *f, FTS *walk, FTSENT *entry, bool named) {
    if (is_hidden(entry)) {
        if (entry->fts_info != FTS_DP) add_name(&f->hidden, entry->fts_path, NULL);
        fts_set(walk, entry, FTS_SKIP);
        return MLA_OK;
    }
    switch (entry->fts_info) {
    case FTS_F: return add_file(f, entry->fts_path, named && entry->fts_level == 0);
    case FTS_DNR: return find_failed(f, "read folder", entry->fts_path, entry->fts_errno);
    case FTS_ERR:
    case FTS_NS: return find_failed(f, "read", entry->fts_path, entry->fts_errno);
    case FTS_DEFAULT:
    case FTS_SLNONE:
        if (entry->fts_level) mla_warn(f->context, "left out %s: not a file", entry->fts_path);
        else return mla_fail(f->context, MLA_ERROR_IO, "%s is not a file or a folder", entry->fts_path);
    }
    return MLA_OK;
}

static int by_name(const FTSENT **a, const FTSENT **b) { return strcmp((*a)->fts_name, (*b)->fts_name); }

/* A file, or a folder with all below it. */
static mla_status add_path(mla_text_files *f, const char *path, bool named) {
    mla_status status = MLA_OK;
    FTSENT *entry;
    char *copy = strdup(path);
    FTS *walk = copy ? fts_open((char *[]){copy, NULL}, FTS_LOGICAL | FTS_NOCHDIR, by_name) : NULL;
    if (!walk) status = find_failed(f, "read", path, errno);
    while (!status && (entry = fts_read(walk))) status = add_entry(f, walk, entry, named);
    if (walk) fts_close(walk);
    free(copy);
    return status;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static mla_status add_glob(mla_text_files *f, const char *pattern) {
    glob_t found = {0};
    mla_status status = MLA_OK;
    int result = glob(pattern, GLOB_NOSORT | GLOB_ERR, NULL, &found);
    if (result == GLOB_NOMATCH)
        status = mla_fail(f->context, MLA_ERROR_IO, "there is no text at %s: no such file, folder or match%s", pattern,
                          remedy(pattern));
    else if (result) status = find_failed(f, "read all folders of", pattern, result == GLOB_NOSPACE ? ENOMEM : errno);
    else qsort(found.gl_pathv, found.gl_pathc, sizeof *found.gl_pathv, by_text);
    for (size_t i = 0; !status && i < found.gl_pathc; i++) status = add_path(f, found.gl_pathv[i], false);
    globfree(&found);
    return status;
}

mla_status mla_text_files_find(mla_context *context, mla_text_files *f, const char *const *paths, int64_t count) {
    mla_status status = MLA_OK;
    *f = (mla_text_files){.context = context};
    for (int64_t i = 0; !status && i < count; i++) {
        const char *path = paths[i];
        if (mla_file_is_pipe(path)) status = add_pipe(f, path);
        else if (!access(path, F_OK) || !strpbrk(path, "*?[")) status = add_path(f, path, true);
        else status = add_glob(f, path);
    }
    return status;
}

void mla_text_files_free(mla_text_files *f) {
    for (int64_t i = 0; i < f->count; i++) {
        if (f->items[i].spool >= 0) close(f->items[i].spool);
        free(f->items[i].path);
    }
    free(f->items);
    *f = (mla_text_files){0};
}
