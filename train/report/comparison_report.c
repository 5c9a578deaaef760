#include "train/report/comparison_report.h"
#include "autograd/base/file.h"
#include "autograd/json/tree.h"
#include "train/log/progress.h"
#include "train/report/html.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CELL = 64, MOST_ARMS = 64, LONGEST = 64 << 20 };

static bool path_of(const char *folder, char path[4096]) {
    return snprintf(path, 4096, "%s/comparison.json", folder) < 4096;
}

bool mla_is_comparison(const char *folder) {
    char path[4096];
    return path_of(folder, path) && !access(path, F_OK);
}

/* ---- the table ---- */

/* A mean, and for a difference what it may be off by. */
static void write_number(const json_t *arm, const char *key, char out[CELL]) {
    const double value = mla_json_number_of(arm, key);
    snprintf(out, CELL, isfinite(value) ? "%.5g" : "-", value);
}

static void write_count(const json_t *arm, const char *key, char out[CELL]) {
    const double value = mla_json_number_of(arm, key);
    snprintf(out, CELL, isfinite(value) ? "%.0f" : "-", value);
}

static void write_share(const json_t *arm, const char *key, char out[CELL]) {
    const double value = mla_json_number_of(arm, key);
    snprintf(out, CELL, isfinite(value) ? "%.1f %%" : "-", 100 * value);
}

static void write_difference(const json_t *arm, const char *key, char out[CELL]) {
    const json_t *difference = json_object_get(json_object_get(arm, "differences"), key);
    const double mean = mla_json_number_of(difference, "mean"), half = mla_json_number_of(difference, "half_width");
    if (!isfinite(mean)) snprintf(out, CELL, "-");
    else if (isfinite(half)) snprintf(out, CELL, "%+.4f \u00b1 %.4f", mean, half);
    else snprintf(out, CELL, "%+.4f", mean);
}

static void write_time(const json_t *arm, const char *key, char out[CELL]) {
    write_number(json_object_get(arm, "time"), key, out);
}

static void write_memory(const json_t *arm, const char *key, char out[CELL]) {
    const double bytes = mla_json_number_of(json_object_get(arm, "time"), key);
    if (isfinite(bytes)) mla_bytes_text(bytes, CELL, out);
    else snprintf(out, CELL, "-");
}

static const struct {
    const char *heading, *key;
    void (*write)(const json_t *arm, const char *key, char out[CELL]);
} rows[] = {{"Parameters", "parameters", write_count},
            {"Cache, bytes a token", "cache_bytes_per_token", write_count},
            {"Learning rate", "learning_rate", write_number},
            {"Held-out loss", "held_out_loss", write_number},
            {"Difference, 95 %", "held_out_loss", write_difference},
            {"Perplexity", "perplexity", write_number},
            {"Bits per byte", "bits_per_byte", write_number},
            {"Copy: loss the 2nd time", "copy_second", write_number},
            {"Recall, correct", "recall_accuracy", write_share},
            {"Training, tokens/s", "tokens_per_second", write_time},
            {"Memory, at most", "peak_memory", write_memory}};

/* What the cells of a row say of an arm; user: what the row is about. */
typedef void (*cell_writer)(const json_t *arm, const void *user, char out[CELL]);

static void write_row(FILE *page, const char *heading, const json_t *arms, cell_writer write, const void *user) {
    const char *cells[MOST_ARMS];
    char texts[MOST_ARMS][CELL];
    const int count = (int)json_array_size(arms);
    for (int k = 0; k < count; k++) {
        write(json_array_get(arms, (size_t)k), user, texts[k]);
        cells[k] = texts[k];
    }
    mla_html_row(page, heading, cells, count);
}

static void write_name(const json_t *arm, const void *user, char out[CELL]) {
    (void)user;
    snprintf(out, CELL, "%s", mla_json_text_of(arm, "name"));
}

static void write_figure(const json_t *arm, const void *user, char out[CELL]) {
    const size_t i = *(const size_t *)user;
    rows[i].write(arm, rows[i].key, out);
}

/* The element of an array of objects whose number under `key` is this one. */
static const json_t *element_with(const json_t *array, const char *key, double number) {
    const json_t *element;
    size_t i;
    json_array_foreach(array, i, element) if (mla_json_number_of(element, key) == number) return element;
    return NULL;
}

static const json_t *decoding_of(const json_t *arm) {
    return json_object_get(json_object_get(arm, "time"), "decoding");
}

static void write_decoding(const json_t *arm, const void *user, char out[CELL]) {
    const json_t *found = element_with(decoding_of(arm), "context", *(const double *)user);
    const char *skipped = mla_json_text_of(found, "skipped");
    if (*skipped) snprintf(out, CELL, "- (%s)", skipped);
    else write_number(found, "tokens_per_second", out);
}

/* All arms have the same contexts. */
static void write_decoding_rows(FILE *page, const json_t *arms) {
    const json_t *entry;
    size_t i;
    json_array_foreach(decoding_of(json_array_get(arms, 0)), i, entry) {
        char heading[CELL];
        const double context = mla_json_number_of(entry, "context");
        snprintf(heading, sizeof heading, "Decoding after %.0f tokens, tokens/s", context);
        write_row(page, heading, arms, write_decoding, &context);
    }
}

/* A column an arm. */
static void write_table(FILE *page, const json_t *arms) {
    mla_html_table_begin(page);
    write_row(page, "Arm", arms, write_name, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) write_row(page, rows[i].heading, arms, write_figure, &i);
    write_decoding_rows(page, arms);
    mla_html_table_end(page);
}

/* ---- the sweep ---- */

static void write_swept(const json_t *arm, const void *user, char out[CELL]) {
    const json_t *run = element_with(json_object_get(arm, "sweep"), "learning_rate", *(const double *)user);
    if (json_is_true(json_object_get(run, "diverged"))) snprintf(out, CELL, "diverged");
    else write_number(run, "held_out_loss", out);
}

/* The held-out loss at each learning rate, of the first seed. Whether there is a sweep. */
static bool write_sweep(FILE *page, const json_t *found, const json_t *arms) {
    const json_t *rates = json_object_get(found, "learning_rates"), *rate;
    size_t i;
    if (json_array_size(rates) < 2) return false;
    mla_html_element(page, "h2", "Held-out loss by learning rate");
    mla_html_table_begin(page);
    write_row(page, "Learning rate", arms, write_name, NULL);
    json_array_foreach(rates, i, rate) {
        char heading[CELL];
        const double value = json_number_value(rate);
        snprintf(heading, sizeof heading, "%g", value);
        write_row(page, heading, arms, write_swept, &value);
    }
    mla_html_table_end(page);
    return true;
}

/* ---- the pictures ---- */

/* Points of arms over something, one colour an arm. */
typedef struct {
    const char *title, *x_title, *style;
    int base; /* of the axis */
    /* Lines of x, y and what y may be off by, none without a y. Whether there are some. script NULL: none is written.
     */
    bool (*write_points)(FILE *script, const json_t *arm, mla_gnuplot_extent *extent);
} chart;

static bool write_point(FILE *script, double x, double y, double off, mla_gnuplot_extent *extent) {
    const double reach = isfinite(off) ? off : 0;
    if (!(x > 0) || !mla_gnuplot_extend(extent, x, y - reach)) return false;
    mla_gnuplot_extend(extent, x, y + reach);
    if (script) fprintf(script, "%.9g %.9g %.9g\n", x, y, reach);
    return true;
}

static bool write_cache_point(FILE *script, const json_t *arm, mla_gnuplot_extent *extent) {
    return write_point(script, mla_json_number_of(arm, "cache_bytes_per_token"),
                       mla_json_number_of(arm, "held_out_loss"), mla_json_number_of(arm, "deviation"), extent);
}

static bool write_rate_points(FILE *script, const json_t *arm, mla_gnuplot_extent *extent) {
    const json_t *run;
    size_t i;
    bool any = false;
    json_array_foreach(json_object_get(arm, "sweep"), i, run) any |= write_point(
        script, mla_json_number_of(run, "learning_rate"), mla_json_number_of(run, "held_out_loss"), 0, extent);
    return any;
}

static const chart by_cache = {"Held-out loss against the cache; bars: standard deviation over seeds",
                               "bytes of cache for a token", "using 1:2:3 with yerrorbars pt 7 ps 1.2", 2,
                               write_cache_point};
static const chart by_rate = {"Held-out loss by learning rate, at the first seed", "learning rate",
                              "using 1:2 smooth unique with linespoints pt 7 lw 2", 10, write_rate_points};

typedef struct {
    const chart *chart;
    const json_t *arms;
    bool dark;
} drawing;

static mla_status write_script(mla_context *context, FILE *script, const void *user) {
    const drawing *d = user;
    const json_t *arm;
    bool has[MOST_ARMS];
    mla_gnuplot_extent extent = {0};
    size_t k;
    const char *before = "plot ";
    (void)context;
    fprintf(script,
            "set title '%s'\nset xlabel '%s'\nset ylabel 'held-out loss (nats per token)'\nset grid\n"
            "set logscale x %d\nset offsets graph 0.1, graph 0.1, graph 0.1, graph 0.1\nset key outside noenhanced\n",
            d->chart->title, d->chart->x_title, d->chart->base);
    if (d->dark) mla_gnuplot_dark(script);
    json_array_foreach(d->arms, k, arm) {
        fprintf(script, "$arm%zu << END\n", k);
        has[k] = d->chart->write_points(script, arm, &extent);
        fputs("END\n", script);
    }
    mla_gnuplot_flat_ranges(script, &extent);
    json_array_foreach(d->arms, k, arm) {
        if (!has[k]) continue;
        fprintf(script, "%s$arm%zu %s lc %zu title ", before, k, d->chart->style, k + 1);
        mla_gnuplot_quoted(script, mla_json_text_of(arm, "name"));
        before = ", ";
    }
    fputc('\n', script);
    return MLA_OK;
}

static bool has_points(const chart *c, const json_t *arms) {
    mla_gnuplot_extent extent = {0};
    const json_t *arm;
    size_t k;
    json_array_foreach(arms, k, arm) c->write_points(NULL, arm, &extent);
    return extent.points > 0;
}

/* Nothing where there are no points yet. */
static mla_status write_picture(mla_context *context, FILE *page, const chart *c, const json_t *arms) {
    mla_picture_bytes light = {0}, dark = {0};
    if (!has_points(c, arms)) return MLA_OK;
    mla_status status = mla_gnuplot_svg(context, &(mla_gnuplot_script){write_script, &(drawing){c, arms, false}},
                                        &light);
    if (!status)
        status = mla_gnuplot_svg(context, &(mla_gnuplot_script){write_script, &(drawing){c, arms, true}}, &dark);
    if (!status) mla_html_picture(page, c->title, &light, &dark);
    free(light.bytes), free(dark.bytes);
    return status;
}

/* ---- the page ---- */

static void write_state(FILE *page, const json_t *found) {
    char text[256];
    const bool complete = json_is_true(json_object_get(found, "complete"));
    snprintf(text, sizeof text, "Recipe %.100s, matched by %.40s; %.0f of %.0f runs are done%s.",
             mla_json_text_of(found, "recipe"), mla_json_text_of(found, "match"),
             mla_json_number_of(found, "runs_done"), mla_json_number_of(found, "runs"),
             complete ? "" : ": the rest is missing from these figures");
    mla_html_element(page, "p", text);
}

mla_status mla_report_comparison(mla_context *context, FILE *page, const char *folder) {
    char path[4096], *bytes = NULL;
    int64_t length;
    json_t *found = NULL;
    if (!path_of(folder, path)) return mla_fail(context, MLA_ERROR_ARGUMENT, "the path %s is too long", folder);
    mla_status status = mla_file_read(context, &bytes, &length, path, LONGEST);
    if (!status) status = mla_json_read(context, path, bytes, length, 0, &found);
    const json_t *arms = json_object_get(found, "arms");
    if (!status && !json_array_size(arms))
        status = mla_fail(context, MLA_ERROR_FORMAT, "%s has no \"arms\": it is not what mla compare writes", path);
    if (!status && json_array_size(arms) > MOST_ARMS)
        status = mla_fail(context, MLA_ERROR_FORMAT, "%s has %zu arms, at most %d are shown", path,
                          json_array_size(arms), MOST_ARMS);
    if (!status) {
        write_state(page, found);
        write_table(page, arms);
        status = write_picture(context, page, &by_cache, arms);
        if (!status && write_sweep(page, found, arms)) status = write_picture(context, page, &by_rate, arms);
    }
    json_decref(found);
    free(bytes);
    return status;
}
