/* The figures of decisions against scikit-learn's (the numbers are those that tests/parity/scoring.py prints), lines
 * that are drawn between scores, intervals that cover, thresholds that are kept. */
#include "autograd/base/random.h"
#include "tests/support/check.h"
#include "train/scoring/scores.h"
#include "train/scoring/thresholds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- figures ---- */

enum { ROWS = 90 };

typedef struct {
    mla_labels_kind kind;
    int64_t labels, positive;
    bool weighted;
    double expected[MLA_SCORES];
} figures;

static const figures classes = {MLA_LABELS_CLASSES,
                                3,
                                -1,
                                false,
                                {0.28888888888888886, 0.28221000660684697, 0.28888888888888886, 0.43936749518183343,
                                 0.30544240174456355, 0.052307692307692312, 0.22425062610075175, 0.78407440593396016,
                                 NAN, NAN, NAN, NAN}};
static const figures weighted = {MLA_LABELS_CLASSES,
                                 3,
                                 -1,
                                 true,
                                 {0.27777777777777779, 0.27574617531343099, 0.27777777777777779, 0.4165848211675845,
                                  0.29548475608082747, 0.052287581699346407, 0.23093083773859288, 0.80104908545634246,
                                  NAN, NAN, NAN, NAN}};
static const figures flags = {MLA_LABELS_FLAGS,
                              3,
                              -1,
                              false,
                              {0.10000000000000001, 0.41316485454011165, 0.41295546558704455, 0.45790466392318246,
                               0.43446841312091311, 0.15740740740740741, 0.33388888888888885, 0.36124074074074081, NAN,
                               NAN, NAN, NAN}};
static const figures two = {MLA_LABELS_CLASSES,
                            2,
                            1,
                            false,
                            {0.45555555555555555, 0.45224195752080487, 0.45555555555555555, 0.43518518518518523,
                             0.5476915939525796, 0.018518518518518517, 0.30909090909090914, 0.35708601163146619, NAN,
                             NAN, NAN, NAN}};
static const figures numbers = {MLA_LABELS_NUMBERS,
                                3,
                                -1,
                                false,
                                {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, 2.4888888888888889, 2.955534669934559,
                                 -0.64186494451970499, 0.71978029963559997}};

/* Row i of label k, with many equal scores. */
static double score_of(const figures *f, int64_t i, int64_t k) {
    double raw[3], sum = 0;
    for (int64_t j = 0; j < 3; j++) sum += raw[j] = (double)((i * (37 + 12 * j) + 11 * j) % 23 + 1);
    const double second = (double)((i * 79 + 13) % 31 + 1) / 33;
    if (f->kind == MLA_LABELS_NUMBERS) return (double)(i * (17 + k) % 23) / 4;
    if (f->kind == MLA_LABELS_FLAGS) return (double)((i * (29 + 10 * k) + 7 * k) % 41) / 40;
    return f->labels == 3 ? raw[k] / sum : k ? second : 1 - second;
}

static bool is_true(const figures *f, int64_t i, int64_t k) {
    if (f->kind == MLA_LABELS_FLAGS) return i * (k + 2) % 5 < 2;
    return k == (f->labels == 3 ? (i * i + 3 * i) % 7 % 3 : (i * i + i) % 5 < 2);
}

static void fill(mla_context *context, const figures *f, mla_decisions *d) {
    check_ok(context, mla_decisions_create(context, d, f->kind, ROWS, f->labels));
    d->positive = f->positive;
    for (int64_t at = 0; at < f->labels * ROWS; at++) {
        const int64_t i = at % ROWS, k = at / ROWS;
        d->values[at] = score_of(f, i, k);
        if (d->truth) d->truth[at] = is_true(f, i, k);
        else d->numbers[at] = d->values[at] + (double)(i * (7 + k) % 11) / 2;
    }
    mla_decisions_decide(d, NULL);
}

static void check_figures(mla_context *context, const figures *f) {
    mla_decisions d;
    double out[MLA_SCORES], weights[ROWS];
    fill(context, f, &d);
    for (int64_t i = 0; i < ROWS; i++) weights[i] = (double)(i % 3 + 1);
    mla_scores_of(&d, f->weighted ? weights : NULL, 0.1, out);
    for (int i = 0; i < MLA_SCORES; i++) {
        if (isnan(f->expected[i])) assert_true(isnan(out[i]));
        else check_close(out[i], f->expected[i], 1e-12);
    }
    mla_decisions_free(&d);
}

static void test_figures(void **state) {
    const figures *const all[] = {&classes, &weighted, &flags, &two, &numbers};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) check_figures(*state, all[i]);
}

/* ---- lines between scores ---- */

static void test_lines(void **state) {
    const double scores[] = {0.9, 0.2, 0.6, 0.6, 0.1, 0.8};
    const uint8_t truth[] = {1, 0, 1, 0, 0, 0}, none[6] = {0};
    int64_t order[6];
    (void)state;
    mla_rank_rows(6, scores, order);
    const mla_ranking r = {6, scores, truth, order, NULL}, empty = {6, scores, none, order, NULL};
    check_close(mla_ranking_at_rate(&r, 0).threshold, 0.85, 1e-12); /* half-way between 0.9 and 0.8 */
    check_close(mla_ranking_at_rate(&r, 0).recall, 0.5, 0);
    check_close(mla_ranking_at_rate(&r, 0.5).threshold, 0.4, 1e-12);
    check_close(mla_ranking_at_rate(&r, 0.49).recall, 0.5, 0); /* the two equal scores stay together */
    check_close(mla_ranking_best_f1(&r).threshold, 0.85, 1e-12);
    assert_true(isnan(mla_ranking_auroc(&empty)) && isnan(mla_ranking_average_precision(&empty)));
    assert_true(isnan(mla_ranking_at_rate(&empty, 0.1).recall) && isnan(mla_ranking_best_f1(&empty).f1));
}

static void test_no_line(void **state) {
    const double scores[] = {0.9, 0.2};
    const uint8_t truth[] = {0, 1};
    int64_t order[2];
    (void)state;
    mla_rank_rows(2, scores, order);
    const mla_ranking r = {2, scores, truth, order, NULL};
    assert_true(isinf(mla_ranking_at_rate(&r, 0.5).threshold));
    check_close(mla_ranking_at_rate(&r, 0.5).recall, 0, 0);
}

/* ---- intervals ---- */

enum { SAMPLES = 200, DRAWN = 120 };

/* Scores of a normal distribution, those of the label about 1 and the others about 0: an AUROC of Phi(1 / sqrt 2). */
static void draw(mla_decisions *d, uint64_t seed) {
    float normal[DRAWN];
    mla_random_normal(mla_random_stream(seed, "coverage", 0, 0, 0), 0, DRAWN, normal);
    for (int64_t i = 0; i < DRAWN; i++) {
        d->truth[DRAWN + i] = (uint8_t)(i % 2);
        d->truth[i] = !(i % 2);
        d->values[DRAWN + i] = 1 / (1 + exp(-((double)normal[i] + (double)(i % 2)))); /* keeps the order */
        d->values[i] = 1 - d->values[DRAWN + i];
    }
    d->positive = 1;
    mla_decisions_decide(d, NULL);
}

/* An interval of 95 % holds what is true about 19 times out of 20. */
static void test_intervals_cover(void **state) {
    const double area = 0.76024993890652326, right = 0.5 * (0.5 + 0.84134474606854293); /* said at 0 and more */
    int areas = 0, rights = 0;
    mla_bounds bounds[MLA_SCORES];
    mla_decisions d;
    check_ok(*state, mla_decisions_create(*state, &d, MLA_LABELS_CLASSES, DRAWN, 2));
    for (uint64_t sample = 0; sample < SAMPLES; sample++) {
        draw(&d, sample);
        check_ok(*state, mla_scores_bounds(*state, &d, 0.1, 200, sample, bounds));
        areas += bounds[MLA_SCORE_AUROC].low <= area && area <= bounds[MLA_SCORE_AUROC].high;
        rights += bounds[MLA_SCORE_ACCURACY].low <= right && right <= bounds[MLA_SCORE_ACCURACY].high;
    }
    mla_decisions_free(&d);
    assert_in_range(areas, SAMPLES * 90 / 100, SAMPLES * 99 / 100);
    assert_in_range(rights, SAMPLES * 90 / 100, SAMPLES * 99 / 100);
}

/* Each replicate draws as many as there are, its own, and each unit as often as any other. */
static void test_draws(void **state) {
    const mla_bootstrap_options o = {.units = 50, .seed = 3};
    double weights[50], again[50], sums[50] = {0}, all = 0;
    (void)state;
    for (int64_t r = 0; r < 2000; r++) {
        mla_bootstrap_draw(&o, r, weights);
        for (int i = 0; i < 50; i++) sums[i] += weights[i], all += weights[i];
    }
    mla_bootstrap_draw(&o, 1999, again);
    assert_memory_equal(weights, again, sizeof weights);
    mla_bootstrap_draw(&o, 1998, again);
    assert_memory_not_equal(weights, again, sizeof weights);
    check_close(all, 2000 * 50, 0);
    for (int i = 0; i < 50; i++) assert_true(fabs(sums[i] - 2000) < 5 * sqrt(2000));
}

/* A statistic that is the replicate's number: its quantiles are known. */
static void count_up(void *user, const double *weights, double *values) {
    (void)weights;
    values[0] = (*(double *)user)++;
    values[1] = values[0] < 2 ? values[0] : NAN; /* two of them have a value */
    values[2] = NAN;
}

static void test_quantiles(void **state) {
    double next = 0;
    mla_bounds b[3];
    check_ok(*state, mla_bootstrap(*state, &(mla_bootstrap_options){101, 5, 0}, count_up, &next, 3, b));
    check_close(b[0].low, 2.5, 1e-12);
    check_close(b[0].high, 97.5, 1e-12);
    check_close(b[1].low, 0.025, 1e-12);
    check_close(b[1].high, 0.975, 1e-12);
    assert_true(isnan(b[2].low) && isnan(b[2].high));
}

/* The tokens of a text are drawn together: of one text alone there is nothing to draw. */
static void test_units(void **state) {
    mla_decisions d;
    mla_bounds bounds[MLA_SCORES];
    double out[MLA_SCORES];
    fill(*state, &classes, &d);
    for (int64_t i = 0; i < ROWS; i++) d.units[i] = 0;
    d.unit_count = 1;
    mla_scores_of(&d, NULL, 0.1, out);
    check_ok(*state, mla_scores_bounds(*state, &d, 0.1, 5, 1, bounds));
    check_close(bounds[MLA_SCORE_ACCURACY].low, out[MLA_SCORE_ACCURACY], 1e-12);
    check_close(bounds[MLA_SCORE_ACCURACY].high, out[MLA_SCORE_ACCURACY], 1e-12);
    mla_decisions_free(&d);
}

/* ---- thresholds ---- */

static char *names[] = {"ok", "fraud", "other"};
static const mla_label_set pair = {names, 2, 2, true}, triple = {names, 3, 3, true};

static void test_thresholds_are_chosen(void **state) {
    mla_decisions d;
    mla_thresholds t, back;
    fill(*state, &two, &d);
    check_ok(*state, mla_thresholds_choose(*state, &d, &pair, -1, &t));
    const mla_ranking r = mla_decisions_ranking(&d, 1, NULL);
    check_close(t.values[1], mla_ranking_best_f1(&r).threshold, 0);
    assert_true(isnan(t.values[0]));
    char *json = mla_thresholds_json(*state, &t, &pair);
    check_ok(*state, mla_thresholds_parse(*state, "a.h5", json, &pair, MLA_LABELS_CLASSES, &back));
    assert_true(back.positive == 1 && back.values[1] == t.values[1] && !strcmp(back.chosen_by, "f1"));
    mla_decisions_decide(&d, back.values);
    const mla_label_counts c = mla_decisions_count(&d, 1, NULL);
    check_close(mla_label_counts_f1(&c), mla_ranking_best_f1(&r).f1, 1e-12);
    free(json);
    mla_thresholds_free(&t);
    mla_thresholds_free(&back);
    mla_decisions_free(&d);
}

static void test_thresholds_that_cannot_be(void **state) {
    mla_decisions d;
    mla_thresholds t;
    fill(*state, &classes, &d);
    check_error(*state, mla_thresholds_choose(*state, &d, &triple, -1, &t), MLA_ERROR_ARGUMENT, "several classes");
    mla_decisions_free(&d);
    fill(*state, &flags, &d);
    memset(d.truth + ROWS, 0, ROWS);
    check_error(*state, mla_thresholds_choose(*state, &d, &triple, 0.1, &t), MLA_ERROR_ARGUMENT,
                "\"fraud\" cannot be chosen: none of the texts has it");
    mla_thresholds_free(&t);
    mla_decisions_free(&d);
}

static void refuse(mla_context *context, const char *json, const mla_label_set *set, mla_labels_kind kind,
                   const char *words) {
    mla_thresholds t;
    check_error(context, mla_thresholds_parse(context, "a.h5", json, set, kind, &t), MLA_ERROR_FORMAT, words);
    mla_thresholds_free(&t);
}

static void test_thresholds_that_are_wrong(void **state) {
    refuse(*state, "[", &pair, MLA_LABELS_CLASSES, "a.h5: thresholds: ");
    refuse(*state, "[]", &pair, MLA_LABELS_CLASSES, "do not fit");
    refuse(*state, "{\"chosen_by\":\"f1\",\"thresholds\":{\"a\":0.5}}", &pair, MLA_LABELS_CLASSES, "\"a\", no label");
    refuse(*state, "{\"chosen_by\":\"f1\",\"thresholds\":{\"ok\":1.5}}", &pair, MLA_LABELS_CLASSES, "none from 0 to 1");
    refuse(*state, "{\"chosen_by\":\"f1\",\"thresholds\":{\"ok\":\"x\"}}", &pair, MLA_LABELS_CLASSES, "none from 0");
    refuse(*state, "{\"chosen_by\":\"f1\",\"thresholds\":{\"ok\":0.5}}", &triple, MLA_LABELS_FLAGS, "do not fit");
    refuse(*state, "{\"chosen_by\":\"f1\",\"thresholds\":{\"ok\":0.5}}", &triple, MLA_LABELS_CLASSES, "do not fit");
    refuse(*state, "{\"thresholds\":{\"ok\":0.5}}", &pair, MLA_LABELS_CLASSES, "do not fit");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_no_line),
        cmocka_unit_test(test_intervals_cover),
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_thresholds_are_chosen),
        cmocka_unit_test(test_thresholds_that_cannot_be),
        cmocka_unit_test(test_thresholds_that_are_wrong),
    };
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
