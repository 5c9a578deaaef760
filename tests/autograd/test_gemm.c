/* Matrix products against sums in double precision: all forms, strides, types, and from within threads. */
#include "tests/support/check.h"

#include "autograd/base/bfloat16.h"
#include "autograd/base/random.h"
#include "autograd/packed_weight.h"

#include <math.h>
#include <stdlib.h>
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

/* The numbers in their type, where they stand, and as floats again. */
static void *stored(mla_dtype type, float *x) {
    for (int i = 0; i < ROOM && type == MLA_BF16; i++) {
        const mla_bf16 narrow = mla_bf16_from_float(x[i]);
        memcpy((mla_bf16 *)(void *)x + i, &narrow, sizeof narrow);
    }
    return x;
}
static void restore(mla_dtype type, float *x) {
    for (int i = ROOM - 1; i >= 0 && type == MLA_BF16; i--) {
        mla_bf16 narrow;
        memcpy(&narrow, (mla_bf16 *)(void *)x + i, sizeof narrow);
        x[i] = mla_bf16_to_float(narrow);
    }
}

/* Random numbers, all of the type. */
static void fill_one(uint64_t seed, mla_dtype type, float *x) {
    mla_random_normal((mla_stream){seed}, 0, ROOM, x);
    restore(type, stored(type, x));
}

static void fill(operands *o, uint64_t seed, mla_dtype a, mla_dtype b, mla_dtype c) {
    fill_one(seed, a, o->a);
    fill_one(seed + 1, b, o->b);
    fill_one(seed + 2, c, o->c);
    fill_one(seed + 3, MLA_F32, o->bias);
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

/* Products of the types, in all forms and some sizes. */
static void check_forms(mla_context *context, mla_dtype a, mla_dtype b, mla_dtype c, double tolerance) {
    static const int64_t sizes[][3] = {{1, 1, 1}, {7, 5, 3}, {1, 9, 4}, {9, 1, 4}, {33, 17, 40}, {3, 64, 20}};
    static operands before, o;
    for (size_t size = 0; size < sizeof sizes / sizeof *sizes; size++) {
        fill(&before, size, a, b, c);
        for (unsigned form = 0; form < 64; form++) {
            mla_gemm_shape s = {.m = sizes[size][0],
                                .n = sizes[size][1],
                                .k = sizes[size][2],
                                .a_transposed = form & 1,
                                .b_transposed = form >> 1 & 1,
                                .accumulate = form >> 2 & 1,
                                .bias = form >> 3 & 1,
                                .a_type = a,
                                .b_type = b,
                                .c_type = c};
            s.varying_rows = form >> 5 && (c == MLA_F32 || !s.a_transposed); /* a bf16 C is rounded at each piece */
            if (form >> 4 & 1) {
                s.lda = (s.a_transposed ? s.m : s.k) + 3;
                s.ldb = (s.b_transposed ? s.k : s.n) + 5;
                s.ldc = s.n + 2;
            }
            o = before;
            mla_gemm_now(context, &s, stored(a, o.a), stored(b, o.b), stored(c, o.c), s.bias ? o.bias : NULL);
            check_ok(context, MLA_OK);
            restore(c, o.c);
            check_product(&s, &before, o.c, tolerance);
        }
    }
}

static void all_forms(void **state) { check_forms(*state, MLA_F32, MLA_F32, MLA_F32, 1e-5); }

/* On any processor: products of bf16, summed in f32. */
static void all_forms_of_bf16(void **state) { check_forms(*state, MLA_BF16, MLA_BF16, MLA_F32, 1e-5); }
static void all_forms_to_bf16(void **state) { check_forms(*state, MLA_BF16, MLA_BF16, MLA_BF16, 1.0 / 256); }
static void all_forms_of_intermediates(void **state) {
    check_forms(*state, mla_gemm_intermediate(MLA_BF16), MLA_BF16, MLA_BF16, 1.0 / 256);
}

static void plans_are_made_once(void **state) {
    const mla_gemm_shape s = {.m = 3, .n = 4, .k = 5}, other = {.m = 3, .n = 4, .k = 5, .accumulate = true};
    const mla_gemm *plan = mla_gemm_plan(*state, &s);
    assert_non_null(plan);
    for (int64_t i = 1; i < 100; i++) assert_non_null(mla_gemm_plan(*state, &(mla_gemm_shape){.m = i, .n = 4, .k = 6}));
    assert_ptr_equal(mla_gemm_plan(*state, &s), plan);
    assert_ptr_not_equal(mla_gemm_plan(*state, &other), plan);
}

static void count_plan(void *user, const mla_gemm *gemm, const mla_gemm_shape *shape, int64_t runs) {
    (void)gemm, (void)shape, (void)runs;
    ++*(int *)user;
}

static int plans_of(mla_context *context) {
    int count = 0;
    mla_gemm_each(context, count_plan, &count);
    return count;
}

/* However many shapes there were: those that were asked for last are kept, and one that is asked for again and again.
 */
static void the_cache_has_a_bound(void **state) {
    enum { SHAPES = 5000, BOUND = 1024 };
    const mla_gemm_shape s = {.m = 3, .n = 4, .k = 5};
    const mla_gemm *plan = mla_gemm_plan(*state, &s), *last = NULL;
    operands o;
    fill(&o, 7, MLA_F32, MLA_F32, MLA_F32);
    const operands before = o;
    for (int64_t i = 0; i < SHAPES; i++) {
        const mla_gemm_shape other = {.m = 1 + i % 50, .n = 1 + i / 50, .k = 3};
        assert_non_null(last = mla_gemm_plan(*state, &other));
        assert_true(plans_of(*state) <= BOUND);
        if (i % 500 == 0) assert_ptr_equal(mla_gemm_plan(*state, &s), plan);
        if (i % 500 == 1) assert_ptr_equal(mla_gemm_plan(*state, &other), last);
    }
    mla_gemm_run(plan, o.a, o.b, o.c, NULL);
    check_product(&s, &before, o.c, 1e-6);
}

static void multiply_bf16(mla_context *context, const mla_gemm_shape *s, const operands *before) {
    static operands o;
    o = *before;
    mla_gemm_now(context, s, stored(MLA_BF16, o.a), stored(MLA_BF16, o.b), o.c, NULL);
    check_ok(context, mla_error_status(context));
    check_product(s, before, o.c, 1e-5);
}

/* As above where products of bf16 are made of f32 ones, which must not go before what is made of them. */
static void the_bound_holds_for_bf16(void **state) {
    enum { SHAPES = 1500 };
    static operands before;
    const mla_gemm_shape again = {.m = 7, .n = 5, .k = 9, .a_type = MLA_BF16, .b_type = MLA_BF16};
    fill(&before, 9, MLA_BF16, MLA_BF16, MLA_F32);
    for (int64_t i = 0; i < 2 * SHAPES; i++) { /* all a second time, when the first ones are gone */
        const mla_gemm_shape s = {
            .m = 1 + i % 50, .n = 1 + i / 50 % 30, .k = 6, .a_type = MLA_BF16, .b_type = MLA_BF16};
        multiply_bf16(*state, &s, &before);
        if (i % 100 == 0) multiply_bf16(*state, &again, &before);
    }
}

/* ---- rows that vary ---- */

enum { IN = 24, OUT = 20, NUMBERS = 500, MOST_ROWS = 7 * NUMBERS };

/* x (rows,IN), dy (rows,OUT), a weight (OUT,IN) and its gradient, y and dx. */
typedef struct {
    float x[MOST_ROWS * IN], dx[MOST_ROWS * IN], dy[MOST_ROWS * OUT], y[MOST_ROWS * OUT], w[OUT * IN], dw[OUT * IN];
    float bias[OUT];
} layer;

/* The three products of a linear layer; y is set, the gradients are added to. */
static void multiply_layer(mla_context *context, layer *l, int64_t rows, bool varying) {
    const mla_tensor w = {.dtype = MLA_F32, .ndim = 2, .shape = {OUT, IN}, .data = l->w};
    const mla_gemm_shape y = {
        .m = rows, .n = OUT, .k = IN, .b_transposed = true, .bias = true, .varying_rows = varying};
    const mla_gemm_shape dx = {.m = rows, .n = IN, .k = OUT, .accumulate = true, .varying_rows = varying};
    mla_gemm_shape dw = {.m = OUT, .n = IN, .k = rows, .a_transposed = true, .varying_rows = varying};
    mla_multiply_by_weight(context, &y, l->x, &w, l->y, l->bias);
    mla_multiply_by_weight(context, &dx, l->dy, &w, l->dx, NULL);
    mla_gemm_now(context, &dw, l->dy, l->x, l->dw, NULL);
    dw.accumulate = true;
    mla_gemm_now(context, &dw, l->dy, l->x, l->dw, NULL);
    check_ok(context, mla_error_status(context));
}

/* Each number of rows gives what an exact plan gives, and there are few plans for all. */
static void rows_may_vary(void **state) {
    static layer exact, varied;
    mla_context *few;
    mla_random_normal((mla_stream){11}, 0, sizeof exact / sizeof(float), exact.x);
    assert_int_equal(mla_context_create(&few, &(mla_context_options){.threads = 2}), MLA_OK);
    varied = exact;
    for (int64_t i = 0; i < NUMBERS; i++) {
        const int64_t rows = 1 + i * 7;
        multiply_layer(*state, &exact, rows, false);
        multiply_layer(few, &varied, rows, true);
        assert_true(relative_error(sizeof exact / sizeof(float), varied.x, exact.x) < 2e-6);
    }
    assert_true(plans_of(few) <= 3 * (15 + 8) + 15 + 8);
    mla_context_destroy(few);
}

static void threads_may_share_a_plan(void **state) {
    enum { TIMES = 64, SIZE = 16 };
    const mla_gemm_shape s = {.m = SIZE, .n = SIZE, .k = SIZE, .single_thread = true};
    const mla_gemm *plan = mla_gemm_plan(*state, &s);
    static operands o[2];
    static float c[TIMES][ROOM];
    for (int i = 0; i < 2; i++) fill(&o[i], 1 + (uint64_t)i, MLA_F32, MLA_F32, MLA_F32);
    #pragma omp parallel for num_threads(2) schedule(dynamic)
    for (int i = 0; i < TIMES; i++) {
        memcpy(c[i], o[i % 2].c, sizeof c[i]);
        mla_gemm_run(plan, o[i % 2].a, o[i % 2].b, c[i], NULL);
    }
    check_ok(*state, MLA_OK);
    for (int i = 0; i < TIMES; i++) check_product(&s, &o[i % 2], c[i], 2e-6);
}

/* A matrix that was packed for a plan that is no more serves another that takes its layout. */
static void a_layout_outlives_its_plan(void **state) {
    const mla_gemm_shape s = {.m = 33, .n = 48, .k = 40, .b_transposed = true, .b_packed = true};
    mla_context *first;
    operands o;
    fill(&o, 5, MLA_F32, MLA_F32, MLA_F32);
    operands before = o;
    assert_int_equal(mla_context_create(&first, &(mla_context_options){.threads = 2}), MLA_OK);
    const mla_gemm *plan = mla_gemm_plan(first, &s);
    check_ok(first, mla_error_status(first));
    void *packed = aligned_alloc(64, (size_t)(mla_gemm_packed_bytes(plan) + 63) / 64 * 64);
    mla_gemm_pack(plan, o.b, packed);
    mla_gemm_layout *layout = mla_gemm_layout_of(plan);
    check_ok(first, mla_error_status(first));
    mla_context_destroy(first);
    plan = mla_gemm_plan(*state, &s);
    check_ok(*state, mla_error_status(*state));
    assert_true(mla_gemm_takes(plan, layout));
    mla_gemm_run(plan, o.a, packed, o.c, NULL);
    check_product(&s, &before, o.c, 1e-5);
    mla_gemm_layout_free(layout);
    free(packed);
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
        cmocka_unit_test(all_forms_of_bf16),
        cmocka_unit_test(all_forms_to_bf16),
        cmocka_unit_test(all_forms_of_intermediates),
        cmocka_unit_test(plans_are_made_once),
        cmocka_unit_test(the_cache_has_a_bound),
        cmocka_unit_test(the_bound_holds_for_bf16),
        cmocka_unit_test(rows_may_vary),
        cmocka_unit_test(threads_may_share_a_plan),
        cmocka_unit_test(a_layout_outlives_its_plan),
        cmocka_unit_test(impossible_products_are_errors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
