/* Sampling: frequencies against probabilities by chi-square, the cuts, ties, limits, errors. */
#include "tests/support/check.h"
#include "train/inference/sampling.h"

#include <math.h>
#include <string.h>

enum { V = 8, DRAWS = 40000 };

/* Not sorted, two of them equal, one all but impossible. */
static const float logits[V] = {0.5f, 2.0f, -1.0f, 1.0f, 1.0f, -30.0f, 0.0f, 1.7f};
static const int by_rank[V] = {1, 7, 3, 4, 0, 6, 2, 5};

static int32_t draw(mla_context *context, const mla_sampling *sampling, int64_t position) {
    mla_candidate scratch[V];
    int32_t id = -1;
    check_ok(context, mla_sampling_check(context, sampling));
    check_ok(context, mla_sample(context, sampling, logits, V, position, scratch, &id));
    assert_in_range(id, 0, V - 1);
    return id;
}

/* Sum of (count - expected)^2 / expected; infinity where something came that cannot. */
static double chi_square(const int64_t count[V], const double probability[V]) {
    double sum = 0;
    for (int i = 0; i < V; i++) {
        const double expected = probability[i] * DRAWS, off = (double)count[i] - expected;
        if (expected > 1e-6) sum += off * off / expected;
        else if (count[i]) return INFINITY;
    }
    return sum;
}

/* 7 degrees of freedom at most: one in a hundred thousand is above this by chance. */
static const double chance = 36;

/* The first `kept` ranks at this temperature, written down once more. */
static void expect(double temperature, int kept, double probability[V]) {
    double sum = 0;
    memset(probability, 0, V * sizeof *probability);
    for (int i = 0; i < kept; i++) sum += probability[by_rank[i]] = exp((double)logits[by_rank[i]] / temperature);
    for (int i = 0; i < V; i++) probability[i] /= sum;
}

/* Over many seeds, and over many positions of one seed. */
static void count_draws(mla_context *context, mla_sampling sampling, bool by_seed, int64_t count[V]) {
    memset(count, 0, V * sizeof *count);
    for (int64_t i = 0; i < DRAWS; i++) {
        if (by_seed) sampling.seed = (uint64_t)i;
        count[draw(context, &sampling, by_seed ? 17 : i)]++;
    }
}

static void frequencies_are_probabilities(void **state) {
    /* Shares at temperature 1, by rank: .347 .257 .128 .128 .077 .047 .017 0. */
    static const struct {
        mla_sampling sampling;
        int kept;
    } cases[] = {{{.temperature = 1}, V},
                 {{.temperature = 0.7, .seed = 5}, V},
                 {{.temperature = 3}, V},
                 {{.temperature = 1, .top_k = 3}, 3},
                 {{.temperature = 0.5, .top_k = 2, .seed = 9}, 2},
                 {{.temperature = 1, .top_k = 100}, V},
                 {{.temperature = 1, .top_p = 1}, V},
                 {{.temperature = 1, .top_p = 0.7}, 3},
                 {{.temperature = 1, .top_p = 0.34}, 1},
                 {{.temperature = 1, .top_k = 4, .top_p = 0.8}, 3}}; /* of the four: .404 + .299 + .149 */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int by_seed = 0; by_seed < 2; by_seed++) {
            double probability[V];
            int64_t count[V];
            expect(cases[i].sampling.temperature, cases[i].kept, probability);
            count_draws(*state, cases[i].sampling, by_seed, count);
            const double found = chi_square(count, probability);
            if (!(found < chance)) fail_msg("case %zu, by_seed %d: chi-square %g", i, by_seed, found);
        }
}

/* The test above can tell a temperature of 1 from one of 1.05, and a cut from none. */
static void the_measure_is_sharp(void **state) {
    double probability[V];
    int64_t count[V];
    count_draws(*state, (mla_sampling){.temperature = 1.05}, true, count);
    expect(1, V, probability);
    assert_true(chi_square(count, probability) > chance);
    expect(1.05, V - 2, probability);
    assert_true(chi_square(count, probability) > chance);
}

static void greedy_takes_the_first_of_the_largest(void **state) {
    const float equal[] = {1, 3, 3, 2, 3};
    mla_candidate scratch[5];
    int32_t id;
    for (int64_t position = 0; position < 100; position++) {
        assert_int_equal(draw(*state, &(mla_sampling){0}, position), 1);
        assert_int_equal(draw(*state, &(mla_sampling){.temperature = 1e-300}, position), 1);
        assert_int_equal(draw(*state, &(mla_sampling){.temperature = 1, .top_k = 1}, position), 1);
        check_ok(*state, mla_sample(*state, &(mla_sampling){0}, equal, 5, position, scratch, &id));
        assert_int_equal(id, 1);
        check_ok(*state,
                 mla_sample(*state, &(mla_sampling){.temperature = 9, .top_k = 2}, equal, 5, position, scratch, &id));
        assert_true(id == 1 || id == 2);
        check_ok(*state, mla_sample(*state, &(mla_sampling){.temperature = 1}, equal, 1, position, scratch, &id));
        assert_int_equal(id, 0);
    }
}

static void wrong_values_are_refused(void **state) {
    mla_context *context = *state;
    static const struct {
        mla_sampling sampling;
        const char *words;
    } cases[] = {{{.temperature = -1}, "the temperature is -1"},
                 {{.temperature = NAN}, "the temperature is"},
                 {{.temperature = INFINITY}, "the temperature is inf"},
                 {{.top_k = -1}, "top-k is -1"},
                 {{.top_p = -0.1}, "top-p is -0.1"},
                 {{.top_p = 1.5}, "top-p is 1.5"},
                 {{.top_p = NAN}, "top-p is"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_error(context, mla_sampling_check(context, &cases[i].sampling), MLA_ERROR_ARGUMENT, cases[i].words);
    const float wrong[] = {0, NAN, 0}, infinite[] = {0, 0, INFINITY};
    mla_candidate scratch[3];
    int32_t id;
    check_error(context, mla_sample(context, &(mla_sampling){0}, wrong, 3, 7, scratch, &id), MLA_ERROR_NUMERIC,
                "token 1 at position 7");
    check_error(context, mla_sample(context, &(mla_sampling){.temperature = 1}, infinite, 3, 7, scratch, &id),
                MLA_ERROR_NUMERIC, "token 2 at position 7");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frequencies_are_probabilities), cmocka_unit_test(the_measure_is_sharp),
        cmocka_unit_test(greedy_takes_the_first_of_the_largest), cmocka_unit_test(wrong_values_are_refused)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
