#include "train/log/tensorboard.h"
#include "autograd/base/atomic_file.h"
#include "autograd/base/clock.h"
#include "autograd/base/file.h"
#include "train/log/event_file.h"

#include <dirent.h>
#include <errno.h>
#include <fts.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the scalars of a step */

enum { MOST_SCALARS = 16 + MLA_MOST_PARTS + MLA_MOST_STATISTICS, TAG = 128, MOST_RECIPE = 1 << 20 };

typedef struct {
    mla_scalar scalars[MOST_SCALARS];
    char tags[MOST_SCALARS][TAG];
    int count;
} scalar_list;

static void add_always(scalar_list *list, const char *group, const char *name, double value) {
    snprintf(list->tags[list->count], TAG, "%s/%s", group, name);
    list->scalars[list->count] = (mla_scalar){list->tags[list->count], isfinite(value) ? (float)value : NAN};
    list->count++;
}

static void add(scalar_list *list, const char *group, const char *name, double value) {
    if (isfinite(value)) add_always(list, group, name, value);
}

static void add_parts(scalar_list *list, const mla_part_losses *parts) {
    char name[32];
    for (int k = 0; k < parts->count && parts->count > 1; k++) {
        snprintf(name, sizeof name, "loss_%d", k + 1);
        add(list, "eval", name, parts->losses[k]);
    }
}

static void add_statistics(scalar_list *list, const mla_statistics *statistics) {
    for (int i = 0; i < statistics->count; i++)
        add(list, "statistics", statistics->of[i].name, statistics->of[i].sum / (double)statistics->of[i].parts);
}

static void list_scalars(const mla_metrics *m, scalar_list *list) {
    list->count = 0;
    add_always(list, "train", "loss", m->loss);
    add_always(list, "train", "grad_norm", m->grad_norm);
    add(list, "train", "learning_rate", m->lr);
    add(list, "train", "kl", m->divergence);
    add(list, "train", "tokens", (double)m->tokens);
    add(list, "eval", "loss", m->held_out_loss);
    add_parts(list, &m->parts);
    add(list, "eval", "accuracy", m->accuracy);
    add(list, "eval", "macro_f1", m->macro_f1);
    add(list, "time", "seconds", m->seconds);
    add(list, "time", "waited", m->waited);
    add(list, "time", "paused", m->paused);
    add(list, "time", "written", m->written);
    add(list, "time", "tokens_per_second", m->tokens_per_second);
    add(list, "time", "share_of_peak", m->share_of_peak);
    add(list, "time", "memory", (double)m->memory);
    add_statistics(list, &m->statistics);
}

static mla_status write_step(mla_event_file *file, const mla_metrics *m) {
    scalar_list list;
    list_scalars(m, &list);
    return mla_event_file_scalars(file, (mla_event_time){m->wall_time, m->step}, list.scalars, list.count);
}

/* ---- a run as a whole */

/* A text as Markdown shows it letter by letter: each line indented by four. */
static char *indented(mla_context *context, const char *text) {
    size_t lines = 1, used = 4;
    for (const char *c = text; *c; c++) lines += *c == '\n';
    char *out = mla_alloc(context, (int64_t)(strlen(text) + 4 * lines + 1), 1, "a recipe");
    if (!out) return NULL;
    memset(out, ' ', used);
    for (const char *c = text; *c; c++) {
        out[used++] = *c;
        for (int i = 0; i < 4 && *c == '\n' && c[1]; i++) out[used++] = ' ';
    }
    return out;
}

static mla_status write_recipe(mla_context *context, mla_event_file *file, const char *folder, double wall_time) {
    char path[PATH_MAX], *text = NULL;
    int64_t length;
    if (snprintf(path, sizeof path, "%s/recipe.yaml", folder) >= (int)sizeof path || access(path, F_OK)) return MLA_OK;
    mla_status status = mla_file_read(context, &text, &length, path, MOST_RECIPE);
    char *markdown = status ? NULL : indented(context, text);
    if (!status) status = markdown ? MLA_OK : MLA_ERROR_MEMORY;
    if (!status) status = mla_event_file_text(file, (mla_event_time){wall_time, 0}, "recipe", markdown);
    free(markdown), free(text);
    return status;
}

/* Times of a log of before they were noted: counted back from what came next, the last one from the file's change. */
static void complete_times(const char *path, mla_metrics *lines, int64_t count) {
    struct stat info;
    double next = stat(path, &info) ? mla_wall_time() : (double)info.st_mtim.tv_sec;
    for (int64_t i = count - 1; i >= 0; i--) {
        if (!isfinite(lines[i].wall_time)) lines[i].wall_time = next;
        next = lines[i].wall_time;
        if (isfinite(lines[i].seconds)) next -= lines[i].seconds;
        if (isfinite(lines[i].paused)) next -= lines[i].paused;
    }
}

static mla_status read_log(mla_context *context, const char *folder, mla_metrics **lines, int64_t *count) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/metrics.jsonl", folder) >= (int)sizeof path)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "the path %s is too long", folder);
    const mla_status status = mla_metrics_read(context, path, lines, count);
    if (!status) complete_times(path, *lines, *count);
    return status;
}

/* ---- while it trains */

struct mla_tensorboard {
    mla_context *context;
    char folder[PATH_MAX];
    mla_event_file *file; /* NULL: no step yet */
    bool fresh;           /* no file of before is left */
};

static int is_ours(const struct dirent *entry) {
    return !strncmp(entry->d_name, "events.out.tfevents.", 20) && mla_ends_with(entry->d_name, ".mla");
}

/* *last: the last step that is left of the files of before. */
static mla_status cut_files(mla_context *context, const char *folder, int64_t step, int64_t *last) {
    struct dirent **entries = NULL;
    const int count = scandir(folder, &entries, is_ours, alphasort);
    mla_status status = MLA_OK;
    if (count < 0) return mla_fail(context, MLA_ERROR_IO, "cannot read %s: %s", folder, strerror(errno));
    *last = 0;
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX + 256];
        int64_t of_file = 0;
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (!status) status = mla_event_file_cut(context, path, step, &of_file);
        if (of_file > *last) *last = of_file;
        free(entries[i]);
    }
    free(entries);
    return status;
}

/* Steps that were trained without TensorBoard, or whose events a crash has lost. */
static mla_status write_missing(mla_tensorboard *t, int64_t last, int64_t step) {
    mla_metrics *lines = NULL;
    int64_t count = 0;
    if (last >= step) return MLA_OK;
    mla_status status = read_log(t->context, t->folder, &lines, &count);
    for (int64_t i = 0; i < count && !status; i++)
        if (lines[i].step > last && lines[i].step <= step) status = mla_tensorboard_write(t, &lines[i]);
    free(lines);
    return status;
}

mla_status mla_tensorboard_open(mla_context *context, mla_tensorboard **out, const char *folder, int64_t step) {
    int64_t last = 0;
    if (strlen(folder) >= PATH_MAX) return mla_fail(context, MLA_ERROR_ARGUMENT, "the path %s is too long", folder);
    mla_status status = cut_files(context, folder, step, &last);
    if (status || !out) return status;
    mla_tensorboard *t = *out = mla_alloc(context, 1, sizeof *t, "the events");
    if (!t) return MLA_ERROR_MEMORY;
    t->context = context;
    t->fresh = !last;
    snprintf(t->folder, sizeof t->folder, "%s", folder);
    status = write_missing(t, last, step);
    if (!status) return MLA_OK;
    mla_tensorboard_close(t);
    *out = NULL;
    return status;
}

/* Named as TensorFlow names them: TensorBoard reads the files of a folder in the order of their names. */
static mla_status make_file(mla_tensorboard *t, const mla_metrics *m) {
    char path[PATH_MAX + 320], host[256] = "localhost";
    gethostname(host, sizeof host - 1);
    snprintf(path, sizeof path, "%s/events.out.tfevents.%010lld.%s.%d.%lld.mla", t->folder, (long long)m->wall_time,
             host, (int)getpid(), (long long)m->step);
    mla_status status = mla_event_file_create(t->context, &t->file, path, m->wall_time);
    if (!status && t->fresh) status = write_recipe(t->context, t->file, t->folder, m->wall_time);
    if (!status) status = mla_event_file_begin(t->file, (mla_event_time){m->wall_time, m->step});
    return status;
}

mla_status mla_tensorboard_write(mla_tensorboard *t, const mla_metrics *metrics) {
    if (!t) return MLA_OK;
    const mla_status status = t->file ? MLA_OK : make_file(t, metrics);
    return status ? status : write_step(t->file, metrics);
}

void mla_tensorboard_close(mla_tensorboard *t) {
    if (!t) return;
    mla_event_file_close(t->file);
    free(t);
}

/* ---- afterwards */

static mla_status write_run(mla_context *context, const char *folder, const char *path) {
    mla_event_file *file = NULL;
    mla_metrics *lines = NULL;
    int64_t count = 0;
    mla_status status = read_log(context, folder, &lines, &count);
    if (!status && !count) status = mla_fail(context, MLA_ERROR_FORMAT, "%s/metrics.jsonl holds no step yet", folder);
    if (!status) status = mla_event_file_create(context, &file, path, lines[0].wall_time);
    if (!status) status = write_recipe(context, file, folder, lines[0].wall_time);
    for (int64_t i = 0; i < count && !status; i++) status = write_step(file, &lines[i]);
    mla_event_file_close(file);
    free(lines);
    return status;
}

static bool is_listed(const mla_list *list, const char *text) {
    for (int64_t i = 0; i < list->count; i++)
        if (!strcmp(list->items[i], text)) return true;
    return false;
}

/* One run into DIR/NAME. What is written there is no event file until it is whole. */
static mla_status export_run(mla_context *context, const char *folder, const char *out, mla_list *paths) {
    char path[PATH_MAX], temporary[PATH_MAX];
    bool made;
    if (snprintf(path, sizeof path, "%s/events.out.tfevents.mla", out) >= (int)sizeof path)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "the path %s is too long", out);
    snprintf(temporary, sizeof temporary, "%s/events.tmp", out);
    if (is_listed(paths, path))
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%s: another run has this name, too: write each into a DIR of its own", folder);
    mla_status status = mla_folder_make(context, out, &made);
    unlink(temporary);
    if (!status) status = write_run(context, folder, temporary);
    if (!status) status = mla_replace(context, temporary, path, (mla_step_hook){0});
    if (status) unlink(temporary);
    return status ? status : mla_list_append(context, paths, path);
}

static int by_name(const FTSENT **a, const FTSENT **b) { return strcmp((*a)->fts_name, (*b)->fts_name); }

/* `out` stands for `folder`, so that a run below it has the same place below both. */
static mla_status export_entry(mla_context *context, FTSENT *entry, size_t folder, const char *out, mla_list *paths) {
    char run[PATH_MAX], to[PATH_MAX];
    if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS)
        return mla_fail(context, MLA_ERROR_IO, "cannot read %s: %s", entry->fts_path, strerror(entry->fts_errno));
    if (entry->fts_info != FTS_F || strcmp(entry->fts_name, "metrics.jsonl")) return MLA_OK;
    snprintf(run, sizeof run, "%.*s", (int)(entry->fts_pathlen - strlen("/metrics.jsonl")), entry->fts_path);
    if (snprintf(to, sizeof to, "%s%s", out, run + folder) >= (int)sizeof to)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "the path %s%s is too long", out, run + folder);
    if (entry->fts_statp->st_size) return export_run(context, run, to, paths);
    mla_warn(context, "left out %s: it holds no step yet", entry->fts_path);
    return MLA_OK;
}

static mla_status export_below(mla_context *context, char *folder, const char *out, mla_list *paths) {
    mla_status status = MLA_OK;
    const int64_t before = paths->count;
    FTSENT *entry;
    FTS *walk = fts_open((char *[]){folder, NULL}, FTS_LOGICAL | FTS_NOCHDIR, by_name);
    if (!walk) return mla_fail(context, MLA_ERROR_IO, "cannot read %s: %s", folder, strerror(errno));
    while (!status && (entry = fts_read(walk))) status = export_entry(context, entry, strlen(folder), out, paths);
    fts_close(walk);
    if (!status && paths->count == before)
        status = mla_fail(context, MLA_ERROR_ARGUMENT, "%s: there is no run in it: no metrics.jsonl that holds a step",
                          folder);
    return status;
}

static mla_status export_folder(mla_context *context, const char *dir, const char *folder, mla_list *paths) {
    char whole[PATH_MAX], out[PATH_MAX], log[PATH_MAX];
    if (!realpath(folder, whole)) return mla_fail(context, MLA_ERROR_IO, "cannot read %s: %s", folder, strerror(errno));
    if (snprintf(out, sizeof out, "%s%s", dir, strrchr(whole, '/')) >= (int)sizeof out ||
        snprintf(log, sizeof log, "%s/metrics.jsonl", whole) >= (int)sizeof log)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "the path %s is too long", dir);
    return access(log, F_OK) ? export_below(context, whole, out, paths) : export_run(context, folder, out, paths);
}

mla_status mla_tensorboard_export(mla_context *context, const char *dir, const mla_list *folders, mla_list *paths) {
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < folders->count && !status; i++)
        status = export_folder(context, dir, folders->items[i], paths);
    return status;
}
