#include "train/scoring/scores.h"

#include <math.h>
#include <stdlib.h>

const mla_score_name mla_score_names[MLA_SCORES] = {
    [MLA_SCORE_ACCURACY] = {"accuracy", "accuracy"},
    [MLA_SCORE_MACRO_F1] = {"macro_f1", "F1, macro"},
    [MLA_SCORE_MICRO_F1] = {"micro_f1", "F1, micro"},
    [MLA_SCORE_AUROC] = {"auroc", "AUROC"},
    [MLA_SCORE_AVERAGE_PRECISION] = {"average_precision", "avg. precision"},
    [MLA_SCORE_RECALL_AT_FPR] = {"recall_at_fpr", "recall at FPR"},
    [MLA_SCORE_CALIBRATION_ERROR] = {"calibration_error", "calibration"},
    [MLA_SCORE_BRIER] = {"brier", "Brier score"},
    [MLA_SCORE_MAE] = {"mae", "mean abs. error"},
    [MLA_SCORE_RMSE] = {"rmse", "error"},
    [MLA_SCORE_R2] = {"r2", "R2"},
    [MLA_SCORE_SPEARMAN] = {"spearman", "Spearman"}};

static double weight_of(const double *weights, int64_t row) { return weights ? weights[row] : 1; }

/* ---- counts ---- */

double mla_label_counts_f1(const mla_label_counts *c) {
    return c->said + c->there > 0 ? 2 * c->both / (c->said + c->there) : 0;
}

void mla_f1_add(mla_f1_sums *sums, const mla_label_counts *c, bool always) {
    sums->all.both += c->both;
    sums->all.said += c->said;
    sums->all.there += c->there;
    sums->sum += mla_label_counts_f1(c);
    sums->labels += always || c->said + c->there > 0;
}

double mla_f1_macro(const mla_f1_sums *sums) { return sums->sum / sums->labels; }

double mla_f1_micro(const mla_f1_sums *sums) { return mla_label_counts_f1(&sums->all); }

mla_label_counts mla_decisions_count(const mla_decisions *d, int64_t label, const double *weights) {
    const uint8_t *said = d->said + label * d->rows, *truth = d->truth + label * d->rows;
    mla_label_counts c = {0};
    for (int64_t i = 0; i < d->rows; i++) {
        const double w = weight_of(weights, i);
        c.both += w * (said[i] && truth[i]);
        c.said += w * said[i];
        c.there += w * truth[i];
    }
    return c;
}

static double accuracy(const mla_decisions *d, const double *weights) {
    double right = 0, all = 0;
    for (int64_t i = 0; i < d->rows; i++) {
        bool same = true;
        for (int64_t k = 0; k < d->labels; k++) same = same && d->said[k * d->rows + i] == d->truth[k * d->rows + i];
        right += weight_of(weights, i) * same;
        all += weight_of(weights, i);
    }
    return right / all;
}

static void f1_scores(const mla_decisions *d, const double *weights, double *out) {
    mla_f1_sums sums = {0};
    for (int64_t k = 0; k < d->labels; k++) {
        const mla_label_counts c = mla_decisions_count(d, k, weights);
        mla_f1_add(&sums, &c, d->kind == MLA_LABELS_FLAGS);
    }
    out[MLA_SCORE_MACRO_F1] = mla_f1_macro(&sums);
    out[MLA_SCORE_MICRO_F1] = mla_f1_micro(&sums);
}

/* ---- ranking ---- */

bool mla_decisions_ask(const mla_decisions *d, int64_t label) { return d->positive < 0 || d->positive == label; }

static void ranking_scores(const mla_decisions *d, const double *weights, double rate, double *out) {
    double sums[3] = {0}, of = 0;
    for (int64_t k = 0; k < d->labels; k++) {
        const mla_ranking r = mla_decisions_ranking(d, k, weights);
        const mla_cut total = mla_ranking_total(&r);
        if (!mla_decisions_ask(d, k) || !(total.hits > 0 && total.alarms > 0)) continue;
        sums[0] += mla_ranking_auroc(&r);
        sums[1] += mla_ranking_average_precision(&r);
        sums[2] += mla_ranking_at_rate(&r, rate).recall;
        of++;
    }
    out[MLA_SCORE_AUROC] = sums[0] / of;
    out[MLA_SCORE_AVERAGE_PRECISION] = sums[1] / of;
    out[MLA_SCORE_RECALL_AT_FPR] = sums[2] / of;
}

/* ---- calibration ---- */

static void calibrate_row(mla_calibration_bin *bins, double probability, bool right, double weight) {
    const double place = floor(probability * MLA_CALIBRATION_BINS);
    mla_calibration_bin *bin = &bins[(int)fmax(0, fmin(place, MLA_CALIBRATION_BINS - 1))];
    bin->weight += weight;
    bin->probability += weight * probability;
    bin->right += weight * right;
}

void mla_calibrate(const mla_decisions *d, const double *weights, mla_calibration_bin *bins) {
    const bool likeliest = d->kind == MLA_LABELS_CLASSES && d->positive < 0;
    for (int i = 0; i < MLA_CALIBRATION_BINS; i++) bins[i] = (mla_calibration_bin){0};
    for (int64_t i = 0; i < d->rows; i++) {
        const int64_t best = likeliest ? mla_decisions_likeliest(d, i) : -1;
        for (int64_t k = 0; k < d->labels; k++)
            if (likeliest ? k == best : mla_decisions_ask(d, k))
                calibrate_row(bins, d->values[k * d->rows + i], d->truth[k * d->rows + i], weight_of(weights, i));
    }
}

double mla_calibration_error(const mla_calibration_bin *bins) {
    double sum = 0, all = 0;
    for (int i = 0; i < MLA_CALIBRATION_BINS; i++) {
        sum += fabs(bins[i].probability - bins[i].right);
        all += bins[i].weight;
    }
    return sum / all;
}

static double brier(const mla_decisions *d, const double *weights) {
    double sum = 0, all = 0;
    for (int64_t i = 0; i < d->rows; i++) {
        double squares = 0;
        for (int64_t k = 0; k < d->labels; k++) {
            const double off = d->values[k * d->rows + i] - d->truth[k * d->rows + i];
            if (mla_decisions_ask(d, k)) squares += off * off;
        }
        sum += weight_of(weights, i) * squares;
        all += weight_of(weights, i);
    }
    return sum / all / (d->kind == MLA_LABELS_FLAGS ? (double)d->labels : 1);
}

/* ---- numbers ---- */

/* Equal values share the mean of the places that they take, from 1 on. */
static void rank_values(const mla_decisions *d, const double *values, const int64_t *order, const double *weights,
                        double *ranks) {
    double before = 0;
    for (int64_t begin = 0, end; begin < d->rows; begin = end) {
        double here = 0;
        for (end = begin; end < d->rows && !(values[order[end]] < values[order[begin]]); end++)
            here += weight_of(weights, order[end]);
        for (int64_t i = begin; i < end; i++) ranks[order[i]] = before + (here + 1) / 2;
        before += here;
    }
}

static double mean_of(const double *values, const double *weights, int64_t count) {
    double sum = 0, all = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += weight_of(weights, i) * values[i];
        all += weight_of(weights, i);
    }
    return sum / all;
}

/* cov(a, b) / sqrt(var(a) var(b)) */
static double correlation(const double *a, const double *b, const double *weights, int64_t count) {
    const double mean_a = mean_of(a, weights, count), mean_b = mean_of(b, weights, count);
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < count; i++) {
        const double w = weight_of(weights, i), x = a[i] - mean_a, y = b[i] - mean_b;
        ab += w * x * y;
        aa += w * x * x;
        bb += w * y * y;
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa) / sqrt(bb) : NAN;
}

/* Adds one number's share of the means. */
static void number_scores(const mla_decisions *d, int64_t k, const double *weights, double *out) {
    const double *said = d->values + k * d->rows, *truth = d->numbers + k * d->rows;
    const double mean = mean_of(truth, weights, d->rows);
    double off = 0, squares = 0, about = 0, all = 0;
    for (int64_t i = 0; i < d->rows; i++) {
        const double w = weight_of(weights, i), error = said[i] - truth[i];
        off += w * fabs(error);
        squares += w * error * error;
        about += w * (truth[i] - mean) * (truth[i] - mean);
        all += w;
    }
    rank_values(d, said, d->order + k * d->rows, weights, d->ranks);
    rank_values(d, truth, d->numbers_order + k * d->rows, weights, d->ranks + d->rows);
    out[MLA_SCORE_MAE] += off / all / (double)d->labels;
    out[MLA_SCORE_RMSE] += squares / all / (double)d->labels;
    out[MLA_SCORE_R2] += (about > 0 ? 1 - squares / about : NAN) / (double)d->labels;
    out[MLA_SCORE_SPEARMAN] += correlation(d->ranks, d->ranks + d->rows, weights, d->rows) / (double)d->labels;
}

/* ---- all of them ---- */

void mla_scores_of(const mla_decisions *d, const double *weights, double rate, double *out) {
    mla_calibration_bin bins[MLA_CALIBRATION_BINS];
    const bool numbers = d->kind == MLA_LABELS_NUMBERS;
    for (int i = 0; i < MLA_SCORES; i++) out[i] = numbers && i >= MLA_SCORE_MAE ? 0 : NAN;
    if (numbers) {
        for (int64_t k = 0; k < d->labels; k++) number_scores(d, k, weights, out);
        out[MLA_SCORE_RMSE] = sqrt(out[MLA_SCORE_RMSE]);
        return;
    }
    mla_calibrate(d, weights, bins);
    out[MLA_SCORE_ACCURACY] = accuracy(d, weights);
    out[MLA_SCORE_CALIBRATION_ERROR] = mla_calibration_error(bins);
    out[MLA_SCORE_BRIER] = brier(d, weights);
    f1_scores(d, weights, out);
    ranking_scores(d, weights, rate, out);
}

typedef struct {
    const mla_decisions *decisions;
    double rate, *weights; /* (N) */
} resampled;

static void resample(void *user, const double *units, double *values) {
    const resampled *r = user;
    for (int64_t i = 0; i < r->decisions->rows; i++) r->weights[i] = units[r->decisions->units[i]];
    mla_scores_of(r->decisions, r->weights, r->rate, values);
}

mla_status mla_scores_bounds(mla_context *context, const mla_decisions *d, double rate, int64_t replicates,
                             uint64_t seed, mla_bounds *out) {
    resampled r = {d, rate, mla_alloc(context, d->rows, sizeof *r.weights, "weights of rows")};
    const mla_bootstrap_options o = {replicates, d->unit_count, seed};
    const mla_status status = r.weights ? mla_bootstrap(context, &o, resample, &r, MLA_SCORES, out) : MLA_ERROR_MEMORY;
    free(r.weights);
    return status;
}
