/* The norm of all gradients and the factor of clipping. (Against torch's: test_adamw.c.) */
#include "optim/clip.h"
#include "tests/support/check.h"
#include "tests/support/golden.h"

#include <math.h>

/* The second is larger than what one thread takes, and no multiple of it; the third is not trained. */
static const mla_param_spec specs[] = {{.name = "small", .ndim = 1, .shape = {5}},
                                       {.name = "large", .ndim = 2, .shape = {517, 301}},
                                       {.name = "frozen", .ndim = 1, .shape = {4}, .frozen = true}};

static int create(void **state) {
    mla_context *context;
    mla_params *params;
    if (mla_context_create(&context, NULL) || mla_params_create(context, &params)) return 1;
    for (int i = 0; i < 3; i++) mla_params_add(params, &specs[i]);
    if (mla_params_allocate(params, true)) return 1;
    for (int i = 0; i < 2; i++) {
        mla_param *p = mla_params_at(params, i);
        golden_fill(p->tensor.grad, p->count, p->spec.name, 2);
        p->tensor.has_grad = true;
    }
    static void *both[2];
    both[0] = context;
    both[1] = params;
    *state = both;
    return 0;
}

static int destroy(void **state) {
    void **both = *state;
    mla_params_destroy(both[1]);
    mla_context_destroy(both[0]);
    return 0;
}

static mla_params *params_of(void **state) { return ((void **)*state)[1]; }

static void norm_is_of_all(void **state) {
    const mla_params *params = params_of(state);
    double sum = 0;
    for (int i = 0; i < 2; i++) {
        const mla_param *p = mla_params_at(params, i);
        for (int64_t j = 0; j < p->count; j++) sum += pow((double)((float *)p->tensor.grad)[j], 2);
    }
    check_close(mla_gradient_norm(params), sqrt(sum), 1e-12);
}

static void threads_do_not_matter(void **state) {
    const mla_params *params = params_of(state);
    mla_context *context = ((void **)*state)[0];
    mla_context_set_threads(context, 1);
    const double one = mla_gradient_norm(params);
    for (int threads = 2; threads <= 3; threads++) {
        mla_context_set_threads(context, threads);
        assert_true(mla_gradient_norm(params) == one);
    }
}

/* Squares of f32 gradients would overflow or vanish in f32. */
static void large_and_small_survive(void **state) {
    float *small = mla_params_at(params_of(state), 0)->tensor.grad;
    mla_params_at(params_of(state), 1)->tensor.has_grad = false;
    for (int i = 0; i < 5; i++) small[i] = 0;
    small[2] = 3e38f;
    check_close(mla_gradient_norm(params_of(state)) / 3e38, 1, 1e-6);
    small[2] = 3e-38f;
    check_close(mla_gradient_norm(params_of(state)) / 3e-38, 1, 1e-6);
}

/* A gradient that is no number is seen, wherever it stands. */
static void not_a_number_is_seen(void **state) {
    mla_param *large = mla_params_at(params_of(state), 1);
    float *grad = large->tensor.grad;
    large->tensor.has_grad = true;
    static const int64_t places[] = {0, 80000, 517 * 301 - 1};
    for (int i = 0; i < 3; i++) {
        const float kept = grad[places[i]];
        grad[places[i]] = NAN;
        assert_true(isnan(mla_gradient_norm(params_of(state))));
        grad[places[i]] = -INFINITY;
        assert_true(isinf(mla_gradient_norm(params_of(state))));
        grad[places[i]] = kept;
    }
    assert_true(isfinite(mla_gradient_norm(params_of(state))));
}

static void scales(void **state) {
    (void)state;
    check_close((double)mla_clip_scale(4, 1), 0.25, 1e-6);
    check_close((double)mla_clip_scale(0.5, 1), 1, 0);
    check_close((double)mla_clip_scale(0, 1), 1, 0);
    check_close((double)mla_clip_scale(1e9, 0), 1, 0);
    check_close((double)mla_clip_scale(1, 1), 1 / (1 + 1e-6), 1e-7);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(norm_is_of_all), cmocka_unit_test(threads_do_not_matter),
                                       cmocka_unit_test(large_and_small_survive),
                                       cmocka_unit_test(not_a_number_is_seen), cmocka_unit_test(scales)};
    return cmocka_run_group_tests(tests, create, destroy);
}
