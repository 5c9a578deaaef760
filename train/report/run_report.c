#include "train/report/run_report.h"
#include "autograd/base/file.h"
#include "train/checkpoint/folder_lock.h"
#include "train/log/plot.h"
#include "train/log/progress.h"
#include "train/recipe/recipe.h"
#include "train/report/html.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CELL = 64, MOST_RECIPE = 1 << 20 };

/* ---- the table ---- */

typedef struct {
    const char *folder;
    mla_metrics *lines; /* at least one */
    int64_t count;
    int64_t planned; /* steps of the recipe; 0: not known */
    mla_metrics evaluated;
    bool going; /* a process uses the folder */
} run;

static bool in_use(mla_context *context, const char *folder) {
    mla_folder_lock lock = {.handle = -1};
    const mla_status status = mla_folder_lock_take(context, &lock, folder);
    mla_folder_lock_release(&lock);
    if (status) mla_clear_error(context);
    return status == MLA_ERROR_ARGUMENT;
}

/* The recipe is told about where there is one: a log by itself is a run, too. */
static mla_status read_recipe(mla_context *context, run *out) {
    char path[4096];
    mla_recipe recipe;
    if (snprintf(path, sizeof path, "%s/recipe.yaml", out->folder) >= (int)sizeof path || access(path, F_OK))
        return MLA_OK;
    const mla_status status = mla_recipe_load(context, &recipe, path, NULL, 0);
    if (status) return status;
    out->planned = recipe.train.steps;
    mla_recipe_free(&recipe);
    return MLA_OK;
}

static mla_status read_run(mla_context *context, const char *folder, run *out) {
    char path[4096];
    *out = (run){.folder = folder};
    if (snprintf(path, sizeof path, "%s/metrics.jsonl", folder) >= (int)sizeof path)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "the path %s is too long", folder);
    mla_status status = mla_metrics_read(context, path, &out->lines, &out->count);
    if (!status && !out->count) status = mla_fail(context, MLA_ERROR_FORMAT, "%s holds no step yet", path);
    if (!status) status = mla_metrics_held_out(context, folder, INT64_MAX, &out->evaluated);
    if (!status) status = read_recipe(context, out);
    if (!status) out->going = in_use(context, folder);
    return status;
}

static const mla_metrics *last_of(const run *r) { return &r->lines[r->count - 1]; }

static void number_text(double value, char out[CELL]) { snprintf(out, CELL, isfinite(value) ? "%.4g" : "-", value); }

static void write_steps(const run *r, char out[CELL]) {
    const int64_t done = last_of(r)->step;
    const bool finished = r->planned && done >= r->planned;
    if (finished || !r->planned) snprintf(out, CELL, "%" PRId64, done);
    else snprintf(out, CELL, "%" PRId64 " of %" PRId64 "%s", done, r->planned, r->going ? ", going on" : ", stopped");
}

static void write_tokens(const run *r, char out[CELL]) { mla_count_text((double)last_of(r)->tokens, CELL, out); }
static void write_loss(const run *r, char out[CELL]) { number_text(last_of(r)->loss, out); }
static void write_held_out(const run *r, char out[CELL]) { number_text(r->evaluated.held_out_loss, out); }
static void write_perplexity(const run *r, char out[CELL]) { number_text(exp(r->evaluated.held_out_loss), out); }
static void write_macro_f1(const run *r, char out[CELL]) { number_text(r->evaluated.macro_f1, out); }
static void write_memory(const run *r, char out[CELL]) { mla_bytes_text((double)last_of(r)->memory, CELL, out); }

static double seconds_of(const run *r) {
    double seconds = 0;
    for (int64_t i = 0; i < r->count; i++)
        if (isfinite(r->lines[i].seconds)) seconds += r->lines[i].seconds;
    return seconds;
}

static void write_time(const run *r, char out[CELL]) { mla_duration_text(seconds_of(r), CELL, out); }
static void write_speed(const run *r, char out[CELL]) {
    const double speed = (double)last_of(r)->tokens / seconds_of(r);
    snprintf(out, CELL, isfinite(speed) ? "%.0f" : "-", speed);
}

static const struct {
    const char *heading;
    void (*write)(const run *r, char out[CELL]);
} rows[] = {{"Steps", write_steps},
            {"Tokens", write_tokens},
            {"Loss of the last step", write_loss},
            {"Held-out loss", write_held_out},
            {"Perplexity of what is held out", write_perplexity},
            {"Macro F1", write_macro_f1},
            {"Time of the steps", write_time},
            {"Tokens per second", write_speed},
            {"Memory, at most", write_memory}};

/* A row a number, a column a run; numbers that none has are left out. */
static mla_status write_table(mla_context *context, FILE *page, const run *runs, int64_t count) {
    const char **cells = mla_alloc(context, count, sizeof *cells, "a row of a table");
    char(*texts)[CELL] = mla_alloc(context, count, sizeof *texts, "a row of a table");
    mla_html_table_begin(page);
    for (int64_t k = 0; k < count && cells; k++) cells[k] = runs[k].folder;
    if (cells && count > 1) mla_html_row(page, "Run", cells, (int)count);
    for (size_t i = 0; i < sizeof rows / sizeof *rows && cells && texts; i++) {
        bool any = false;
        for (int64_t k = 0; k < count; k++) {
            rows[i].write(&runs[k], texts[k]);
            cells[k] = texts[k];
            any |= strcmp(texts[k], "-") != 0;
        }
        if (any) mla_html_row(page, rows[i].heading, cells, (int)count);
    }
    mla_html_table_end(page);
    const bool good = cells && texts;
    free(cells), free(texts);
    return good ? MLA_OK : MLA_ERROR_MEMORY;
}

/* ---- the machine ---- */

/* A row a session, with its first step. */
static void write_sessions(FILE *page, const run *r, bool named) {
    char heading[4096], threads[CELL], ranks[CELL];
    for (int64_t i = 0; i < r->count; i++) {
        const mla_session *s = &r->lines[i].session;
        if (!s->processor) continue;
        snprintf(heading, sizeof heading, "%s%sfrom step %" PRId64, named ? r->folder : "", named ? ", " : "",
                 r->lines[i].step);
        snprintf(threads, sizeof threads, "%" PRId64, s->threads);
        snprintf(ranks, sizeof ranks, "%" PRId64, s->ranks);
        mla_html_row(page, heading, (const char *[]){s->processor, threads, ranks, s->version}, 4);
    }
}

/* Logs of before it was noted have none. */
static void write_machine(FILE *page, const run *runs, int64_t count) {
    bool any = false;
    for (int64_t k = 0; k < count; k++)
        for (int64_t i = 0; i < runs[k].count; i++) any |= runs[k].lines[i].session.processor != NULL;
    if (!any) return;
    mla_html_element(page, "h2", "Machine");
    mla_html_table_begin(page);
    mla_html_row(page, "", (const char *[]){"Processor", "Threads a rank", "Ranks", "mla"}, 4);
    for (int64_t k = 0; k < count; k++) write_sessions(page, &runs[k], count > 1);
    mla_html_table_end(page);
}

/* ---- curves and recipes ---- */

static bool has_any(const run *runs, int64_t count, const mla_plot_kind *kind) {
    for (int64_t k = 0; k < count; k++)
        for (int64_t i = 0; i < runs[k].count; i++)
            if (isfinite(kind->of_step(&runs[k].lines[i]))) return true;
    return false;
}

static mla_status write_curves(mla_context *context, FILE *page, const mla_list *folders, const run *runs) {
    mla_status status = MLA_OK;
    fputs("<div class=\"curves\">\n", page);
    for (int i = 0; mla_plot_kinds[i] && !status; i++) {
        mla_picture_bytes light = {0}, dark = {0};
        if (!has_any(runs, folders->count, mla_plot_kinds[i])) continue;
        status = mla_plot_svg(context, folders, mla_plot_kinds[i], false, &light);
        if (!status) status = mla_plot_svg(context, folders, mla_plot_kinds[i], true, &dark);
        if (!status) mla_html_picture(page, mla_plot_kinds[i]->title, &light, &dark);
        free(light.bytes), free(dark.bytes);
    }
    fputs("</div>\n", page);
    return status;
}

static mla_status write_recipe(mla_context *context, FILE *page, const char *folder) {
    char path[4096], *text = NULL;
    int64_t length;
    if (snprintf(path, sizeof path, "%s/recipe.yaml", folder) >= (int)sizeof path || access(path, F_OK)) return MLA_OK;
    const mla_status status = mla_file_read(context, &text, &length, path, MOST_RECIPE);
    if (!status) mla_html_details(page, path, text);
    free(text);
    return status;
}

mla_status mla_report_runs(mla_context *context, FILE *page, const mla_list *folders) {
    run *runs = mla_alloc(context, folders->count, sizeof *runs, "the runs");
    mla_status status = runs ? MLA_OK : MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < folders->count && !status; i++) status = read_run(context, folders->items[i], &runs[i]);

    if (!status) status = write_table(context, page, runs, folders->count);
    if (!status) status = write_curves(context, page, folders, runs);
    if (!status) write_machine(page, runs, folders->count);
    if (!status) mla_html_element(page, "h2", folders->count > 1 ? "Recipes" : "Recipe");
    for (int64_t i = 0; i < folders->count && !status; i++) status = write_recipe(context, page, folders->items[i]);

    for (int64_t i = 0; i < folders->count && runs; i++) free(runs[i].lines);
    free(runs);
    return status;
}
