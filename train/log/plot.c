#include "train/log/plot.h"
#include "train/log/gnuplot.h"
#include "train/log/metrics.h"

#include <math.h>
#include <stdlib.h>

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
        mla_gnuplot_value(script, lines[i].loss);
        mla_gnuplot_value(script, smoothed(sums, i, count));
        mla_gnuplot_value(script, lines[i].held_out_loss);
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
    mla_gnuplot_quoted(script, folder);
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

/* Data and curves. */
static mla_status write_script(mla_context *context, FILE *script, const void *user) {
    const mla_list *folders = user;
    curve *curves = mla_alloc(context, folders->count, sizeof *curves, "the curves");
    mla_status status = curves ? MLA_OK : MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < folders->count && !status; i++)
        status = write_data(context, script, folders->items[i], i, &curves[i]);
    if (!status) write_curves(script, folders, curves);
    free(curves);
    return status;
}

mla_status mla_plot_picture(mla_context *context, const mla_list *folders, const char *path) {
    return mla_gnuplot_picture(context, &(mla_gnuplot_script){write_script, folders}, "1200,750", path);
}

mla_status mla_plot_terminal(mla_context *context, const mla_list *folders, FILE *out, int columns) {
    char terminal[64];
    snprintf(terminal, sizeof terminal, "set term dumb noenhanced size %d, 24", columns);
    fflush(out);
    return mla_gnuplot_draw(context, &(mla_gnuplot_script){write_script, folders}, terminal, fileno(out));
}
