/* Sampling: each piece of the text once an epoch, in an order of its own, from an index alone. */
#include "data/tokens/permutation.h"
#include "data/tokens/sampler.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH = 5 };

/* Token i is i: what a sequence holds says where it was cut. */
static mla_token_stream counting(int64_t count) {
    int32_t *tokens = malloc((size_t)count * sizeof *tokens);
    for (int64_t i = 0; i < count; i++) tokens[i] = (int32_t)i;
    return (mla_token_stream){.count = count, .wide = tokens};
}

static void permutes(void **state) {
    (void)state;
    for (int64_t count = 1; count < 300; count++) {
        char *seen = calloc(1, (size_t)count);
        for (int64_t i = 0; i < count; i++) {
            int64_t place = mla_permute(7, 3, count, i);
            assert_in_range(place, 0, count - 1);
            assert_false(seen[place]++);
        }
        free(seen);
    }
    assert_in_range(mla_permute(7, 3, (1ll << 40) + 1, 1ll << 40), 0, 1ll << 40);
}

/* Where element 0 goes under many keys is spread evenly: chi-square with 99 degrees of freedom, 5 sigma. And
 * neighbours do not stay neighbours. */
static void permutes_evenly(void **state) {
    (void)state;
    enum { COUNT = 100, KEYS = 20000 };
    int hits[COUNT] = {0}, neighbours = 0;
    for (uint64_t key = 0; key < KEYS; key++) {
        int64_t place = mla_permute(1, key, COUNT, 0);
        hits[place]++;
        neighbours += mla_permute(1, key, COUNT, 1) == place + 1;
    }
    double expected = KEYS / (double)COUNT, chi = 0;
    for (int i = 0; i < COUNT; i++) chi += (hits[i] - expected) * (hits[i] - expected) / expected;
    assert_true(fabs(chi - (COUNT - 1)) < 5 * sqrt(2.0 * (COUNT - 1)));
    assert_in_range(neighbours, 120, 280); /* 200 +- 14 */
}

static void an_epoch_is_each_piece_once(void **state) {
    mla_context *context = *state;
    mla_token_stream stream = counting(104); /* 103 targets: 20 sequences and 3 left over */
    mla_sampler sampler;
    int32_t inputs[LENGTH], targets[LENGTH];
    check_ok(context, mla_sampler_init(context, &sampler, &stream, NULL, LENGTH, 1));
    assert_int_equal(sampler.samples, 20);
    int starts[4] = {0}, same_place = 0;
    for (int64_t epoch = 0, before[20] = {0}; epoch < 40; epoch++) {
        bool seen[20] = {false};
        for (int64_t i = 0; i < 20; i++) {
            mla_sampler_get(&sampler, epoch * 20 + i, inputs, targets, NULL);
            for (int j = 0; j < LENGTH; j++) assert_true(inputs[j] == inputs[0] + j && targets[j] == inputs[j] + 1);
            int64_t place = inputs[0] / LENGTH;
            assert_false(seen[place]);
            seen[place] = true;
            if (!i) starts[inputs[0] % LENGTH]++;
            assert_int_equal(inputs[0] % LENGTH <= 3, 1);
            same_place += before[i] == place;
            before[i] = place;
        }
    }
    for (int i = 0; i < 4; i++) assert_true(starts[i] > 0);
    assert_in_range(same_place, 10, 75); /* 40 +- 6 for independent orders */
    free((void *)(uintptr_t)stream.wide);
}

static void a_sequence_depends_on_seed_and_index_alone(void **state) {
    mla_context *context = *state;
    mla_token_stream stream = counting(10000);
    mla_sampler one, two, other;
    int32_t a[LENGTH], b[LENGTH], c[LENGTH], targets[LENGTH];
    int equal = 0;
    check_ok(context, mla_sampler_init(context, &one, &stream, NULL, LENGTH, 1));
    check_ok(context, mla_sampler_init(context, &two, &stream, NULL, LENGTH, 1));
    check_ok(context, mla_sampler_init(context, &other, &stream, NULL, LENGTH, 2));
    for (int64_t i = 0; i < 1000; i++) {
        mla_sampler_get(&one, 999 - i, b, targets, NULL);
        mla_sampler_get(&one, i, a, targets, NULL);
        mla_sampler_get(&two, i, b, targets, NULL);
        mla_sampler_get(&other, i, c, targets, NULL);
        assert_memory_equal(a, b, sizeof a);
        equal += a[0] == c[0];
    }
    assert_true(equal < 10);
    free((void *)(uintptr_t)stream.wide);
}

static void refuses_too_little_text(void **state) {
    mla_context *context = *state;
    mla_token_stream stream = counting(LENGTH + 1);
    mla_sampler sampler;
    int32_t inputs[LENGTH], targets[LENGTH];
    check_ok(context, mla_sampler_init(context, &sampler, &stream, NULL, LENGTH, 1));
    mla_sampler_get(&sampler, 12345, inputs, targets, NULL);
    assert_true(inputs[0] == 0 && targets[LENGTH - 1] == LENGTH);
    check_error(context, mla_sampler_init(context, &sampler, &stream, NULL, LENGTH + 1, 1), MLA_ERROR_ARGUMENT,
                "sequences of 6 tokens cannot be cut from 6 tokens");
    check_error(context, mla_sampler_init(context, &sampler, &stream, NULL, 0, 1), MLA_ERROR_ARGUMENT, "of 0 tokens");
    free((void *)(uintptr_t)stream.wide);
}

/* Each token but the first is a target once, whatever the length of the text. */
static void windows_cover_the_text(void **state) {
    (void)state;
    for (int64_t count = 0; count < 40; count++) {
        mla_token_stream stream = counting(count);
        int32_t inputs[LENGTH], targets[LENGTH], next = 1;
        for (int64_t i = 0; i < mla_window_count(&stream, NULL, LENGTH); i++) {
            mla_window_get(&stream, NULL, LENGTH, i, inputs, targets, NULL);
            for (int j = 0; j < LENGTH; j++) {
                if (next < count) assert_true(inputs[j] == next - 1 && targets[j] == next), next++;
                else assert_true(inputs[j] == 0 && targets[j] == -1 && j > 0);
            }
        }
        assert_int_equal(next, count < 2 ? 1 : count);
        free((void *)(uintptr_t)stream.wide);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(permutes),
                                       cmocka_unit_test(permutes_evenly),
                                       cmocka_unit_test(an_epoch_is_each_piece_once),
                                       cmocka_unit_test(a_sequence_depends_on_seed_and_index_alone),
                                       cmocka_unit_test(refuses_too_little_text),
                                       cmocka_unit_test(windows_cover_the_text)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
