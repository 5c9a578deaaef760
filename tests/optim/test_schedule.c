/* Learning rates against transformers' schedules (tests/golden/schedules.h5), DeepSeek's by hand, and the ends. */
#include "optim/schedule.h"
#include "tests/support/check.h"
#include "tests/support/golden.h"

#include <math.h>
#include <stdio.h>

enum { STORED = 110 };
static const double full_rate = 3e-4, tolerance = 1e-9;

/* Compares steps from `from` to `to`; the fixture has 100 steps, 10 of warm-up, and goes on for 10 more. */
static void compare(hid_t file, const char *name, const mla_schedule *schedule, int from, int to) {
    char path[64];
    double rates[STORED];
    snprintf(path, sizeof path, "%s/lr", name);
    golden_read_doubles(file, path, STORED, rates);
    for (int step = from; step <= to; step++)
        check_close(mla_schedule_factor(schedule, step), rates[step] / full_rate, tolerance);
}

static void equals_transformers(void **state) {
    (void)state;
    const hid_t file = golden_open("schedules");
    mla_schedule s = {.kind = MLA_SCHEDULE_CONSTANT, .total_steps = 100};
    compare(file, "constant-no-warmup", &s, 0, 109);
    s.warmup_steps = 10;
    compare(file, "constant", &s, 0, 109);
    s.kind = MLA_SCHEDULE_LINEAR;
    compare(file, "linear", &s, 0, 109);
    s.kind = MLA_SCHEDULE_COSINE; /* theirs rises again after the end */
    compare(file, "cosine", &s, 0, 100);
    s.kind = MLA_SCHEDULE_WSD;
    s.decay_steps = 30;
    compare(file, "wsd-linear", &s, 0, 109);
    s.min_ratio = 0.1; /* theirs starts the warm-up of this one schedule at the lowest rate, not at 0 */
    compare(file, "wsd-linear-min", &s, 10, 109);
    s.kind = MLA_SCHEDULE_COSINE;
    compare(file, "cosine-min", &s, 0, 100);
    golden_close(file);
}

/* DeepSeek-V2: times 0.316 after 60 % of the tokens, and again after 90 %. */
static void deepseek_drops_twice(void **state) {
    (void)state;
    const mla_schedule s = {.kind = MLA_SCHEDULE_DEEPSEEK,
                            .warmup_steps = 20,
                            .total_steps = 1000,
                            .drop_at = 0.6,
                            .drop_again_at = 0.9,
                            .drop_factor = 0.316};
    static const struct {
        int64_t step;
        double factor;
    } expected[] = {{0, 0},       {5, 0.25},    {19, 0.95},      {20, 1},         {599, 1},
                    {600, 0.316}, {899, 0.316}, {900, 0.099856}, {999, 0.099856}, {5000, 0.099856}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        check_close(mla_schedule_factor(&s, expected[i].step), expected[i].factor, 1e-15);
}

static const mla_schedule_kind kinds[] = {MLA_SCHEDULE_CONSTANT, MLA_SCHEDULE_COSINE, MLA_SCHEDULE_LINEAR,
                                          MLA_SCHEDULE_WSD, MLA_SCHEDULE_DEEPSEEK};
enum { KINDS = sizeof kinds / sizeof *kinds };

static mla_schedule of_kind(int i, int64_t warmup, int64_t total) {
    return (mla_schedule){.kind = kinds[i],
                          .warmup_steps = warmup,
                          .total_steps = total,
                          .decay_steps = total / 5,
                          .drop_at = 0.6,
                          .drop_again_at = 0.9,
                          .drop_factor = 0.316,
                          .min_ratio = 0.2};
}

/* Without warm-up the first update has the full rate, even where it is the only one. */
static void starts_at_once_without_warmup(void **state) {
    (void)state;
    for (int i = 0; i < KINDS; i++) {
        const mla_schedule one = of_kind(i, 0, 1), many = of_kind(i, 0, 50);
        check_close(mla_schedule_factor(&one, 0), 1, 0);
        check_close(mla_schedule_factor(&many, 0), 1, 0);
    }
}

/* All of the run may be warm-up, or none of its steps be left. */
static void warmup_may_be_all(void **state) {
    (void)state;
    for (int i = 0; i < KINDS; i++) {
        const mla_schedule all = of_kind(i, 10, 10), longer = of_kind(i, 20, 10), none = of_kind(i, 0, 0);
        for (int step = 0; step < 10; step++) {
            check_close(mla_schedule_factor(&all, step), step / 10.0, 1e-15);
            check_close(mla_schedule_factor(&longer, step), step / 20.0, 1e-15);
        }
        const double factor = mla_schedule_factor(&none, 0);
        assert_true(factor >= 0 && factor <= 1);
    }
}

/* From the warm-up's end the rate never rises, stays within its bounds, and after the run keeps its lowest. */
static void falls_within_bounds(void **state) {
    (void)state;
    static const double lowest[] = {1, 0.2, 0.2, 0.2, 0.316 * 0.316};
    for (int i = 0; i < KINDS; i++) {
        const mla_schedule s = of_kind(i, 7, 60);
        double last = 1;
        for (int step = 7; step < 200; step++) {
            const double factor = mla_schedule_factor(&s, step);
            assert_true(factor <= last && factor >= lowest[i] - 1e-15);
            last = factor;
        }
        check_close(last, lowest[i], 1e-15);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(equals_transformers), cmocka_unit_test(deepseek_drops_twice),
                                       cmocka_unit_test(starts_at_once_without_warmup),
                                       cmocka_unit_test(warmup_may_be_all), cmocka_unit_test(falls_within_bounds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
