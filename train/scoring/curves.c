#include "train/scoring/curves.h"
#include "train/log/gnuplot.h"
#include "train/scoring/scores.h"

#include <math.h>

enum { MOST_CURVES = 10 };

typedef struct {
    const mla_decisions *decisions;
    const mla_label_set *names;
    int64_t labels[MOST_CURVES], count; /* that are drawn */
} picture;

/* ---- which labels ---- */

/* Keeps the labels in order of their rows, the most first. */
static void add_label(picture *p, int64_t label, double rows) {
    int64_t at = p->count < MOST_CURVES ? p->count++ : MOST_CURVES;
    for (; at > 0; at--) {
        const mla_ranking before = mla_decisions_ranking(p->decisions, p->labels[at - 1], NULL);
        if (mla_ranking_total(&before).hits >= rows) break;
        if (at < MOST_CURVES) p->labels[at] = p->labels[at - 1];
    }
    if (at < MOST_CURVES) p->labels[at] = label;
}

static void find_labels(picture *p) {
    for (int64_t k = 0; k < p->decisions->labels; k++) {
        const mla_ranking r = mla_decisions_ranking(p->decisions, k, NULL);
        const mla_cut total = mla_ranking_total(&r);
        if (mla_decisions_ask(p->decisions, k) && total.hits > 0 && total.alarms > 0) add_label(p, k, total.hits);
    }
}

/* ---- data: lines of false-positive rate, recall, precision, thinned where there are more than a picture shows ---- */

enum { MOST_POINTS = 2000 };

static void write_curve(FILE *script, const mla_ranking *r, int64_t number) {
    const mla_cut total = mla_ranking_total(r);
    const double step = (double)r->count / MOST_POINTS;
    double next = 0;
    fprintf(script, "$curve%lld << END\n0 0 NaN\n", (long long)number);
    for (mla_cut cut = {0}; mla_cut_next(r, &cut);) {
        if ((double)cut.next < next && cut.next < r->count) continue;
        next += step;
        fprintf(script, "%.9g %.9g %.9g\n", cut.alarms / total.alarms, cut.hits / total.hits,
                cut.hits / (cut.hits + cut.alarms));
    }
    fputs("END\n", script);
}

static void write_bins(FILE *script, const mla_decisions *d) {
    mla_calibration_bin bins[MLA_CALIBRATION_BINS];
    mla_calibrate(d, NULL, bins);
    fputs("$bins << END\n", script);
    for (int i = 0; i < MLA_CALIBRATION_BINS; i++)
        if (bins[i].weight > 0)
            fprintf(script, "%.9g %.9g\n", bins[i].probability / bins[i].weight, bins[i].right / bins[i].weight);
    fputs("END\n", script);
}

/* ---- panels ---- */

static void write_panel(FILE *script, const picture *p, const char *columns, bool precision) {
    fputs("plot ", script);
    if (!precision) fputs("x with lines dt 3 lc rgb '#999999' notitle, ", script);
    for (int64_t i = 0; i < p->count; i++) {
        const mla_ranking r = mla_decisions_ranking(p->decisions, p->labels[i], NULL);
        char title[96];
        snprintf(title, sizeof title, "%.60s (%.3f)", p->names->names[p->labels[i]],
                 precision ? mla_ranking_average_precision(&r) : mla_ranking_auroc(&r));
        fprintf(script, "%s$curve%lld using %s with lines lw 2 title ", i ? ", " : "", (long long)i, columns);
        mla_gnuplot_quoted(script, title);
    }
    fputc('\n', script);
}

static mla_status curves_write(mla_context *context, FILE *script, const void *user) {
    const picture *p = user;
    (void)context;
    for (int64_t i = 0; i < p->count; i++) {
        const mla_ranking r = mla_decisions_ranking(p->decisions, p->labels[i], NULL);
        write_curve(script, &r, i);
    }
    write_bins(script, p->decisions);
    fputs("set multiplot layout 1,3\nset size square\nset grid\nset key noenhanced bottom right\n"
          "set xrange [0:1]\nset yrange [0:1]\nset datafile missing 'NaN'\n"
          "set title 'ROC (area)'\nset xlabel 'false-positive rate'\nset ylabel 'recall'\n",
          script);
    write_panel(script, p, "1:2", false);
    fputs("set key bottom left\nset title 'Precision (average)'\nset xlabel 'recall'\nset ylabel 'precision'\n",
          script);
    write_panel(script, p, "2:3", true);
    fputs("set title 'Calibration'\nset xlabel 'probability'\nset ylabel 'share that is right'\n"
          "plot x with lines dt 3 lc rgb '#999999' notitle, $bins with linespoints pt 7 lw 2 notitle\n"
          "unset multiplot\n",
          script);
    return MLA_OK;
}

mla_status mla_scoring_plot(mla_context *context, const mla_decisions *decisions, const mla_label_set *names,
                            const char *path) {
    picture p = {.decisions = decisions, .names = names};
    if (decisions->kind == MLA_LABELS_NUMBERS)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%s: curves are drawn of labels; this model gives numbers", path);
    find_labels(&p);
    if (!p.count)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%s: there is no curve to draw: no label has both texts that have it and texts that do not",
                        path);
    return mla_gnuplot_picture(context, &(mla_gnuplot_script){curves_write, &p}, "1500,560", path);
}
