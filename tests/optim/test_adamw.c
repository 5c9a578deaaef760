/* AdamW against torch.optim.AdamW (tests/golden/adamw.h5), and the same bits on any number of threads. */
#include "optim/adamw.h"
#include "optim/clip.h"
#include "tests/support/check.h"
#include "tests/support/golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double tolerance = 1e-5;

/* ---- three steps as torch makes them; the constants are those of tests/golden/make_golden.py ---- */

static const mla_adamw_options options = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .weight_decay = 0.1f};
static const float rates[] = {1e-2f, 5e-3f, 2e-3f}, gradient_scales[] = {1.0f, 0.02f, 3.0f};
static const double max_norm = 1;

static const struct {
    mla_param_spec spec;
    float gradient_scale; /* the tiny one makes eps visible */
} set[] = {{{.name = "first.weight", .ndim = 2, .shape = {16, 8}, .decay = true}, 1.0f},
           {{.name = "second.weight", .ndim = 2, .shape = {8, 16}, .decay = true}, 0.3f},
           {{.name = "tiny.weight", .ndim = 2, .shape = {4, 4}, .decay = true}, 3e-8f},
           {{.name = "norm.weight", .ndim = 1, .shape = {16}}, 0.5f},
           {{.name = "second.bias", .ndim = 1, .shape = {8}}, 0.2f}};
enum { SET = sizeof set / sizeof *set };

/* The set, with a frozen parameter in its midst, which no update may touch. */
static mla_params *make_set(mla_context *context) {
    mla_params *params;
    check_ok(context, mla_params_create(context, &params));
    for (int i = 0; i < SET; i++) {
        assert_non_null(mla_params_add(params, &set[i].spec));
        if (i == 1)
            mla_params_add(params, &(mla_param_spec){.name = "frozen", .ndim = 1, .shape = {3}, .frozen = true});
    }
    check_ok(context, mla_params_allocate(params, true));
    for (int64_t i = 0; i < mla_params_count(params); i++) {
        mla_param *p = mla_params_at(params, i);
        golden_fill(p->tensor.data, p->count, p->spec.name, 1);
    }
    return params;
}

static void set_gradients(mla_params *params, int step) {
    for (int i = 0; i < SET; i++) {
        mla_param *p = mla_params_find(params, set[i].spec.name);
        char name[64];
        snprintf(name, sizeof name, "%s@%d", p->spec.name, step);
        golden_fill(p->tensor.grad, p->count, name, set[i].gradient_scale * gradient_scales[step]);
        p->tensor.has_grad = true;
    }
}

static void check_results(hid_t file, int step, const char *what, const mla_param *p, const float *got) {
    char path[64];
    snprintf(path, sizeof path, "step%d/%s/%s", step, what, p->spec.name);
    golden_check(file, path, p->count, got, tolerance);
}

static void steps_equal_torch(void **state) {
    mla_context *context = *state;
    const hid_t file = golden_open("adamw");
    mla_params *params = make_set(context);
    const mla_param *frozen = mla_params_find(params, "frozen");
    const float before = *(float *)frozen->tensor.data;
    mla_adamw_state adamw;
    check_ok(context, mla_adamw_state_allocate(context, &adamw, params));
    for (int step = 0; step < 3; step++) {
        const uint64_t version = mla_params_version(params);
        char path[64];
        set_gradients(params, step);
        const double norm = mla_gradient_norm(params);
        mla_adamw_step(&adamw, params, &options, rates[step], mla_clip_scale(norm, max_norm));
        assert_true(mla_params_version(params) > version);
        snprintf(path, sizeof path, "step%d/norm", step);
        golden_check(file, path, 1, &(float){(float)norm}, tolerance);
        for (int i = 0; i < SET; i++) {
            const mla_param *p = mla_params_find(params, set[i].spec.name);
            check_results(file, step, "value", p, p->tensor.data);
            check_results(file, step, "m", p, adamw.m + p->grad_offset);
            check_results(file, step, "v", p, adamw.v + p->grad_offset);
        }
    }
    assert_int_equal(adamw.steps, 3);
    assert_true(*(float *)frozen->tensor.data == before);
    mla_adamw_state_free(&adamw);
    mla_params_destroy(params);
    golden_close(file);
}

/* ---- by hand ---- */

/* With the first step's corrections, an update is lr g / (|g| + eps), and matrices shrink by lr decay more. */
static void first_step_is_the_sign(void **state) {
    float value[] = {1, 1}, m[2] = {0}, v[2] = {0};
    mla_adamw_update(*state, &options, &(mla_adamw_pace){0.5f, 1, 1}, 0.1f,
                     &(mla_adamw_range){2, value, (float[]){3, -1e-3f}, m, v});
    check_close((double)value[0], 1 - 0.05 - 0.5, 1e-6);
    check_close((double)value[1], 1 - 0.05 + 0.5, 1e-5);
    check_close((double)m[0], 0.3, 1e-6);
    check_close((double)v[0], 0.45, 1e-6);
}

/* Zero gradients leave a value alone but for its decay; a parameter that got none counts as such. */
static void no_gradient_is_zero(void **state) {
    mla_context *context = *state;
    mla_params *params = make_set(context);
    mla_adamw_state adamw;
    check_ok(context, mla_adamw_state_allocate(context, &adamw, params));
    set_gradients(params, 0);
    mla_params_clear_gradients(params);
    check_close(mla_gradient_norm(params), 0, 0);
    const mla_param *matrix = mla_params_find(params, "first.weight"), *gain = mla_params_find(params, "norm.weight");
    const float a = *(float *)matrix->tensor.data, b = *(float *)gain->tensor.data;
    mla_adamw_step(&adamw, params, &options, 0.5f, 1);
    check_close((double)*(float *)matrix->tensor.data, (double)a * (1 - 0.5 * 0.1), 1e-6);
    assert_true(*(float *)gain->tensor.data == b);
    for (int64_t i = 0; i < mla_params_gradients_length(params); i++) assert_true(adamw.m[i] == 0 && adamw.v[i] == 0);
    mla_adamw_state_free(&adamw);
    mla_params_destroy(params);
}

/* ---- threads ---- */

/* Larger than what one thread takes at a time, and no multiple of it. */
enum { LARGE = 3 * (1 << 16) + 77, ARRAYS = 4 };

/* value, gradient, m and v after two updates, all in one block. */
static float *update_large(mla_context *context, int threads) {
    static const char *const names[] = {"value", "gradient", "m", "v"};
    float *block = malloc(ARRAYS * (size_t)LARGE * sizeof *block);
    assert_non_null(block);
    for (int i = 0; i < ARRAYS; i++) golden_fill(block + (int64_t)i * LARGE, LARGE, names[i], 1);
    float *v = block + (int64_t)3 * LARGE;
    for (int64_t i = 0; i < LARGE; i++) v[i] *= v[i];
    mla_context_set_threads(context, threads);
    for (int step = 1; step <= 2; step++)
        mla_adamw_update(context, &options, &(mla_adamw_pace){1e-3f, 0.7f, step}, 0.1f,
                         &(mla_adamw_range){LARGE, block, block + LARGE, block + (int64_t)2 * LARGE, v});
    return block;
}

static void threads_do_not_matter(void **state) {
    float *one = update_large(*state, 1);
    for (int threads = 2; threads <= 3; threads++) {
        float *more = update_large(*state, threads);
        assert_memory_equal(one, more, ARRAYS * (size_t)LARGE * sizeof *one);
        free(more);
    }
    free(one);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps_equal_torch), cmocka_unit_test(first_step_is_the_sign),
                                       cmocka_unit_test(no_gradient_is_zero), cmocka_unit_test(threads_do_not_matter)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
