#include "train/log/plot.h"
#include "autograd/base/atomic_file.h"
#include "train/log/metrics.h"

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the script: the data stands in it, so that no path of the user's is ever part of a command */

/* In gnuplot's single quotes only the quote is special. */
static void write_quoted(FILE *script, const char *text) {
    fputc('\'', script);
    for (; *text; text++) {
        if (*text == '\'') fputc('\'', script);
        fputc((unsigned char)*text < ' ' ? '?' : *text, script);
    }
    fputc('\'', script);
}

static void write_value(FILE *script, double value) {
    if (isfinite(value)) fprintf(script, " %.9g", value);
    else fputs(" NaN", script);
}

/* What is to be drawn of a run. */
typedef struct {
    bool smoothed; /* more steps than a line shows by itself */
    bool held_out; /* at least one point */
} curve;

enum { FEW = 50 }; /* steps that need no smoothing */

/* Sums and numbers of the finite losses before each step. */
typedef struct {
    double sum, count;
} before;

static before *sum_losses(mla_context *context, const mla_metrics *lines, int64_t count) {
    before *sums = mla_alloc(context, count + 1, sizeof *sums, "the sums of losses");
    for (int64_t i = 0; i < count && sums; i++) {
        const bool finite = isfinite(lines[i].loss);
        sums[i + 1] = (before){sums[i].sum + (finite ? lines[i].loss : 0), sums[i].count + finite};
    }
    return sums;
}

/* The mean of the steps around one: as many before as after it, or the curve would lag. */
static double smoothed(const before *sums, int64_t i, int64_t count) {
    int64_t reach = count / (2 * FEW);
    if (reach > i) reach = i;
    if (reach > count - 1 - i) reach = count - 1 - i;
    const before *first = &sums[i - reach], *end = &sums[i + reach + 1];
    return (end->sum - first->sum) / (end->count - first->count); /* NaN where none is finite */
}

/* Lines of step, loss, smoothed loss, held-out loss. */
static mla_status write_lines(mla_context *context, FILE *script, const mla_metrics *lines, int64_t count, curve *out) {
    before *sums = sum_losses(context, lines, count);
    if (!sums) return MLA_ERROR_MEMORY;
    *out = (curve){.smoothed = count > FEW};
    for (int64_t i = 0; i < count; i++) {
        fprintf(script, "%lld", (long long)lines[i].step);
        write_value(script, lines[i].loss);
        write_value(script, smoothed(sums, i, count));
        write_value(script, lines[i].held_out_loss);
        fputc('\n', script);
        out->held_out |= isfinite(lines[i].held_out_loss);
    }
    free(sums);
    return MLA_OK;
}

static mla_status write_data(mla_context *context, FILE *script, const char *folder, int64_t run, curve *out) {
    mla_metrics *lines = NULL;
    int64_t count = 0;
    char path[4096];
    if (snprintf(path, sizeof path, "%s/metrics.jsonl", folder) >= (int)sizeof path)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "the path %s is too long", folder);
    mla_status status = mla_metrics_read(context, path, &lines, &count);
    if (!status && !count) status = mla_fail(context, MLA_ERROR_FORMAT, "%s holds no step yet", path);
    fprintf(script, "$run%lld << END\n", (long long)run);
    if (!status) status = write_lines(context, script, lines, count, out);
    fputs("END\n", script);
    free(lines);
    return status;
}

/* One colour a run: all steps pale where there are many, their mean over some steps on top, the held-out loss as
 * points. */
static void write_curve(FILE *script, const char *folder, long long run, curve c) {
    static const char *const colours[] = {"1f77b4", "d62728", "2ca02c", "ff7f0e", "9467bd",
                                          "8c564b", "17becf", "7f7f7f", "e377c2", "bcbd22"};
    const char *colour = colours[run % (long long)(sizeof colours / sizeof *colours)];
    if (c.smoothed) fprintf(script, "$run%lld using 1:2 with lines lc rgb '#c0%s' notitle, ", run, colour);
    fprintf(script, "$run%lld using 1:3 with lines lw 2 lc rgb '#%s' title ", run, colour);
    write_quoted(script, folder);
    if (c.held_out)
        fprintf(script,
                ", $run%lld using 1:($4 == $4 ? $4 : 1/0) with linespoints pt 7 dt 2 lc rgb '#%s' title 'held out'",
                run, colour);
}

static void write_curves(FILE *script, const mla_list *folders, const curve *curves) {
    fputs("set title 'Loss over the steps of training'\nset xlabel 'step'\nset ylabel 'loss (nats per token)'\n"
          "set grid\nset key noenhanced\nset autoscale xfix\nset datafile missing 'NaN'\nplot ",
          script);
    for (int64_t i = 0; i < folders->count; i++) {
        if (i) fputs(", ", script);
        write_curve(script, folders->items[i], i, curves[i]);
    }
    fputc('\n', script);
}

/* ---- gnuplot */

static mla_status run_gnuplot(mla_context *context, const char *script, int out) {
    char *words[] = {"gnuplot", (char *)script, NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int result;
    if (posix_spawn_file_actions_init(&actions)) return mla_fail(context, MLA_ERROR_MEMORY, "no memory for gnuplot");
    int error = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    if (!error) error = posix_spawnp(&child, "gnuplot", &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error == ENOENT)
        return mla_fail(context, MLA_ERROR_LIBRARY,
                        "gnuplot is not installed; it is in Debian's package gnuplot-nox (apt install gnuplot-nox)");
    if (error) return mla_fail(context, MLA_ERROR_LIBRARY, "cannot run gnuplot: %s", strerror(error));
    while (waitpid(child, &result, 0) < 0)
        if (errno != EINTR) return mla_fail(context, MLA_ERROR_LIBRARY, "lost gnuplot: %s", strerror(errno));
    if (WIFEXITED(result) && WEXITSTATUS(result) == 0) return MLA_OK;
    return mla_fail(context, MLA_ERROR_LIBRARY, "gnuplot failed; its own message is above");
}

/* Data and curves, after gnuplot's "set term" line. */
static mla_status write_script(mla_context *context, FILE *script, const mla_list *folders, const char *terminal) {
    curve *curves = mla_alloc(context, folders->count, sizeof *curves, "the curves");
    mla_status status = curves ? MLA_OK : MLA_ERROR_MEMORY;
    fprintf(script, "%s\n", terminal);
    for (int64_t i = 0; i < folders->count && !status; i++)
        status = write_data(context, script, folders->items[i], i, &curves[i]);
    if (!status) write_curves(script, folders, curves);
    free(curves);
    return status;
}

/* Writes the script to a temporary file and runs it. */
static mla_status plot_draw(mla_context *context, const mla_list *folders, const char *terminal, int out) {
    const char *wanted = getenv("TMPDIR"), *folder = wanted && *wanted ? wanted : "/tmp";
    char path[4096];
    if (snprintf(path, sizeof path, "%s/mla-plot-XXXXXX", folder) >= (int)sizeof path)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "the path %s (TMPDIR) is too long", folder);
    const int descriptor = mkstemp(path);
    FILE *script = descriptor < 0 ? NULL : fdopen(descriptor, "w");
    if (!script) return mla_fail(context, MLA_ERROR_IO, "cannot write to %s: %s", folder, strerror(errno));
    mla_status status = write_script(context, script, folders, terminal);
    const bool torn = ferror(script);
    if ((fclose(script) || torn) && !status)
        status = mla_fail(context, MLA_ERROR_IO, "cannot write %s: %s", path, strerror(errno));
    if (!status) status = run_gnuplot(context, path, out);
    unlink(path);
    return status;
}

/* gnuplot writes the picture to its standard output, that is to the temporary file. */
mla_status mla_plot_png(mla_context *context, const mla_list *folders, const char *path) {
    char temporary[4096];
    if (snprintf(temporary, sizeof temporary, "%s.tmp", path) >= (int)sizeof temporary)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "the path %s is too long", path);
    FILE *file = fopen(temporary, "wb");
    if (!file) return mla_fail(context, MLA_ERROR_IO, "cannot write %s: %s", temporary, strerror(errno));
    mla_status status = plot_draw(context, folders, "set term pngcairo size 1200,750", fileno(file));
    const bool empty = lseek(fileno(file), 0, SEEK_END) <= 0;
    if (fclose(file) && !status) status = mla_fail(context, MLA_ERROR_IO, "cannot write %s", temporary);
    if (!status && empty) status = mla_fail(context, MLA_ERROR_LIBRARY, "gnuplot drew nothing into %s", path);
    if (!status) status = mla_replace(context, temporary, path, (mla_step_hook){0});
    if (status) unlink(temporary);
    return status;
}

mla_status mla_plot_terminal(mla_context *context, const mla_list *folders, FILE *out, int columns) {
    char terminal[64];
    snprintf(terminal, sizeof terminal, "set term dumb noenhanced size %d, 24", columns);
    fflush(out);
    return plot_draw(context, folders, terminal, fileno(out));
}
