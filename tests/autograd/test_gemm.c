/* Matrix products against sums in double precision: all forms, strides, types, and from within threads. */
#include "tests/support/check.h"

#include "autograd/bfloat16.h"
#include "autograd/gemm.h"
#include "autograd/random.h"

#include <math.h>
#include <string.h>

enum { ROOM = 4096 };

static int setup(void **state) {
    return mla_context_create((mla_context **)state, &(mla_context_options){.threads = 2}) != MLA_OK;
}
static int teardown(void **state) {
    mla_context_destroy(*state);
    return 0;
}

typedef struct {
    float a[ROOM], b[ROOM], c[ROOM], bias[ROOM];
} operands;

static operands made(uint64_t seed) {
    operands o;
    mla_random_normal((mla_stream){seed}, 0, ROOM, o.a);
    mla_random_normal((mla_stream){seed + 1}, 0, ROOM, o.b);
    mla_random_normal((mla_stream){seed + 2}, 0, ROOM, o.c);
    mla_random_normal((mla_stream){seed + 3}, 0, ROOM, o.bias);
    return o;
}

static int64_t or_dense(int64_t ld, int64_t dense) { return ld ? ld : dense; }

/* Element (i, j) of the product of the shape `s`. */
static double expected(const mla_gemm_shape *s, const operands *o, int64_t i, int64_t j) {
    const int64_t lda = or_dense(s->lda, s->a_transposed ? s->m : s->k);
    const int64_t ldb = or_dense(s->ldb, s->b_transposed ? s->k : s->n), ldc = or_dense(s->ldc, s->n);
    double sum = (s->accumulate ? (double)o->c[i * ldc + j] : 0) + (s->bias ? (double)o->bias[j] : 0);
    for (int64_t k = 0; k < s->k; k++)
        sum += (double)o->a[s->a_transposed ? k * lda + i : i * lda + k] *
               (double)o->b[s->b_transposed ? j * ldb + k : k * ldb + j];
    return sum;
}

/* The product itself, and nothing beside it. */
static void check_product(const mla_gemm_shape *s, const operands *before, const float *c, double tolerance) {
    const int64_t ldc = or_dense(s->ldc, s->n);
    for (int64_t i = 0; i < ROOM; i++)
        if (i / ldc < s->m && i % ldc < s->n)
            check_close((double)c[i], expected(s, before, i / ldc, i % ldc), tolerance);
        else assert_true(c[i] == before->c[i]);
}

static void all_forms(void **state) {
    static const int64_t sizes[][3] = {{1, 1, 1}, {7, 5, 3}, {1, 9, 4}, {9, 1, 4}, {33, 17, 40}};
    for (size_t size = 0; size < sizeof sizes / sizeof *sizes; size++)
        for (unsigned form = 0; form < 32; form++) {
            mla_gemm_shape s = {.m = sizes[size][0], .n = sizes[size][1], .k = sizes[size][2],
                                .a_transposed = form & 1, .b_transposed = form >> 1 & 1,
                                .accumulate = form >> 2 & 1, .bias = form >> 3 & 1};
            if (form >> 4) {
                s.lda = (s.a_transposed ? s.m : s.k) + 3;
                s.ldb = (s.b_transposed ? s.k : s.n) + 5;
                s.ldc = s.n + 2;
            }
            const operands before = made(size * 32 + form);
            operands o = before;
            mla_gemm_now(*state, &s, o.a, o.b, o.c, s.bias ? o.bias : NULL);
            check_ok(*state, MLA_OK);
            check_product(&s, &before, o.c, 1e-5);
        }
}

static void plans_are_made_once(void **state) {
    const mla_gemm_shape s = {.m = 3, .n = 4, .k = 5}, other = {.m = 3, .n = 4, .k = 5, .accumulate = true};
    const mla_gemm *plan = mla_gemm_plan(*state, &s);
    assert_non_null(plan);
    for (int64_t i = 1; i < 100; i++) assert_non_null(mla_gemm_plan(*state, &(mla_gemm_shape){.m = i, .n = 4, .k = 6}));
    assert_ptr_equal(mla_gemm_plan(*state, &s), plan);
    assert_ptr_not_equal(mla_gemm_plan(*state, &other), plan);
}

static void threads_may_share_a_plan(void **state) {
    enum { TIMES = 64, SIZE = 16 };
    const mla_gemm_shape s = {.m = SIZE, .n = SIZE, .k = SIZE, .single_thread = true};
    const mla_gemm *plan = mla_gemm_plan(*state, &s);
    static operands o[2];
    static float c[TIMES][ROOM];
    o[0] = made(1);
    o[1] = made(2);
    #pragma omp parallel for num_threads(2) schedule(dynamic)
    for (int i = 0; i < TIMES; i++) {
        memcpy(c[i], o[i % 2].c, sizeof c[i]);
        mla_gemm_run(plan, o[i % 2].a, o[i % 2].b, c[i], NULL);
    }
    check_ok(*state, MLA_OK);
    for (int i = 0; i < TIMES; i++) check_product(&s, &o[i % 2], c[i], 2e-6);
}

/* Where the processor has them: products of bf16, summed in f32. */
static void bf16_inputs(void **state) {
    const mla_gemm_shape s = {.m = 9, .n = 17, .k = 40, .b_transposed = true, .a_type = MLA_BF16, .b_type = MLA_BF16};
    operands before = made(5), o;
    mla_bf16 a[ROOM], b[ROOM];
    for (int i = 0; i < ROOM; i++) {
        a[i] = mla_bf16_from_float(before.a[i]);
        b[i] = mla_bf16_from_float(before.b[i]);
        before.a[i] = mla_bf16_to_float(a[i]);
        before.b[i] = mla_bf16_to_float(b[i]);
    }
    o = before;
    if (!mla_gemm_plan(*state, &s)) {
        check_error(*state, mla_error_status(*state), MLA_ERROR_LIBRARY, "cannot multiply (9,40) bf16");
        skip();
    }
    mla_gemm_now(*state, &s, a, b, o.c, NULL);
    check_product(&s, &before, o.c, 1e-5);
}

static void impossible_products_are_errors(void **state) {
    assert_null(mla_gemm_plan(*state, &(mla_gemm_shape){.m = 3, .n = 0, .k = 4}));
    check_error(*state, mla_error_status(*state), MLA_ERROR_SHAPE, "(3,4) by (4,0)");
    assert_null(mla_gemm_plan(*state, &(mla_gemm_shape){.m = -3, .n = 2, .k = 4}));
    check_error(*state, mla_error_status(*state), MLA_ERROR_SHAPE, "(-3,4)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_forms),
        cmocka_unit_test(plans_are_made_once),
        cmocka_unit_test(threads_may_share_a_plan),
        cmocka_unit_test(bf16_inputs),
        cmocka_unit_test(impossible_products_are_errors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
