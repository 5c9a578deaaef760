#include "train/scoring/ranking.h"

#include <math.h>
#include <stdlib.h>

static int by_falling_score(const void *a, const void *b, void *scores) {
    const int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    const double x = ((const double *)scores)[i], y = ((const double *)scores)[j];
    return x != y ? (x < y) - (x > y) : (i > j) - (i < j);
}

void mla_rank_rows(int64_t count, const double *scores, int64_t *order) {
    for (int64_t i = 0; i < count; i++) order[i] = i;
    qsort_r(order, (size_t)count, sizeof *order, by_falling_score, (void *)scores);
}

bool mla_cut_next(const mla_ranking *r, mla_cut *cut) {
    if (cut->next >= r->count) return false;
    cut->score = r->scores[r->order[cut->next]];
    while (cut->next < r->count && !(r->scores[r->order[cut->next]] < cut->score)) {
        const int64_t row = r->order[cut->next++];
        *(r->truth[row] ? &cut->hits : &cut->alarms) += r->weights ? r->weights[row] : 1;
    }
    return true;
}

mla_cut mla_ranking_total(const mla_ranking *r) {
    mla_cut total = {.next = r->count};
    for (int64_t i = 0; i < r->count; i++)
        *(r->truth[i] ? &total.hits : &total.alarms) += r->weights ? r->weights[i] : 1;
    return total;
}

double mla_ranking_auroc(const mla_ranking *r) {
    const mla_cut total = mla_ranking_total(r);
    double area = 0;
    for (mla_cut cut = {0}, last = cut; mla_cut_next(r, &cut); last = cut)
        area += (cut.alarms - last.alarms) * (cut.hits + last.hits) / 2;
    return total.hits > 0 && total.alarms > 0 ? area / total.hits / total.alarms : NAN;
}

double mla_ranking_average_precision(const mla_ranking *r) {
    const mla_cut total = mla_ranking_total(r);
    double sum = 0;
    for (mla_cut cut = {0}, last = cut; mla_cut_next(r, &cut); last = cut)
        if (cut.hits > last.hits) sum += (cut.hits - last.hits) * cut.hits / (cut.hits + cut.alarms);
    return total.hits > 0 ? sum / total.hits : NAN;
}

/* Half-way to the next lower score, so that rounding moves no row over the line. */
static double line_below(const mla_ranking *r, const mla_cut *cut) {
    if (cut->next >= r->count) return cut->score;
    const double middle = cut->score / 2 + r->scores[r->order[cut->next]] / 2;
    return middle > r->scores[r->order[cut->next]] ? middle : cut->score;
}

static mla_operating_point point_of(const mla_ranking *r, const mla_cut *cut, const mla_cut *total) {
    const double said = cut->hits + cut->alarms;
    return (mla_operating_point){.threshold = cut->next ? line_below(r, cut) : INFINITY,
                                 .recall = cut->hits / total->hits,
                                 .precision = said > 0 ? cut->hits / said : 0,
                                 .f1 = 2 * cut->hits / (said + total->hits),
                                 .false_positive_rate = cut->alarms / total->alarms};
}

mla_operating_point mla_ranking_at_rate(const mla_ranking *r, double rate) {
    const mla_cut total = mla_ranking_total(r);
    mla_cut best = {0};
    if (!(total.hits > 0 && total.alarms > 0)) return (mla_operating_point){NAN, NAN, NAN, NAN, NAN};
    for (mla_cut cut = {0}; mla_cut_next(r, &cut) && cut.alarms <= rate * total.alarms;)
        if (cut.hits > best.hits) best = cut;
    return point_of(r, &best, &total);
}

mla_operating_point mla_ranking_best_f1(const mla_ranking *r) {
    const mla_cut total = mla_ranking_total(r);
    mla_operating_point best = {NAN, NAN, NAN, NAN, NAN};
    if (!(total.hits > 0)) return best;
    for (mla_cut cut = {0}; mla_cut_next(r, &cut);) {
        const mla_operating_point point = point_of(r, &cut, &total);
        if (!(point.f1 <= best.f1)) best = point;
    }
    return best;
}
