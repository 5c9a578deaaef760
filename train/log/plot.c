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

static mla_status write_data(mla_context *context, FILE *script, const char *folder, int64_t run) {
    mla_metrics *lines = NULL;
    int64_t count = 0;
    char path[4096];
    if (snprintf(path, sizeof path, "%s/metrics.jsonl", folder) >= (int)sizeof path)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "the path %s is too long", folder);
    mla_status status = mla_metrics_read(context, path, &lines, &count);
    if (!status && !count) status = mla_fail(context, MLA_ERROR_FORMAT, "%s holds no step yet", path);
    fprintf(script, "$run%lld << END\n", (long long)run);
    for (int64_t i = 0; i < count; i++) {
        fprintf(script, "%lld", (long long)lines[i].step);
        write_value(script, lines[i].loss);
        write_value(script, lines[i].held_out_loss);
        fputc('\n', script);
    }
    fputs("END\n", script);
    free(lines);
    return status;
}

static void write_curves(FILE *script, const mla_list *folders) {
    fputs("set xlabel 'step'\nset ylabel 'loss (nats per token)'\nset grid\nset key noenhanced\n"
          "set datafile missing 'NaN'\nplot ",
          script);
    for (int64_t i = 0; i < folders->count; i++) {
        const long long run = i;
        fprintf(script, "%s$run%lld using 1:2 with lines lc %lld title ", run ? ", " : "", run, 2 * run + 1);
        write_quoted(script, folders->items[i]);
        fprintf(script, ", $run%lld using 1:($3 == $3 ? $3 : 1/0) with linespoints pt 7 lc %lld title 'held out'", run,
                2 * run + 2);
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

/* Writes the script to a temporary file and runs it; `terminal` is gnuplot's "set term" line. */
static mla_status plot_draw(mla_context *context, const mla_list *folders, const char *terminal, int out) {
    char path[] = "/tmp/mla-plot-XXXXXX";
    const int descriptor = mkstemp(path);
    FILE *script = descriptor < 0 ? NULL : fdopen(descriptor, "w");
    mla_status status = MLA_OK;
    if (!script) return mla_fail(context, MLA_ERROR_IO, "cannot write to /tmp: %s", strerror(errno));
    fprintf(script, "%s\n", terminal);
    for (int64_t i = 0; i < folders->count && !status; i++) status = write_data(context, script, folders->items[i], i);
    write_curves(script, folders);
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
