/* Philox against its published vectors; moments; the same values however they are asked for. */
#include "tests/support/check.h"

#include "autograd/base/random.h"

#include <math.h>

enum { COUNT = 1 << 20 };

/* The first is Random123's kat_vectors; the others have the same counters and keys as its other two, but for
 * the counter's upper half, which is 0 here; computed by a program that gives those two as published. */
static void bits_are_those_published(void **state) {
    static const struct {
        uint64_t key, index;
        uint32_t bits[4];
    } known[] = {{0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
                 {UINT64_MAX, UINT64_MAX, {0x4d18d7d2, 0x430ac65a, 0xbd2fa22a, 0x0afae10d}},
                 {0x299f31d0a4093822, 0x85a308d3243f6a88, {0xe69c9c31, 0xb5a3d762, 0xe733bfc1, 0x341a787c}}};
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t bits[4];
        mla_random_bits((mla_stream){known[i].key}, known[i].index, bits);
        for (int k = 0; k < 4; k++) assert_int_equal(bits[k], known[i].bits[k]);
    }
}

/* The vector loop is another program than mla_random_bits. */
static void uniform_values_come_from_the_bits(void **state) {
    static const uint64_t starts[] = {0, 1, 2, 3, 4, 4 * (uint64_t)UINT32_MAX - 5, UINT64_MAX / 2};
    (void)state;
    for (size_t s = 0; s < sizeof starts / sizeof *starts; s++)
        for (int64_t count = 0; count < 70; count++) {
            float values[70] = {0};
            mla_random_uniform((mla_stream){99}, starts[s], count, values);
            for (int64_t i = 0; i < count; i++) {
                uint32_t bits[4];
                mla_random_bits((mla_stream){99}, (starts[s] + (uint64_t)i) / 4, bits);
                assert_true(values[i] == (float)(bits[(starts[s] + (uint64_t)i) % 4] >> 8) * 0x1p-24f);
            }
        }
}

typedef void (*draw)(mla_stream stream, uint64_t index, int64_t count, float *out);

static void values_do_not_depend_on_the_cut(void **state) {
    static const draw draws[] = {mla_random_uniform, mla_random_normal};
    (void)state;
    for (int d = 0; d < 2; d++) {
        float whole[1000], parts[1000];
        draws[d]((mla_stream){3}, 17, 1000, whole);
        for (int64_t from = 0, length = 1; from < 1000; from += length++)
            draws[d]((mla_stream){3}, 17 + (uint64_t)from, from + length < 1000 ? length : 1000 - from, parts + from);
        assert_memory_equal(whole, parts, sizeof whole);
    }
}

/* Mean, variance and fourth moment within five standard deviations; neighbours uncorrelated. */
static void check_moments(const float *x, double mean, double variance, double fourth) {
    double sum = 0, squares = 0, fourths = 0, products = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        const double d = (double)x[i] - mean;
        sum += d;
        squares += d * d;
        fourths += d * d * d * d;
        if (i > 0) products += d * ((double)x[i - 1] - mean);
    }
    const double n = COUNT, root = sqrt(n);
    assert_true(fabs(sum / n) < 5 * sqrt(variance) / root);
    assert_true(fabs(squares / n - variance) < 5 * sqrt(fourth - variance * variance) / root);
    assert_true(fabs(fourths / n - fourth) < 0.03 * fourth);
    assert_true(fabs(products / n) < 5 * variance / root);
}

static float values[COUNT];

static void moments_are_right(void **state) {
    (void)state;
    mla_random_uniform(mla_random_stream(1, "moments", 0, 0, 0), 0, COUNT, values);
    check_moments(values, 0.5, 1.0 / 12, 1.0 / 80);
    for (int64_t i = 0; i < COUNT; i++) assert_true(values[i] >= 0 && values[i] < 1);
    mla_random_normal(mla_random_stream(1, "moments", 0, 0, 0), 0, COUNT, values);
    check_moments(values, 0, 1, 3);
}

static void streams_differ_in_every_number(void **state) {
    (void)state;
    const mla_stream streams[] = {mla_random_stream(1, "a", 0, 0, 0), mla_random_stream(2, "a", 0, 0, 0),
                                  mla_random_stream(1, "b", 0, 0, 0), mla_random_stream(1, "aa", 0, 0, 0),
                                  mla_random_stream(1, "", 0, 0, 0),  mla_random_stream(1, "a", 1, 0, 0),
                                  mla_random_stream(1, "a", 0, 1, 0), mla_random_stream(1, "a", 0, 0, 1)};
    const int count = sizeof streams / sizeof *streams;
    for (int i = 0; i < count; i++)
        for (int k = 0; k < i; k++) assert_true(streams[i].key != streams[k].key);
    assert_true(mla_random_stream(1, "a", 0, 0, 0).key == streams[0].key);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_are_those_published),        cmocka_unit_test(uniform_values_come_from_the_bits),
        cmocka_unit_test(values_do_not_depend_on_the_cut), cmocka_unit_test(moments_are_right),
        cmocka_unit_test(streams_differ_in_every_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
