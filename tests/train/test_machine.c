/* What is measured of a machine: which products are timed; how fast they are is nothing to assert. */
#include "autograd/kernels/gemm.h"
#include "tests/support/check.h"
#include "train/run/machine.h"

#include <stdlib.h>
#include <string.h>

enum { M = 64, N = 48, K = 32, PLANS = 4 };

/* A product as a step makes it, one that is another only by its packed B, one of single threads; and one never run. */
static const mla_gemm_shape shapes[PLANS] = {
    {.m = M, .n = N, .k = K, .b_transposed = true, .b_packed = true, .bias = true},
    {.m = M, .n = N, .k = K, .b_transposed = true, .bias = true},
    {.m = M,
     .n = N,
     .k = K,
     .a_transposed = true,
     .lda = M + 8,
     .ldc = N + 8,
     .accumulate = true,
     .single_thread = true},
    {.m = M, .n = N, .k = 2 * K, .b_transposed = true, .b_packed = true}};

typedef struct {
    int plans;
    int64_t runs[PLANS]; /* of shapes */
} seen;

static void look(void *user, const mla_gemm *gemm, const mla_gemm_shape *shape, int64_t runs) {
    seen *s = user;
    (void)gemm;
    s->plans++;
    for (int i = 0; i < PLANS; i++)
        if (!memcmp(&shapes[i], shape, sizeof *shape)) s->runs[i] = runs;
}

static seen look_at(mla_context *context) {
    seen s = {0};
    mla_gemm_each(context, look, &s);
    return s;
}

/* Those that the step ran, by the same plans, packed where they are: it plans no others. */
static void the_products_of_the_step_are_timed(void **state) {
    mla_context *context = *state;
    float *a = calloc(4 * M * K, sizeof *a), *c = calloc(2 * M * N, sizeof *c), bias[N] = {0};
    void *packed = NULL;
    double rate, again;
    for (int i = 0; i < PLANS; i++) {
        const mla_gemm *plan = mla_gemm_plan(context, &shapes[i]);
        assert_non_null(plan);
        if (shapes[i].b_packed) packed = realloc(packed, (size_t)mla_gemm_packed_bytes(plan));
        if (i < 3) mla_gemm_run(plan, a, shapes[i].b_packed ? packed : a, c, bias);
    }
    const seen before = look_at(context);
    assert_int_equal(before.plans, PLANS);
    mla_products *products;
    check_ok(context, mla_products_create(context, &products));
    check_ok(context, mla_products_measure(products, &rate));
    check_ok(context, mla_products_measure(products, &again));
    const seen after = look_at(context);
    assert_true(rate > 0 && again > 0);
    assert_int_equal(after.plans, PLANS);
    for (int i = 0; i < PLANS; i++) assert_int_equal(after.runs[i] > before.runs[i], i < 3);
    mla_products_destroy(products);
    free(a), free(c), free(packed);
}

typedef struct {
    double flops;
} work;

static void add_work(void *user, const mla_gemm *gemm, const mla_gemm_shape *shape, int64_t runs) {
    work *w = user;
    (void)gemm;
    w->flops += 2 * (double)shape->m * (double)shape->n * (double)shape->k * (double)runs;
}

/* At the rate that it finds, the work it does for that is over in a moment: a tiny model trains for no longer. Only a
 * size whose product takes less than 2 ms is followed by the next, of 8 times the work; with 9 runs of each that is
 * below 9 * 2 ms * (8 + 1 + 1/8 + ...) = 0.165 s, whatever the processor does meanwhile. */
static void the_peak_is_found_in_a_moment(void **state) {
    mla_context *context;
    double rate;
    work w = {0};
    (void)state;
    assert_int_equal(mla_context_create(&context, NULL), MLA_OK);
    check_ok(context, mla_measure_peak_flops(context, MLA_F32, &rate));
    mla_gemm_each(context, add_work, &w);
    assert_true(rate > 0 && w.flops > 0);
    if (w.flops / rate > 0.165) fail_msg("%.3g FLOPs at %.3g a second", w.flops, rate);
    mla_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_products_of_the_step_are_timed),
                                       cmocka_unit_test(the_peak_is_found_in_a_moment)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
