/* The ops of adapters: their gradients by differences, and each against its composition from the general set. */
#include "autograd/gemm.h"
#include "tests/support/gradcheck.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int setup(void **state) { return mla_context_create((mla_context **)state, NULL) != MLA_OK; }
static int teardown(void **state) {
    mla_context_destroy(*state);
    return 0;
}

/* Adapters of rank R are taken row by row, those of rank HIGH by matrix products. */
enum { ROWS = 70, IN = 7, OUT = 9, R = 3, HIGH = 10 };
static const float scale = 0.7f;

/* Numbers that are none of the others, between 0.5 and 2. */
static float *numbers(int64_t count, int seed) {
    static float all[8][ROWS * HIGH];
    for (int64_t i = 0; i < count; i++) all[seed][i] = 0.5f + 1.5f * (float)((i * 37 + seed * 11) % 41) / 41;
    return all[seed];
}

static mla_tensor *constant(mla_tape *tape, int ndim, const int64_t *shape, int seed) {
    return mla_input(tape, MLA_F32, ndim, shape, numbers(mla_shape_count(ndim, shape), seed));
}

static mla_tensor *transposed(mla_tape *tape, mla_tensor *x) { return mla_transpose(tape, x, (const int[]){1, 0}); }

/* ---- gradients ---- */

/* The op writes into its first input: here into a copy. */
static mla_tensor *build_lora(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_lora(tape, mla_scale(tape, in[0], 1), in[1], in[2], in[3], scale);
}

/* The same input for y and x. */
static mla_tensor *build_lora_of_one(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_lora(tape, mla_scale(tape, in[0], 1), in[0], in[1], in[2], scale);
}

static void gradient_of_lora(void **state) {
    check_gradients(*state, build_lora, NULL, {{3, {2, 5, OUT}}, {3, {2, 5, IN}}, {2, {R, IN}}, {2, {OUT, R}}});
    check_gradients(*state, build_lora, NULL, {{2, {ROWS, OUT}}, {2, {ROWS, IN}}, {2, {1, IN}}, {2, {OUT, 1}}});
    check_gradients(*state, build_lora, NULL, {{2, {ROWS, OUT}}, {2, {ROWS, IN}}, {2, {HIGH, IN}}, {2, {OUT, HIGH}}});
    check_gradients(*state, build_lora, NULL, {{2, {300, OUT}}, {2, {300, IN}}, {2, {R, IN}}, {2, {OUT, R}}});
    check_gradients(*state, build_lora_of_one, NULL, {{2, {ROWS, IN}}, {2, {R, IN}}, {2, {IN, R}}});
}

static mla_tensor *build_dora(mla_tape *tape, mla_tensor *const *in, const void *user) {
    return mla_dora(tape, in[0], in[1], constant(tape, 1, (const int64_t[]){OUT}, 0), user ? in[2] : NULL);
}

static void gradient_of_dora(void **state) {
    check_gradients(*state, build_dora, "bias", {{2, {50, OUT}}, {1, {OUT}}, {1, {OUT}}});
    check_gradients(*state, build_dora, NULL, {{3, {2, 5, OUT}}, {1, {OUT}}});
}

static mla_tensor *build_lora_weight(mla_tape *tape, mla_tensor *const *in, const void *user) {
    const bool dora = user;
    mla_tensor *norm = constant(tape, 1, (const int64_t[]){OUT}, 0);
    mla_tensor *weight = constant(tape, 2, (const int64_t[]){OUT, IN}, 1);
    return mla_lora_weight(tape, in[0], weight, in[1], in[2], dora ? in[3] : NULL, norm,
                           &(mla_lora_weight_options){.scale = scale, .share = 0.6f});
}

static void gradient_of_lora_weight(void **state) {
    check_gradients(*state, build_lora_weight, NULL, {{2, {OUT, IN}}, {2, {R, IN}}, {2, {OUT, R}}});
    check_gradients(*state, build_lora_weight, "dora", {{2, {OUT, IN}}, {2, {R, IN}}, {2, {OUT, R}}, {1, {OUT}}});
}

/* ---- values ---- */

static void check_same(const mla_tensor *a, const mla_tensor *b) {
    assert_true(mla_same_shape(a, b));
    for (int64_t i = 0; i < mla_count(a); i++)
        check_close((double)((float *)a->data)[i], (double)((float *)b->data)[i], 1e-5);
}

typedef struct {
    mla_tape *tape;
    mla_tensor *x, *w, *a, *b, *m, *product; /* product: scale B A */
} parts;

static parts make_parts(mla_context *context, int64_t rank) {
    parts p;
    check_ok(context, mla_tape_create(context, &p.tape, NULL));
    mla_tape_begin(p.tape, &(mla_step){.training = true});
    p.x = constant(p.tape, 2, (const int64_t[]){ROWS, IN}, 1);
    p.w = constant(p.tape, 2, (const int64_t[]){OUT, IN}, 2);
    p.a = constant(p.tape, 2, (const int64_t[]){rank, IN}, 3);
    p.b = constant(p.tape, 2, (const int64_t[]){OUT, rank}, 4);
    p.m = constant(p.tape, 1, (const int64_t[]){OUT}, 5);
    p.product = mla_scale(p.tape, mla_matmul(p.tape, p.b, p.a), scale);
    return p;
}

static void lora_adds_to_the_projection(void **state) {
    for (int64_t rank = R; rank <= HIGH; rank += HIGH - R) {
        parts p = make_parts(*state, rank);
        mla_tensor *y = mla_linear(p.tape, p.x, p.w, NULL);
        const void *memory = y->data;
        const mla_tensor *z = mla_lora(p.tape, y, p.x, p.a, p.b, scale);
        assert_ptr_equal(z->data, memory);
        check_same(z, mla_linear(p.tape, p.x, mla_add(p.tape, p.w, p.product), NULL));
        check_ok(*state, mla_error_status(*state));
        mla_tape_destroy(p.tape);
    }
}

/* GRADCHECK(lora_norm): there is none. */
static void norms_are_those_of_rows_without_gradient(void **state) {
    parts p = make_parts(*state, R);
    p.a->needs_grad = p.b->needs_grad = true;
    const mla_tensor *norm = mla_lora_norm(p.tape, p.w, p.a, p.b, scale), *v = mla_add(p.tape, p.w, p.product);
    assert_false(norm->needs_grad);
    for (int64_t i = 0; i < OUT; i++) {
        double sum = 0;
        for (int64_t j = 0; j < IN; j++) sum += pow((double)mla_row(v, i)[j], 2);
        check_close((double)((float *)norm->data)[i], sqrt(sum), 1e-6);
    }
    mla_tape_destroy(p.tape);
}

static void weights_hold_adapters(void **state) {
    parts p = make_parts(*state, R);
    const float share = 0.4f;
    const mla_lora_weight_options options = {.scale = scale, .share = share};
    mla_tensor *v = mla_lora_weight(p.tape, p.w, p.w, p.a, p.b, NULL, NULL, &options);
    check_same(v, mla_add(p.tape, p.w, mla_scale(p.tape, p.product, share)));
    /* DoRA: rows by transposing, as columns are scaled by mla_dora */
    mla_tensor *norm = mla_lora_norm(p.tape, p.w, p.a, p.b, scale), *sum = mla_add(p.tape, p.w, p.product);
    mla_tensor *scaled = transposed(p.tape, mla_dora(p.tape, transposed(p.tape, sum), p.m, norm, NULL));
    mla_tensor *change = mla_add(p.tape, scaled, mla_scale(p.tape, p.w, -1));
    mla_tensor *dora = mla_lora_weight(p.tape, p.w, p.w, p.a, p.b, p.m, norm, &options);
    check_same(dora, mla_add(p.tape, p.w, mla_scale(p.tape, change, share)));
    /* a second one on top of the first */
    check_same(mla_lora_weight(p.tape, v, p.w, p.a, p.b, p.m, norm, &options),
               mla_add(p.tape, v, mla_scale(p.tape, change, share)));
    check_ok(*state, mla_error_status(*state));
    mla_tape_destroy(p.tape);
}

/* ---- what is frozen costs nothing ---- */

typedef struct {
    int64_t rows, gradients; /* products with as many rows as x, and those that give a gradient of the weight */
} products;

static void count_product(void *user, const mla_gemm *gemm, const mla_gemm_shape *shape, int64_t runs) {
    products *p = user;
    (void)gemm;
    if (shape->m == OUT && shape->n == IN && shape->k == ROWS) p->gradients += runs;
    if (shape->m == ROWS) p->rows += runs;
}

static void a_frozen_weight_has_no_gradient(void **state) {
    (void)state;
    for (int frozen = 0; frozen < 2; frozen++) {
        mla_context *context; /* of its own: products are counted */
        assert_int_equal(mla_context_create(&context, NULL), MLA_OK);
        parts p = make_parts(context, HIGH);
        p.x->needs_grad = true;
        p.w->needs_grad = !frozen;
        p.a->needs_grad = p.b->needs_grad = true;
        mla_tensor *y = mla_lora(p.tape, mla_linear(p.tape, p.x, p.w, NULL), p.x, p.a, p.b, scale);
        check_ok(context, mla_backward(p.tape, mla_sum(p.tape, y)));
        assert_int_equal(p.w->has_grad, !frozen);
        assert_true(p.x->has_grad && p.a->has_grad && p.b->has_grad);
        products found = {0};
        mla_gemm_each(context, count_product, &found);
        assert_int_equal(found.gradients, !frozen);
        assert_int_equal(found.rows, 6); /* y, h, + B h; dx, dh, + dh A */
        mla_tape_destroy(p.tape);
        mla_context_destroy(context);
    }
}

static void refuses_what_does_not_fit(void **state) {
    parts p = make_parts(*state, R);
    mla_tensor *y = mla_linear(p.tape, p.x, p.w, NULL);
    mla_lora(p.tape, y, p.x, p.b, p.a, scale);
    check_error(*state, mla_error_status(*state), MLA_ERROR_SHAPE, "lora: A and B must be (r,in) and (out,r)");
    mla_lora(p.tape, p.x, p.x, p.a, p.b, scale);
    check_error(*state, mla_error_status(*state), MLA_ERROR_SHAPE, "B as high as y is wide");
    mla_lora_norm(p.tape, p.w, p.b, p.a, scale);
    check_error(*state, mla_error_status(*state), MLA_ERROR_SHAPE, "lora_norm: weight, A and B must be");
    mla_dora(p.tape, p.x, p.m, p.m, NULL);
    check_error(*state, mla_error_status(*state), MLA_ERROR_SHAPE, "dora: magnitude, norm and bias must be");
    p.m->needs_grad = true;
    mla_dora(p.tape, y, p.m, p.m, NULL);
    check_error(*state, mla_error_status(*state), MLA_ERROR_SHAPE, "the norm must need no gradient");
    mla_lora_weight(p.tape, p.w, p.w, p.a, p.b, p.m, NULL, &(mla_lora_weight_options){1, 1, MLA_F32});
    check_error(*state, mla_error_status(*state), MLA_ERROR_SHAPE, "lora_weight: magnitude and norm must be (out)");
    mla_tape_destroy(p.tape);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        GRADCHECK(lora),
        GRADCHECK(dora),
        GRADCHECK(lora_weight),
        cmocka_unit_test(lora_adds_to_the_projection),
        cmocka_unit_test(norms_are_those_of_rows_without_gradient),
        cmocka_unit_test(weights_hold_adapters),
        cmocka_unit_test(a_frozen_weight_has_no_gradient),
        cmocka_unit_test(refuses_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
