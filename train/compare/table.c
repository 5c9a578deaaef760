#include "train/compare/table.h"
#include "autograd/json/tree.h"
#include "train/log/progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CELL = 32 };

/* A number by a printf format, or "-" where there is none. */
__attribute__((format(printf, 2, 0))) static const char *cell(char out[CELL], const char *format, double value) {
    if (isfinite(value)) snprintf(out, CELL, format, value);
    else snprintf(out, CELL, "-");
    return out;
}

static const json_t *first_arm(const json_t *summary) { return json_array_get(json_object_get(summary, "arms"), 0); }

/* ---- what the models know ---- */

/* "+0.0123 +- 0.0045", and nothing of the arm that the others are held against. */
static const char *difference_text(const json_t *arm, const char *key, char out[2 * CELL]) {
    const json_t *d = json_object_get(json_object_get(arm, "differences"), key);
    const double mean = mla_json_number_of(d, "mean"), half = mla_json_number_of(d, "half_width");
    if (!d) snprintf(out, 2 * CELL, "%s", "");
    else if (!isfinite(mean)) snprintf(out, 2 * CELL, "-");
    else if (!isfinite(half)) snprintf(out, 2 * CELL, "%+.4f (1 seed)", mean);
    else snprintf(out, 2 * CELL, "%+.4f +- %.4f", mean, half);
    return out;
}

static void print_quality(FILE *out, const json_t *summary) {
    const json_t *arms = json_object_get(summary, "arms"), *arm;
    char difference[2 * CELL], a[CELL], b[CELL], c[CELL], d[CELL], e[CELL], f[CELL], g[CELL];
    size_t i;
    snprintf(difference, sizeof difference, "minus %.20s (95 %%)", mla_json_text_of(first_arm(summary), "name"));
    fprintf(out, "%-16s %10s %9s %20s %11s %10s %9s %9s %8s\n", "arm", "lr", "held out", difference, "perplexity",
            "bits/byte", "copy", "again", "recall");
    json_array_foreach(arms, i, arm) fprintf(
        out, "%-16s %10s %9s %20s %11s %10s %9s %9s %8s\n", mla_json_text_of(arm, "name"),
        cell(a, "%g", mla_json_number_of(arm, "learning_rate")),
        cell(b, "%.4f", mla_json_number_of(arm, "held_out_loss")), difference_text(arm, "held_out_loss", difference),
        cell(c, "%.2f", mla_json_number_of(arm, "perplexity")),
        cell(d, "%.4f", mla_json_number_of(arm, "bits_per_byte")),
        cell(e, "%.4f", mla_json_number_of(arm, "copy_first")), cell(f, "%.4f", mla_json_number_of(arm, "copy_second")),
        cell(g, "%.1f %%", 100 * mla_json_number_of(arm, "recall_accuracy")));
}

/* ---- what they cost ---- */

static const char *count_cell(char out[CELL], double count, void (*text)(double, size_t, char *)) {
    if (isfinite(count) && count > 0) text(count, CELL, out);
    else snprintf(out, CELL, "-");
    return out;
}

static void print_cost_head(FILE *out, const json_t *summary) {
    const json_t *decoding = json_object_get(json_object_get(first_arm(summary), "time"), "decoding"), *entry;
    char title[CELL];
    size_t i;
    fprintf(out, "%-16s %10s %7s %12s %14s %14s %10s", "arm", "parameters", "width", "cache B/token", "MFLOP/token",
            "train tokens/s", "memory");
    json_array_foreach(decoding, i, entry) {
        snprintf(title, sizeof title, "at %lld", (long long)json_integer_value(json_object_get(entry, "context")));
        fprintf(out, " %9s", title);
    }
    fprintf(out, "%s\n", json_array_size(decoding) ? "   (decoding, tokens/s)" : "");
}

static void print_costs(FILE *out, const json_t *summary) {
    const json_t *arms = json_object_get(summary, "arms"), *arm, *entry;
    char a[CELL], b[CELL], c[CELL], d[CELL];
    size_t i, k;
    print_cost_head(out, summary);
    json_array_foreach(arms, i, arm) {
        const json_t *time = json_object_get(arm, "time");
        fprintf(out, "%-16s %10s %7.0f %13.0f %14s %14s %10s", mla_json_text_of(arm, "name"),
                count_cell(a, mla_json_number_of(arm, "parameters"), mla_count_text),
                mla_json_number_of(arm, "intermediate_size"), mla_json_number_of(arm, "cache_bytes_per_token"),
                cell(b, "%.2f", mla_json_number_of(arm, "flops_per_token") / 1e6),
                count_cell(c, mla_json_number_of(time, "tokens_per_second"), mla_count_text),
                count_cell(d, mla_json_number_of(time, "peak_memory"), mla_bytes_text));
        json_array_foreach(json_object_get(time, "decoding"), k, entry)
            fprintf(out, " %9s", cell(a, "%.1f", mla_json_number_of(entry, "tokens_per_second")));
        fputc('\n', out);
    }
}

/* ---- what must be known with them ---- */

static void print_notes(FILE *out, const json_t *summary) {
    const json_t *arms = json_object_get(summary, "arms"), *arm, *entry;
    const json_t *decoding = json_object_get(json_object_get(first_arm(summary), "time"), "decoding");
    size_t i;
    json_array_foreach(arms, i, arm) if (json_is_true(json_object_get(arm, "at_edge")))
        fprintf(out, "%s: its best learning rate is at the edge of those swept; sweep further, --lr\n",
                mla_json_text_of(arm, "name"));
    json_array_foreach(decoding, i, entry) if (json_object_get(entry, "skipped"))
        fprintf(out, "decoding at %lld is left out: %s\n",
                (long long)json_integer_value(json_object_get(entry, "context")), mla_json_text_of(entry, "skipped"));
}

void mla_table_print(FILE *out, const json_t *summary) {
    const long long seeds = json_integer_value(json_object_get(summary, "seeds"));
    fprintf(out, "%lld seed%s, %lld steps of %lld x %lld tokens, matched by: %s\n\n", seeds, seeds == 1 ? "" : "s",
            (long long)json_integer_value(json_object_get(summary, "steps")),
            (long long)json_integer_value(json_object_get(summary, "batch")),
            (long long)json_integer_value(json_object_get(summary, "sequence")), mla_json_text_of(summary, "match"));
    print_quality(out, summary);
    fputc('\n', out);
    print_costs(out, summary);
    print_notes(out, summary);
}

/* ---- as CSV ---- */

/* The path of a member: "a.b" is b within a. */
static double number_within(const json_t *json, const char *path) {
    char key[64];
    const char *dot;
    while ((dot = strchr(path, '.'))) {
        snprintf(key, sizeof key, "%.*s", (int)(dot - path), path);
        json = json_object_get(json, key);
        path = dot + 1;
    }
    return mla_json_number_of(json, path);
}

typedef struct {
    const char *title, *path;
} column;

static const column columns[] = {
    {"learning_rate", "learning_rate"},
    {"held_out_loss", "held_out_loss"},
    {"deviation", "deviation"},
    {"difference", "differences.held_out_loss.mean"},
    {"half_width", "differences.held_out_loss.half_width"},
    {"seeds", "differences.held_out_loss.seeds"},
    {"perplexity", "perplexity"},
    {"bits_per_byte", "bits_per_byte"},
    {"copy_first", "copy_first"},
    {"copy_second", "copy_second"},
    {"recall_loss", "recall_loss"},
    {"recall_accuracy", "recall_accuracy"},
    {"parameters", "parameters"},
    {"intermediate_size", "intermediate_size"},
    {"cache_bytes_per_token", "cache_bytes_per_token"},
    {"flops_per_token", "flops_per_token"},
    {"tokens_per_second", "time.tokens_per_second"},
    {"peak_memory", "time.peak_memory"},
};
enum { COLUMNS = sizeof columns / sizeof *columns };

static void write_csv(FILE *out, const json_t *summary) {
    const json_t *arms = json_object_get(summary, "arms"), *arm, *entry;
    size_t i, k;
    fprintf(out, "arm");
    for (int j = 0; j < COLUMNS; j++) fprintf(out, ",%s", columns[j].title);
    json_array_foreach(json_object_get(json_object_get(first_arm(summary), "time"), "decoding"), k, entry)
        fprintf(out, ",decoding_at_%lld", (long long)json_integer_value(json_object_get(entry, "context")));
    json_array_foreach(arms, i, arm) {
        fprintf(out, "\n%s", mla_json_text_of(arm, "name"));
        for (int j = 0; j < COLUMNS; j++) {
            const double value = number_within(arm, columns[j].path);
            fprintf(out, isfinite(value) ? ",%.17g" : ",", value);
        }
        json_array_foreach(json_object_get(json_object_get(arm, "time"), "decoding"), k, entry) {
            const double value = mla_json_number_of(entry, "tokens_per_second");
            fprintf(out, isfinite(value) ? ",%.17g" : ",", value);
        }
    }
    fputc('\n', out);
}

char *mla_table_csv(mla_context *context, const json_t *summary) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out) write_csv(out, summary);
    if (out && !fclose(out)) return text;
    free(text);
    mla_fail(context, MLA_ERROR_MEMORY, "no memory for a table");
    return NULL;
}
