/* The registry: places in the flat blocks, names, initial values. */
#include "tests/support/check.h"

#include "autograd/params.h"

#include <math.h>
#include <string.h>

static const mla_param_spec specs[] = {
    {.name = "first.weight", .ndim = 2, .shape = {33, 3}, .init = MLA_INIT_NORMAL, .scale = 0.5f, .decay = true},
    {.name = "first.gain", .ndim = 1, .shape = {5}, .init = MLA_INIT_ONE},
    {.name = "frozen", .ndim = 1, .shape = {17}, .init = MLA_INIT_NORMAL, .scale = 1, .frozen = true},
    {.name = "last", .ndim = 3, .shape = {100, 10, 10}, .init = MLA_INIT_UNIFORM, .scale = 2},
};
enum { SPECS = sizeof specs / sizeof *specs };

/* In the given order, with values and, where asked for, gradients. */
static mla_params *create(mla_context *context, const int *order, bool gradients) {
    mla_params *params;
    check_ok(context, mla_params_create(context, &params));
    for (int i = 0; i < SPECS; i++) assert_non_null(mla_params_add(params, &specs[order[i]]));
    check_ok(context, mla_params_allocate(params, gradients));
    return params;
}

static const int forwards[] = {0, 1, 2, 3}, backwards[] = {3, 2, 1, 0};

static void ranges_are_aligned_and_apart(void **state) {
    mla_params *params = create(*state, forwards, true);
    int64_t value_end = 0, grad_end = 0;
    for (int64_t i = 0; i < SPECS; i++) {
        const mla_param *p = mla_params_at(params, i);
        assert_string_equal(p->tensor.name, specs[i].name);
        assert_int_equal(p->offset % 16, 0);
        assert_true(p->offset >= value_end);
        assert_ptr_equal(p->tensor.data, mla_params_values(params) + p->offset);
        value_end = p->offset + p->count;
        if (specs[i].frozen) {
            assert_int_equal(p->grad_offset, -1);
            assert_null(p->tensor.grad);
            continue;
        }
        assert_true(p->grad_offset >= grad_end && p->grad_offset % 16 == 0);
        assert_ptr_equal(p->tensor.grad, mla_params_gradients(params) + p->grad_offset);
        grad_end = p->grad_offset + p->count;
    }
    assert_true(mla_params_values_length(params) >= value_end);
    assert_true(mla_params_gradients_length(params) >= grad_end);
    assert_int_equal(mla_params_elements(params, false), 99 + 5 + 17 + 10000);
    assert_int_equal(mla_params_elements(params, true), 99 + 5 + 10000);
    assert_int_equal(mla_params_count(params), SPECS);
    mla_params_destroy(params);
}

static void gaps_are_zero(void **state) {
    mla_params *params = create(*state, forwards, true);
    mla_params_initialise(params, 3);
    const mla_param *first = mla_params_at(params, 0), *next = mla_params_at(params, 1);
    for (int64_t i = first->offset + first->count; i < next->offset; i++)
        assert_true(mla_params_values(params)[i] == 0);
    mla_params_destroy(params);
}

static void initial_values_depend_on_seed_and_name(void **state) {
    mla_params *a = create(*state, forwards, false), *b = create(*state, backwards, false);
    mla_params_initialise(a, 3);
    mla_params_initialise(b, 3);
    for (int i = 0; i < SPECS; i++) {
        const mla_param *p = mla_params_find(a, specs[i].name), *q = mla_params_find(b, specs[i].name);
        assert_memory_equal(p->tensor.data, q->tensor.data, (size_t)p->count * sizeof(float));
    }
    mla_params_initialise(b, 4);
    assert_memory_not_equal(mla_params_find(a, "last")->tensor.data, mla_params_find(b, "last")->tensor.data, 64);
    mla_params_destroy(a);
    mla_params_destroy(b);
}

static void initial_values_have_their_scale(void **state) {
    mla_params *params = create(*state, forwards, false);
    mla_params_initialise(params, 3);
    const float *uniform = mla_params_find(params, "last")->tensor.data;
    const float *normal = mla_params_find(params, "first.weight")->tensor.data;
    double squares = 0, normal_squares = 0;
    for (int i = 0; i < 10000; i++) {
        assert_true(fabsf(uniform[i]) <= 2);
        squares += (double)uniform[i] * (double)uniform[i] / 10000;
    }
    for (int i = 0; i < 99; i++) normal_squares += (double)normal[i] * (double)normal[i] / 99;
    check_close(squares, 4.0 / 3, 0.05);
    assert_true(normal_squares > 0.125 && normal_squares < 0.5); /* 0.25, from 99 values */
    for (int i = 0; i < 5; i++) assert_true(((float *)mla_params_find(params, "first.gain")->tensor.data)[i] == 1);
    mla_params_destroy(params);
}

static void wrong_parameters_are_errors(void **state) {
    mla_params *params = create(*state, forwards, false);
    assert_null(mla_params_add(params, &specs[1]));
    check_error(*state, mla_error_status(*state), MLA_ERROR_ARGUMENT, "first.gain already exists");
    assert_null(mla_params_add(params, &(mla_param_spec){.name = "empty", .ndim = 2, .shape = {3, 0}}));
    check_error(*state, mla_error_status(*state), MLA_ERROR_SHAPE, "parameter empty: every dimension");
    assert_null(mla_params_find(params, "empty"));
    mla_params_destroy(params);
}

/* Their places are given by then. */
static void all_is_settled_before_memory_is_allocated(void **state) {
    static const char words[] = "before mla_params_allocate";
    mla_params *params = create(*state, forwards, true);
    assert_null(mla_params_add(params, &(mla_param_spec){.name = "late", .ndim = 1, .shape = {3}}));
    check_error(*state, mla_error_status(*state), MLA_ERROR_ARGUMENT, words);
    assert_null(mla_params_find(params, "late"));
    mla_params_freeze(params);
    check_error(*state, mla_error_status(*state), MLA_ERROR_ARGUMENT, words);
    mla_params_keep_bf16(params);
    check_error(*state, mla_error_status(*state), MLA_ERROR_ARGUMENT, words);
    for (int64_t i = 0; i < SPECS; i++) {
        assert_true(mla_params_at(params, i)->tensor.needs_grad == !specs[i].frozen);
        assert_int_equal(mla_params_at(params, i)->tensor.dtype, MLA_F32);
    }
    mla_params_destroy(params);
}

static void without_gradients_none_flow(void **state) {
    mla_params *params = create(*state, forwards, false);
    assert_null(mla_params_gradients(params));
    for (int64_t i = 0; i < SPECS; i++) assert_false(mla_params_at(params, i)->tensor.needs_grad);
    mla_params_destroy(params);
    params = create(*state, forwards, true);
    for (int64_t i = 0; i < SPECS; i++) assert_true(mla_params_at(params, i)->tensor.needs_grad == !specs[i].frozen);
    const uint64_t version = mla_params_version(params);
    mla_params_changed(params);
    assert_true(mla_params_version(params) > version);
    mla_params_destroy(params);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_are_aligned_and_apart),
        cmocka_unit_test(gaps_are_zero),
        cmocka_unit_test(initial_values_depend_on_seed_and_name),
        cmocka_unit_test(initial_values_have_their_scale),
        cmocka_unit_test(wrong_parameters_are_errors),
        cmocka_unit_test(without_gradients_none_flow),
        cmocka_unit_test(all_is_settled_before_memory_is_allocated),
    };
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
