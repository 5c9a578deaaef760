#include "train/scoring/decisions.h"

#include <stdlib.h>

mla_status mla_decisions_create(mla_context *context, mla_decisions *out, mla_labels_kind kind, int64_t rows,
                                int64_t labels) {
    static const char what[] = "the decisions";
    const int64_t all = rows * labels; /* each is held in memory already */
    *out = (mla_decisions){.kind = kind, .rows = rows, .labels = labels, .positive = -1, .unit_count = rows};
    out->units = mla_alloc(context, rows, sizeof *out->units, what);
    out->values = mla_alloc(context, all, sizeof *out->values, what);
    out->order = mla_alloc(context, all, sizeof *out->order, what);
    if (kind == MLA_LABELS_NUMBERS) {
        out->numbers = mla_alloc(context, all, sizeof *out->numbers, what);
        out->numbers_order = mla_alloc(context, all, sizeof *out->numbers_order, what);
        out->ranks = mla_alloc(context, rows, 2 * sizeof *out->ranks, what);
    } else {
        out->truth = mla_alloc(context, all, sizeof *out->truth, what);
        out->said = mla_alloc(context, all, sizeof *out->said, what);
    }
    if (mla_error_status(context)) return MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < rows; i++) out->units[i] = i;
    return MLA_OK;
}

void mla_decisions_free(mla_decisions *d) {
    free(d->units);
    free(d->values);
    free(d->order);
    free(d->numbers);
    free(d->numbers_order);
    free(d->ranks);
    free(d->truth);
    free(d->said);
    *d = (mla_decisions){0};
}

int64_t mla_decisions_likeliest(const mla_decisions *d, int64_t row) {
    int64_t best = 0;
    for (int64_t k = 1; k < d->labels; k++)
        if (d->values[k * d->rows + row] > d->values[best * d->rows + row]) best = k;
    return best;
}

static int64_t class_of(const mla_decisions *d, int64_t row, const double *thresholds) {
    if (d->positive < 0 || !thresholds) return mla_decisions_likeliest(d, row);
    return d->values[d->positive * d->rows + row] >= thresholds[d->positive] ? d->positive : 1 - d->positive;
}

static void decide_row(mla_decisions *d, int64_t row, const double *thresholds) {
    const bool flags = d->kind == MLA_LABELS_FLAGS;
    const int64_t class = flags ? -1 : class_of(d, row, thresholds);
    for (int64_t k = 0; k < d->labels; k++)
        d->said[k * d->rows + row] = flags ? d->values[k * d->rows + row] >= (thresholds ? thresholds[k] : 0.5)
                                           : k == class;
}

void mla_decisions_decide(mla_decisions *d, const double *thresholds) {
    for (int64_t k = 0; k < d->labels; k++) {
        mla_rank_rows(d->rows, d->values + k * d->rows, d->order + k * d->rows);
        if (d->numbers) mla_rank_rows(d->rows, d->numbers + k * d->rows, d->numbers_order + k * d->rows);
    }
    for (int64_t i = 0; i < d->rows && d->said; i++) decide_row(d, i, thresholds);
}

mla_ranking mla_decisions_ranking(const mla_decisions *d, int64_t label, const double *weights) {
    const int64_t at = label * d->rows;
    return (mla_ranking){d->rows, d->values + at, d->truth + at, d->order + at, weights};
}
