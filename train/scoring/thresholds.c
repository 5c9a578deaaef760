#include "train/scoring/thresholds.h"
#include "autograd/json/tree.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static mla_status thresholds_create(mla_context *context, mla_thresholds *t, int64_t labels) {
    *t = (mla_thresholds){.values = mla_alloc(context, labels, sizeof *t->values, "thresholds"), .positive = -1};
    for (int64_t k = 0; k < labels && t->values; k++) t->values[k] = NAN;
    return t->values ? MLA_OK : MLA_ERROR_MEMORY;
}

void mla_thresholds_free(mla_thresholds *t) {
    free(t->values);
    *t = (mla_thresholds){0};
}

/* ---- chosen ---- */

static mla_status choose_one(mla_context *context, const mla_ranking *r, const char *name, double rate, double *out) {
    const mla_cut total = mla_ranking_total(r);
    if (!(total.hits > 0 && total.alarms > 0))
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "a threshold for \"%s\" cannot be chosen: %s of the texts %s it; evaluate on others", name,
                        total.hits > 0 ? "all" : "none", total.hits > 0 ? "have" : "has");
    const mla_operating_point point = rate < 0 ? mla_ranking_best_f1(r) : mla_ranking_at_rate(r, rate);
    *out = point.threshold;
    if (isfinite(*out)) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "\"%s\": no threshold finds any text at a false-positive rate of %g; set a higher --at-fpr", name,
                    rate);
}

mla_status mla_thresholds_choose(mla_context *context, const mla_decisions *d, const mla_label_set *names, double rate,
                                 mla_thresholds *t) {
    *t = (mla_thresholds){0};
    if (d->kind != MLA_LABELS_FLAGS && d->positive < 0)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "a threshold is chosen for one of two classes or for flags; of %s",
                        d->kind == MLA_LABELS_NUMBERS ? "numbers there is none"
                                                      : "several classes the likeliest is said");
    mla_status status = thresholds_create(context, t, d->labels);
    t->positive = d->positive;
    if (rate < 0) snprintf(t->chosen_by, sizeof t->chosen_by, "f1");
    else snprintf(t->chosen_by, sizeof t->chosen_by, "fpr %g", rate);
    for (int64_t k = 0; k < d->labels && !status; k++) {
        const mla_ranking r = mla_decisions_ranking(d, k, NULL);
        if (d->positive < 0 || d->positive == k) status = choose_one(context, &r, names->names[k], rate, &t->values[k]);
    }
    return status;
}

/* ---- JSON ---- */

char *mla_thresholds_json(mla_context *context, const mla_thresholds *t, const mla_label_set *names) {
    json_t *values = json_object();
    for (int64_t k = 0; k < names->count; k++)
        if (!isnan(t->values[k])) json_object_set_new(values, names->names[k], json_real(t->values[k]));
    json_t *json = json_pack("{s:s, s:o}", "chosen_by", t->chosen_by, "thresholds", values);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!text) mla_fail(context, MLA_ERROR_MEMORY, "no memory for thresholds");
    return text;
}

static mla_status take_values(mla_context *context, const char *where, json_t *values, const mla_label_set *names,
                              mla_thresholds *t) {
    const char *name;
    json_t *value;
    json_object_foreach(values, name, value) {
        const int64_t k = mla_label_set_find(names, name);
        const double number = json_number_value(value);
        if (k < 0) return mla_fail(context, MLA_ERROR_FORMAT, "%s: a threshold for \"%s\", no label", where, name);
        if (!json_is_number(value) || !(number >= 0 && number <= 1))
            return mla_fail(context, MLA_ERROR_FORMAT, "%s: the threshold for \"%s\" is none from 0 to 1", where, name);
        t->values[k] = number;
        t->positive = k;
    }
    return MLA_OK;
}

static mla_status thresholds_take(mla_context *context, const char *where, const json_t *json,
                                  const mla_label_set *names, mla_labels_kind kind, mla_thresholds *t) {
    const char *by = json_string_value(json_object_get(json, "chosen_by"));
    json_t *values = json_object_get(json, "thresholds");
    const bool flags = kind == MLA_LABELS_FLAGS, classes = kind == MLA_LABELS_CLASSES && names->count == 2;
    const size_t wanted = flags ? (size_t)names->count : 1;
    mla_status status = thresholds_create(context, t, names->count);
    if (!status && (!by || (!flags && !classes) || !json_is_object(values) || json_object_size(values) != wanted))
        status = mla_fail(context, MLA_ERROR_FORMAT, "%s: the thresholds do not fit the labels", where);
    if (!status) status = take_values(context, where, values, names, t);
    if (!status) snprintf(t->chosen_by, sizeof t->chosen_by, "%s", by);
    if (flags) t->positive = -1;
    return status;
}

mla_status mla_thresholds_parse(mla_context *context, const char *where, const char *text, const mla_label_set *names,
                                mla_labels_kind kind, mla_thresholds *t) {
    char prefix[4200];
    json_t *json = NULL;
    *t = (mla_thresholds){0};
    snprintf(prefix, sizeof prefix, "%.4000s: thresholds: ", where);
    mla_status status = mla_json_parse(context, prefix, text, &json);
    if (!status) status = thresholds_take(context, where, json, names, kind, t);
    json_decref(json);
    return status;
}
