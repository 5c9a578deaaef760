#include "train/log/plot.h"
#include "train/log/gnuplot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is drawn of a step ---- */

static double loss(const mla_metrics *m) { return m->loss; }
static double held_out_loss(const mla_metrics *m) { return m->held_out_loss; }
static double learning_rate(const mla_metrics *m) { return m->lr; }
static double gradient_norm(const mla_metrics *m) { return m->grad_norm; }
static double speed(const mla_metrics *m) { return m->tokens_per_second; }
static double memory(const mla_metrics *m) { return (double)m->memory / (1 << 20); }
static double macro_f1(const mla_metrics *m) { return m->macro_f1; }

static const mla_plot_kind kinds[] = {
    {"Loss over the steps of training", "loss (nats per token)", loss, held_out_loss, .exact = false},
    {"Macro F1 of held-out texts", "F1", macro_f1, macro_f1, .exact = true},
    {"Learning rate", "", learning_rate, NULL, .exact = true},
    {"Norm of the gradient", "", gradient_norm, NULL, .exact = false},
    {"Speed", "tokens per second", speed, NULL, .exact = false},
    {"Memory, at most so far", "MiB", memory, NULL, .exact = true}};
static const mla_plot_kind *const losses = &kinds[0];
const mla_plot_kind *const mla_plot_kinds[] = {&kinds[0], &kinds[1], &kinds[2], &kinds[3], &kinds[4], &kinds[5], NULL};

/* What a script is made of. */
typedef struct {
    const mla_list *folders;
    const mla_plot_kind *kind;
    bool dark;
    mla_gnuplot_extent *extent; /* of all curves, as they are written */
} drawing;

/* ---- the script ---- */

/* What is to be drawn of a run. */
typedef struct {
    bool smoothed; /* more steps than a line shows by itself */
    bool held_out; /* at least one point */
} curve;

enum { FEW = 50 }; /* steps that need no smoothing */

/* Sums and numbers of the finite values before each step. */
typedef struct {
    double sum, count;
} before;

static before *sum_values(mla_context *context, const mla_plot_kind *kind, const mla_metrics *lines, int64_t count) {
    before *sums = mla_alloc(context, count + 1, sizeof *sums, "the sums of a curve");
    for (int64_t i = 0; i < count && sums; i++) {
        const double value = kind->of_step(&lines[i]);
        const bool finite = isfinite(value);
        sums[i + 1] = (before){sums[i].sum + (finite ? value : 0), sums[i].count + finite};
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

/* Lines of step, value, smoothed value, value of what is held out. */
static mla_status write_lines(mla_context *context, FILE *script, const drawing *d, const mla_metrics *lines,
                              int64_t count, curve *out) {
    const mla_plot_kind *kind = d->kind;
    before *sums = sum_values(context, kind, lines, count);
    if (!sums) return MLA_ERROR_MEMORY;
    *out = (curve){.smoothed = count > FEW && !kind->exact};
    for (int64_t i = 0; i < count; i++) {
        fprintf(script, "%lld", (long long)lines[i].step);
        mla_gnuplot_value(script, kind->of_step(&lines[i]));
        mla_gnuplot_value(script, out->smoothed ? smoothed(sums, i, count) : kind->of_step(&lines[i]));
        mla_gnuplot_value(script, kind->held_out ? kind->held_out(&lines[i]) : NAN);
        fputc('\n', script);
        mla_gnuplot_extend(d->extent, (double)lines[i].step, kind->of_step(&lines[i]));
        if (kind->held_out)
            out->held_out |= mla_gnuplot_extend(d->extent, (double)lines[i].step, kind->held_out(&lines[i]));
    }
    free(sums);
    return MLA_OK;
}

static mla_status write_data(mla_context *context, FILE *script, const drawing *d, int64_t run, curve *out) {
    const char *folder = d->folders->items[run];
    mla_metrics *lines = NULL;
    int64_t count = 0;
    char path[4096];
    if (snprintf(path, sizeof path, "%s/metrics.jsonl", folder) >= (int)sizeof path)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "the path %s is too long", folder);
    mla_status status = mla_metrics_read(context, path, &lines, &count);
    if (!status && !count) status = mla_fail(context, MLA_ERROR_FORMAT, "%s holds no step yet", path);
    fprintf(script, "$run%lld << END\n", (long long)run);
    if (!status) status = write_lines(context, script, d, lines, count, out);
    fputs("END\n", script);
    free(lines);
    return status;
}

/* Bytes of the folders that all runs lie in. */
static size_t common_folders(const mla_list *folders) {
    size_t common = 0;
    const char *first = folders->items[0];
    for (size_t i = 0; first[i] && folders->count > 1; i++) {
        for (int64_t k = 1; k < folders->count; k++)
            if (folders->items[k][i] != first[i]) return common;
        if (first[i] == '/' && first[i + 1]) common = i + 1;
    }
    return common;
}

/* A run's name in the key, which gnuplot leaves out where it finds no room for it: what tells it from the others, and
 * of a long one the beginning and the end. */
static void write_name(FILE *script, const drawing *d, long long run) {
    enum { END = 12, LONGEST = 2 * END + 2 };
    const char *name = d->folders->items[run] + common_folders(d->folders);
    const size_t length = strlen(name);
    size_t first = END, last = length > END ? length - END : 0;
    char out[LONGEST + 8];
    while (last < length && ((unsigned char)name[last] & 0xc0) == 0x80) last++; /* characters stay whole */
    while (length > LONGEST && first && ((unsigned char)name[first] & 0xc0) == 0x80) first--;
    if (length > LONGEST) snprintf(out, sizeof out, "%.*s…%s", (int)first, name, name + last);
    else snprintf(out, sizeof out, "%s", name);
    mla_gnuplot_quoted(script, out);
}

/* One colour a run: all steps pale where there are many, their mean over some steps on top, what is held out as points,
 * which the key has once. */
static void write_curve(FILE *script, const drawing *d, long long run, const curve *curves) {
    static const char *const colours[] = {"1f77b4", "d62728", "2ca02c", "ff7f0e", "9467bd",
                                          "8c564b", "17becf", "7f7f7f", "e377c2", "bcbd22"};
    const char *colour = colours[run % (long long)(sizeof colours / sizeof *colours)];
    const curve c = curves[run];
    bool named = false;
    for (long long k = 0; k < run; k++) named |= curves[k].held_out;
    if (c.smoothed) fprintf(script, "$run%lld using 1:2 with lines lc rgb '#c0%s' notitle, ", run, colour);
    fprintf(script, "$run%lld using 1:3 with lines lw 2 lc rgb '#%s' title ", run, colour);
    write_name(script, d, run);
    if (c.held_out)
        fprintf(script, ", $run%lld using 1:($4 == $4 ? $4 : 1/0) with linespoints pt 7 dt 2 lc rgb '#%s' %s", run,
                colour, named ? "notitle" : "title 'held out'");
}

static void write_frame(FILE *script, const drawing *d) {
    fputs("set title ", script);
    mla_gnuplot_quoted(script, d->kind->title);
    fputs("\nset xlabel 'step'\nset ylabel ", script);
    mla_gnuplot_quoted(script, d->kind->unit);
    fputs("\nset grid\nset key noenhanced tmargin center horizontal\nset autoscale xfix\nset datafile missing 'NaN'\n",
          script);
    if (d->dark) mla_gnuplot_dark(script);
}

static mla_status write_script(mla_context *context, FILE *script, const void *user) {
    mla_gnuplot_extent extent = {0};
    const drawing *wanted = user, *d = &(drawing){wanted->folders, wanted->kind, wanted->dark, &extent};
    curve *curves = mla_alloc(context, d->folders->count, sizeof *curves, "the curves");
    mla_status status = curves ? MLA_OK : MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < d->folders->count && !status; i++) status = write_data(context, script, d, i, &curves[i]);
    if (!status) {
        write_frame(script, d);
        mla_gnuplot_flat_ranges(script, &extent);
    }
    for (int64_t i = 0; i < d->folders->count && !status; i++) {
        fputs(i ? ", " : "plot ", script);
        write_curve(script, d, i, curves);
    }
    fputc('\n', script);
    free(curves);
    return status;
}

/* ---- pictures ---- */

mla_status mla_plot_picture(mla_context *context, const mla_list *folders, const char *path) {
    return mla_gnuplot_picture(
        context, &(mla_gnuplot_script){write_script, &(drawing){.folders = folders, .kind = losses}}, "1200,750", path);
}

mla_status mla_plot_terminal(mla_context *context, const mla_list *folders, FILE *out, int columns) {
    char terminal[64];
    snprintf(terminal, sizeof terminal, "set term dumb noenhanced size %d, 24", columns);
    fflush(out);
    return mla_gnuplot_draw(context,
                            &(mla_gnuplot_script){write_script, &(drawing){.folders = folders, .kind = losses}},
                            terminal, fileno(out));
}

mla_status mla_plot_svg(mla_context *context, const mla_list *folders, const mla_plot_kind *kind, bool dark,
                        mla_picture_bytes *out) {
    const drawing d = {.folders = folders, .kind = kind, .dark = dark};
    return mla_gnuplot_svg(context, &(mla_gnuplot_script){write_script, &d}, out);
}
