/* Mixes: the shares, the order within a part, and that nothing but the index counts. */
#include "data/tokens/mixture.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 20000 };

/* Each part gives its sequences in turn, and as many as the count says; the shares are right all the way. */
static void check_mix(int count, const double *weights, uint64_t seed) {
    mla_mixture m;
    int64_t given[MLA_MOST_PARTS] = {0}, own;
    double sum = 0;
    mla_mixture_init(&m, count, weights, seed);
    for (int k = 0; k < count; k++) sum += weights[k];
    for (int64_t i = 0; i < MOST; i++) {
        for (int k = 0; k < count; k++) assert_int_equal(mla_mixture_given(&m, k, i), given[k]);
        const int part = mla_mixture_at(&m, i, &own);
        assert_in_range(part, 0, count - 1);
        assert_int_equal(own, given[part]++);
        for (int k = 0; k < count; k++) assert_true(fabs((double)given[k] - (double)(i + 1) * weights[k] / sum) < 2);
    }
}

static void parts_have_their_shares(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 3; seed++) {
        check_mix(1, (double[]){5}, seed);
        check_mix(2, (double[]){3, 1}, seed);
        check_mix(2, (double[]){1e-3, 1}, seed);
        check_mix(3, (double[]){1, 1, 1}, seed);
        check_mix(4, (double[]){0.1, 70, 20.5, 9}, seed);
    }
}

static void one_part_gives_all(void **state) {
    (void)state;
    mla_mixture m;
    int64_t own;
    mla_mixture_init(&m, 1, (double[]){0.3}, 7);
    for (int64_t i = 0; i < 1000; i++) assert_true(mla_mixture_at(&m, i, &own) == 0 && own == i);
    assert_true(mla_mixture_at(&m, INT64_MAX / 2, &own) == 0 && own == INT64_MAX / 2);
}

/* Far beyond 2^32 sequences, too. */
static void shares_hold_however_far(void **state) {
    (void)state;
    mla_mixture m;
    int64_t own;
    mla_mixture_init(&m, 2, (double[]){3, 1}, 5);
    for (int64_t i = 1; i < 1ll << 60; i *= 2) {
        assert_true(llabs(mla_mixture_given(&m, 0, i) - (i / 4 * 3 + i % 4 * 3 / 4)) < 2);
        const int part = mla_mixture_at(&m, i, &own);
        assert_int_equal(own, mla_mixture_given(&m, part, i));
    }
}

/* Another seed, another pattern; and a part that is next to nothing comes at last. */
static void the_seed_counts(void **state) {
    (void)state;
    mla_mixture a, b;
    int64_t own, same = 0, first = -1;
    mla_mixture_init(&a, 3, (double[]){1, 2, 3}, 1);
    mla_mixture_init(&b, 3, (double[]){1, 2, 3}, 2);
    for (int64_t i = 0; i < 600; i++) same += mla_mixture_at(&a, i, &own) == mla_mixture_at(&b, i, &own);
    assert_in_range(same, 0, 599);
    mla_mixture_init(&a, 2, (double[]){1e-12, 1}, 1);
    assert_int_equal(a.quotas[0], 1);
    for (int64_t i = 1ll << 32; i && first < 0; i >>= 1)
        if (mla_mixture_given(&a, 0, i) == 0) first = i;
    assert_true(first > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(parts_have_their_shares), cmocka_unit_test(one_part_gives_all),
                                       cmocka_unit_test(shares_hold_however_far), cmocka_unit_test(the_seed_counts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
