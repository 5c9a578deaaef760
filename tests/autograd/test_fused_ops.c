/* Fused ops against compositions of the general set, values and gradients; the same bits on any number of threads. */
#include "tests/support/op_fixture.h"

#include "autograd/base/random.h"
#include "autograd/ops.h"

#include <stdlib.h>
#include <string.h>

static const int64_t matrix[] = {ROWS, WIDTH}, vector[] = {WIDTH};

/* ---- fused equals composed ---- */

typedef mla_tensor *(*graph)(mla_tape *tape, mla_tensor *const *in);

static mla_tensor *constant(mla_tape *tape, const float *data, int64_t rows, int64_t width) {
    return mla_input(tape, MLA_F32, 2, (const int64_t[]){rows, width}, data);
}

static float ones[COUNT];

/* The mean of each row, spread over the row again. */
static mla_tensor *row_means(mla_tape *tape, mla_tensor *x) {
    mla_tensor *sums = mla_matmul(tape, x, constant(tape, ones, WIDTH, 1));
    return mla_matmul(tape, mla_scale(tape, sums, 1.0f / WIDTH), constant(tape, ones, 1, WIDTH));
}

/* x / sqrt(mean(x²) + 0.25) */
static mla_tensor *over_rms(mla_tape *tape, mla_tensor *x) {
    static float eps[WIDTH];
    for (int i = 0; i < WIDTH; i++) eps[i] = 0.25f;
    mla_tensor *squares = row_means(tape, mla_mul(tape, x, x));
    mla_tensor *moved = mla_add(tape, squares, mla_input(tape, MLA_F32, 1, vector, eps));
    return mla_mul(tape, x, mla_exp(tape, mla_scale(tape, mla_log(tape, moved), -0.5f)));
}

static mla_tensor *fused_rmsnorm(mla_tape *t, mla_tensor *const *in) {
    return mla_rmsnorm(t, in[0], in[2], 0.25f, MLA_F32);
}
static mla_tensor *composed_rmsnorm(mla_tape *t, mla_tensor *const *in) {
    return mla_mul(t, over_rms(t, in[0]), in[2]);
}

static mla_tensor *fused_layernorm(mla_tape *t, mla_tensor *const *in) {
    return mla_layernorm(t, in[0], in[2], in[3], 0.25f, MLA_F32);
}
static mla_tensor *composed_layernorm(mla_tape *t, mla_tensor *const *in) {
    mla_tensor *centred = mla_add(t, in[0], mla_scale(t, row_means(t, in[0]), -1));
    return mla_add(t, mla_mul(t, over_rms(t, centred), in[2]), in[3]);
}

static mla_tensor *fused_swiglu(mla_tape *t, mla_tensor *const *in) { return mla_swiglu(t, in[0], in[1]); }
static mla_tensor *composed_swiglu(mla_tape *t, mla_tensor *const *in) { return mla_mul(t, mla_silu(t, in[0]), in[1]); }

static mla_tensor *fused_residual(mla_tape *t, mla_tensor *const *in) {
    return mla_residual_add(t, in[0], in[1], 0.3f);
}
static mla_tensor *composed_residual(mla_tape *t, mla_tensor *const *in) {
    return mla_add(t, in[0], mla_dropout(t, in[1], 0.3f)); /* the first op of the step, as the fused one */
}

enum { INPUTS = 4 };
static const int64_t lengths[INPUTS] = {COUNT, COUNT, WIDTH, WIDTH};

typedef struct {
    float value[COUNT], gradient[INPUTS][COUNT];
} outcome;

static void run_graph(op_fixture *f, graph build, outcome *out) {
    memset(out, 0, sizeof *out);
    begin(f);
    mla_tensor *in[INPUTS] = {
        mla_input_with_gradient(f->tape, 2, matrix, f->a), mla_input_with_gradient(f->tape, 2, matrix, f->b),
        mla_input_with_gradient(f->tape, 1, vector, f->row), mla_input_with_gradient(f->tape, 1, vector, f->row2)};
    mla_tensor *y = build(f->tape, in);
    mla_tensor *weighted = mla_mul(f->tape, y, mla_input(f->tape, MLA_F32, 2, matrix, f->c));
    memcpy(out->value, y->data, sizeof out->value);
    check_ok(f->context, mla_backward(f->tape, mla_sum(f->tape, weighted)));
    for (int i = 0; i < INPUTS; i++)
        if (in[i]->has_grad) memcpy(out->gradient[i], in[i]->grad, (size_t)lengths[i] * sizeof(float));
}

static void fused_equals_composed(void **state) {
    static const struct {
        graph fused, composed;
    } pairs[] = {{fused_rmsnorm, composed_rmsnorm},
                 {fused_layernorm, composed_layernorm},
                 {fused_swiglu, composed_swiglu},
                 {fused_residual, composed_residual}};
    static outcome fused, composed;
    for (int i = 0; i < COUNT; i++) ones[i] = 1;
    for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++) {
        run_graph(*state, pairs[k].fused, &fused);
        run_graph(*state, pairs[k].composed, &composed);
        assert_true(relative_error(COUNT, fused.value, composed.value) < 1e-6);
        for (int i = 0; i < INPUTS; i++)
            assert_true(relative_error(lengths[i], fused.gradient[i], composed.gradient[i]) < 5e-6);
    }
}

/* ---- threads ---- */

/* One graph with a sum over rows of every kind. */
static mla_tensor *sums_over_rows(mla_tape *t, mla_tensor *const *in) {
    static int32_t ids[ROWS];
    for (int i = 0; i < ROWS; i++) ids[i] = i * i % 7;
    mla_tensor *x = mla_gather(t, in[0], mla_input(t, MLA_I32, 1, (const int64_t[]){ROWS}, ids));
    x = mla_layernorm(t, mla_rmsnorm(t, x, in[2], 1e-6f, MLA_F32), in[2], in[3], 1e-6f, MLA_F32);
    return mla_dropout(t, mla_add(t, mla_mul(t, x, in[2]), in[3]), 0.1f);
}

/* The bias's gradient is such a sum as well; oneDNN's products may be cut by threads (on AVX2 they are). */
static mla_tensor *product_with_bias(mla_tape *t, mla_tensor *const *in) {
    return mla_linear(t, in[0], mla_slice(t, mla_concat(t, in[1], in[0], 0), 0, 0, WIDTH), in[3]);
}

static void run_on_threads(op_fixture *f, int threads, graph build, outcome *out) {
    op_fixture alone = *f;
    assert_int_equal(mla_context_create(&alone.context, &(mla_context_options){.threads = threads}), MLA_OK);
    assert_int_equal(mla_tape_create(alone.context, &alone.tape, NULL), MLA_OK);
    run_graph(&alone, build, out);
    mla_tape_destroy(alone.tape);
    mla_context_destroy(alone.context);
}

static void sums_do_not_depend_on_threads(void **state) {
    static outcome sums, other_sums, product, other_product;
    run_on_threads(*state, 1, sums_over_rows, &sums);
    run_on_threads(*state, 1, product_with_bias, &product);
    for (int threads = 2; threads <= 3; threads++) {
        run_on_threads(*state, threads, sums_over_rows, &other_sums);
        run_on_threads(*state, threads, product_with_bias, &other_product);
        assert_memory_equal(&sums, &other_sums, sizeof sums);
        assert_memory_equal(product.gradient[3], other_product.gradient[3], sizeof product.gradient[3]);
        assert_true(relative_error(COUNT, product.value, other_product.value) < 1e-6);
        for (int i = 0; i < 2; i++)
            assert_true(relative_error(COUNT, product.gradient[i], other_product.gradient[i]) < 1e-6);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fused_equals_composed),
        cmocka_unit_test(sums_do_not_depend_on_threads),
    };
    return cmocka_run_group_tests(tests, create_op_fixture, destroy_op_fixture);
}
