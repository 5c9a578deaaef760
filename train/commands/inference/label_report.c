#include "train/commands/inference/label_report.h"
#include "train/commands/output.h"

#include <math.h>

enum { WIDEST_MATRIX = 12 }; /* classes whose confusion fits on a terminal */

/* A label by itself, against the rest. */
typedef struct {
    mla_label_counts counts;
    double precision, recall, f1; /* 0 where nothing is to be divided by */
    double auroc, average_precision;
    mla_operating_point point;
} row;

static row row_of(const mla_label_report *r, int64_t label) {
    const mla_ranking ranking = mla_decisions_ranking(r->decisions, label, NULL);
    const mla_label_counts c = mla_decisions_count(r->decisions, label, NULL);
    return (row){.counts = c,
                 .precision = c.said > 0 ? c.both / c.said : 0,
                 .recall = c.there > 0 ? c.both / c.there : 0,
                 .f1 = mla_label_counts_f1(&c),
                 .auroc = mla_ranking_auroc(&ranking),
                 .average_precision = mla_ranking_average_precision(&ranking),
                 .point = mla_ranking_at_rate(&ranking, r->at_fpr)};
}

static bool of_labels(const mla_label_report *r) { return r->decisions->kind != MLA_LABELS_NUMBERS; }

static int64_t confused(const mla_decisions *d, int64_t true_class, int64_t said_class) {
    int64_t count = 0;
    for (int64_t i = 0; i < d->rows; i++)
        count += d->truth[true_class * d->rows + i] && d->said[said_class * d->rows + i];
    return count;
}

/* ---- text ---- */

static void print_score(const mla_label_report *r, mla_score score) {
    if (!isfinite(r->scores[score])) return;
    fprintf(r->out, "%-16s %.4f", mla_score_names[score].words, r->scores[score]);
    if (r->bounds) fprintf(r->out, " [%.4f, %.4f]", r->bounds[score].low, r->bounds[score].high);
    if (score == MLA_SCORE_ACCURACY) fprintf(r->out, " of %lld", (long long)r->decisions->rows);
    if (score == MLA_SCORE_RMSE) fputs(" (root mean square)", r->out);
    if (score == MLA_SCORE_CALIBRATION_ERROR) fputs(" (expected error)", r->out);
    if (score == MLA_SCORE_RECALL_AT_FPR) fprintf(r->out, " (%g)", r->at_fpr);
    if (score == MLA_SCORE_RECALL_AT_FPR && r->decisions->positive >= 0)
        fprintf(r->out, ", from %.4g on", row_of(r, r->decisions->positive).point.threshold);
    fputc('\n', r->out);
}

static void print_number(FILE *out, double value) {
    if (isfinite(value)) fprintf(out, " %9.4f", value);
    else fprintf(out, " %9s", "-");
}

static void print_rows(const mla_label_report *r) {
    fprintf(r->out, "%-24s %9s %9s %9s %9s %9s %9s\n", "label", "precision", "recall", "F1", "AUROC", "avg.prec.",
            "examples");
    for (int64_t k = 0; k < r->names->count; k++) {
        const row x = row_of(r, k);
        fprintf(r->out, "%-24.24s %9.4f %9.4f %9.4f", r->names->names[k], x.precision, x.recall, x.f1);
        print_number(r->out, x.auroc);
        print_number(r->out, x.average_precision);
        fprintf(r->out, " %9.0f\n", x.counts.there);
    }
}

static void print_matrix(const mla_label_report *r) {
    const int64_t count = r->names->count;
    if (r->decisions->kind != MLA_LABELS_CLASSES || count > WIDEST_MATRIX) return;
    fprintf(r->out, "%-24s", "true, said:");
    for (int64_t k = 0; k < count; k++) fprintf(r->out, " %8.8s", r->names->names[k]);
    fputc('\n', r->out);
    for (int64_t k = 0; k < count; k++) {
        fprintf(r->out, "%-24.24s", r->names->names[k]);
        for (int64_t said = 0; said < count; said++)
            fprintf(r->out, " %8lld", (long long)confused(r->decisions, k, said));
        fputc('\n', r->out);
    }
}

static void print_thresholds(const mla_label_report *r) {
    for (int64_t k = 0; r->thresholds && k < r->names->count; k++)
        if (isfinite(r->thresholds->values[k]))
            fprintf(r->out, "threshold        %.4g for %s, chosen by %s%s\n", r->thresholds->values[k],
                    r->names->names[k], r->thresholds->chosen_by, r->saved ? " on these texts" : "");
    if (r->saved) fprintf(r->out, "written          %s\n", r->saved);
}

void mla_label_report_text(const mla_label_report *r) {
    fprintf(r->out, "checkpoint       %s\n", r->checkpoint);
    fprintf(r->out, "loss             %.4f, in %s\n", r->loss, mla_dtype_name(r->precision));
    for (int i = 0; i < MLA_SCORES; i++) print_score(r, (mla_score)i);
    if (r->decisions->positive >= 0) fprintf(r->out, "positive         %s\n", r->names->names[r->decisions->positive]);
    print_thresholds(r);
    if (!of_labels(r)) return;
    print_rows(r);
    print_matrix(r);
}

/* ---- JSON ---- */

static json_t *json_bounds(const mla_label_report *r) {
    json_t *json = json_object();
    for (int i = 0; i < MLA_SCORES; i++)
        if (isfinite(r->bounds[i].low))
            json_object_set_new(json, mla_score_names[i].key, json_pack("[f, f]", r->bounds[i].low, r->bounds[i].high));
    return json;
}

static json_t *json_row(const mla_label_report *r, int64_t label) {
    const row x = row_of(r, label);
    json_t *json = json_object();
    mla_output_number(json, "precision", x.precision);
    mla_output_number(json, "recall", x.recall);
    mla_output_number(json, "f1", x.f1);
    mla_output_number(json, "auroc", x.auroc);
    mla_output_number(json, "average_precision", x.average_precision);
    mla_output_number(json, "recall_at_fpr", x.point.recall);
    mla_output_number(json, "threshold_at_fpr", x.point.threshold);
    json_object_set_new(json, "examples", json_integer((json_int_t)x.counts.there));
    json_object_set_new(json, "said", json_integer((json_int_t)x.counts.said));
    return json;
}

static json_t *json_matrix(const mla_label_report *r) {
    json_t *rows = json_array();
    for (int64_t k = 0; k < r->names->count; k++) {
        json_t *line = json_array();
        for (int64_t said = 0; said < r->names->count; said++)
            json_array_append_new(line, json_integer(confused(r->decisions, k, said)));
        json_array_append_new(rows, line);
    }
    return rows;
}

static void set_labels(const mla_label_report *r, json_t *json) {
    json_t *classes = json_object(), *thresholds = json_object();
    for (int64_t k = 0; k < r->names->count && of_labels(r); k++)
        json_object_set_new(classes, r->names->names[k], json_row(r, k));
    json_object_set_new(json, "classes", classes);
    if (r->decisions->positive >= 0)
        json_object_set_new(json, "positive", json_string(r->names->names[r->decisions->positive]));
    if (r->decisions->kind == MLA_LABELS_CLASSES) json_object_set_new(json, "confusion", json_matrix(r));
    for (int64_t k = 0; k < r->names->count && r->thresholds; k++)
        if (isfinite(r->thresholds->values[k]))
            mla_output_number(thresholds, r->names->names[k], r->thresholds->values[k]);
    json_object_set_new(json, "thresholds", thresholds);
}

void mla_label_report_json(const mla_label_report *r) {
    json_t *json = json_object();
    json_object_set_new(json, "checkpoint", json_string(r->checkpoint));
    json_object_set_new(json, "targets", json_integer(r->decisions->rows));
    json_object_set_new(json, "precision", json_string(mla_dtype_name(r->precision)));
    mla_output_number(json, "loss", r->loss);
    for (int i = 0; i < MLA_SCORES; i++) mla_output_number(json, mla_score_names[i].key, r->scores[i]);
    mla_output_number(json, "at_fpr", of_labels(r) ? r->at_fpr : NAN);
    if (r->bounds) json_object_set_new(json, "intervals", json_bounds(r));
    set_labels(r, json);
    if (r->saved) json_object_set_new(json, "written", json_string(r->saved));
    mla_output_print(r->out, json);
}
