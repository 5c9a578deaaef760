/* output_loss with a teacher: against PyTorch's kl_div and cross_entropy (tests/golden/distil.h5), and against its
 * composition from the general set, gradients included. */
#include "autograd/ops.h"
#include "autograd/params.h"
#include "tests/support/check.h"
#include "tests/support/golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { GOLDEN = 300, ROWS = 1100, D = 24, E = 40, V = 70 }; /* rows of the golden file; more than a chunk has */

typedef struct {
    float share, temperature;
} settings;
static const settings cases[] = {{0.7f, 2}, {1, 1}, {0, 3}}; /* those of make_golden.py */

typedef struct {
    mla_context *context;
    mla_params *params;
    mla_tape *tape;
    mla_tensor *w, *teacher_w;
    float x[ROWS * D], teacher[ROWS * E];
    int32_t targets[ROWS];
    int64_t rows; /* of these that take part */
} fixture;

static int set_up(void **state) {
    fixture *f = *state = calloc(1, sizeof *f);
    if (mla_context_create(&f->context, NULL) || mla_params_create(f->context, &f->params)) return -1;
    f->w = mla_params_add(f->params, &(mla_param_spec){.name = "w", .ndim = 2, .shape = {V, D}});
    f->teacher_w = mla_params_add(f->params,
                                  &(mla_param_spec){.name = "teacher_w", .ndim = 2, .shape = {V, E}, .frozen = true});
    if (mla_params_allocate(f->params, true) || mla_tape_create(f->context, &f->tape, NULL)) return -1;
    golden_fill(f->w->data, V * D, "w", 1);
    golden_fill(f->teacher_w->data, V * E, "teacher_w", 1);
    golden_fill(f->x, ROWS * D, "x", 1);
    golden_fill(f->teacher, ROWS * E, "teacher", 1);
    f->rows = ROWS;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    mla_tape_destroy(f->tape);
    mla_params_destroy(f->params);
    mla_context_destroy(f->context);
    free(f);
    return 0;
}

static mla_tensor *loss_of(fixture *f, mla_tensor *x, const settings *s, float scale, double *divergence) {
    mla_tensor *targets = mla_input(f->tape, MLA_I32, 1, (int64_t[]){f->rows}, f->targets);
    mla_tensor *teacher = mla_input(f->tape, MLA_F32, 2, (int64_t[]){f->rows, E}, f->teacher);
    return mla_output_loss(
        f->tape, x, f->w, targets,
        &(mla_output_loss_options){scale, teacher, f->teacher_w, s->share, s->temperature, divergence});
}

static mla_tensor *begin(fixture *f) {
    mla_params_clear_gradients(f->params);
    mla_tape_begin(f->tape, &(mla_step){.training = true});
    return mla_input_with_gradient(f->tape, 2, (int64_t[]){f->rows, D}, f->x);
}

static void equals_pytorch(void **state) {
    fixture *f = *state;
    hid_t file = golden_open("distil");
    int counted = 0;
    f->rows = GOLDEN;
    golden_read_ints(file, "targets", GOLDEN, f->targets);
    for (int i = 0; i < GOLDEN; i++) counted += f->targets[i] >= 0;
    for (int k = 0; k < 3; k++) {
        char path[32];
        double loss, kl, divergence = 0;
        snprintf(path, sizeof path, "%d/loss", k);
        golden_read_doubles(file, path, 1, &loss);
        snprintf(path, sizeof path, "%d/divergence", k);
        golden_read_doubles(file, path, 1, &kl);
        mla_tensor *x = begin(f), *result = loss_of(f, x, &cases[k], 1 / (float)counted, &divergence);
        check_ok(f->context, mla_backward(f->tape, result));
        check_close((double)*(float *)result->data, loss, 1e-6);
        check_close(divergence / counted, kl, 1e-6);
        snprintf(path, sizeof path, "%d/dx", k);
        golden_check(file, path, GOLDEN * D, x->grad, 1e-5);
        snprintf(path, sizeof path, "%d/dw", k);
        golden_check(file, path, V * D, f->w->grad, 1e-5);
    }
    golden_close(file);
}

/* ---- the composition, where all rows count ---- */

static mla_tensor *log_softmax(mla_tape *tape, mla_tensor *z, float factor) {
    return mla_log(tape, mla_softmax(tape, mla_scale(tape, z, factor), false));
}

static mla_tensor *logits(mla_tape *tape, mla_tensor *x, mla_tensor *w) {
    return mla_matmul(tape, x, mla_transpose(tape, w, (int[]){1, 0}));
}

/* sum of weight * what, times factor */
static mla_tensor *weighted(mla_tape *tape, mla_tensor *weight, mla_tensor *what, float factor) {
    return mla_scale(tape, mla_sum(tape, mla_mul(tape, weight, what)), factor);
}

static mla_tensor *composed(fixture *f, mla_tensor *x, const settings *s, float scale, const float *one_hot) {
    mla_tape *t = f->tape;
    const float cold = 1 / s->temperature, soft = scale * s->share * s->temperature * s->temperature;
    mla_tensor *z = logits(t, x, f->w);
    mla_tensor *teacher = logits(t, mla_input(t, MLA_F32, 2, (int64_t[]){f->rows, E}, f->teacher), f->teacher_w);
    mla_tensor *q = mla_softmax(t, mla_scale(t, teacher, cold), false);
    mla_tensor *hard = weighted(t, mla_input(t, MLA_F32, 2, (int64_t[]){f->rows, V}, one_hot), log_softmax(t, z, 1),
                                -scale * (1 - s->share));
    mla_tensor *entropy = weighted(t, q, log_softmax(t, teacher, cold), soft);
    return mla_add(t, mla_add(t, hard, entropy), weighted(t, q, log_softmax(t, z, cold), -soft));
}

static void equals_its_composition(void **state) {
    fixture *f = *state;
    const settings s = {0.4f, 1.5f};
    float *one_hot = calloc(ROWS * V, sizeof *one_hot);
    static float dx[2][ROWS * D], dw[2][V * D];
    double loss[2];
    for (int i = 0; i < ROWS; i++) {
        f->targets[i] = i * 31 % V;
        one_hot[i * V + f->targets[i]] = 1;
    }
    for (int k = 0; k < 2; k++) {
        mla_tensor *x = begin(f);
        mla_tensor *result = k ? composed(f, x, &s, 1.0f / ROWS, one_hot) : loss_of(f, x, &s, 1.0f / ROWS, NULL);
        check_ok(f->context, mla_backward(f->tape, result));
        loss[k] = (double)*(float *)result->data;
        for (int i = 0; i < ROWS * D; i++) dx[k][i] = ((float *)x->grad)[i];
        for (int i = 0; i < V * D; i++) dw[k][i] = ((float *)f->w->grad)[i];
    }
    check_close(loss[0], loss[1], 1e-5);
    assert_true(relative_error(ROWS * D, dx[0], dx[1]) < 1e-5);
    assert_true(relative_error(V * D, dw[0], dw[1]) < 1e-5);
    free(one_hot);
}

static void teachers_that_do_not_fit(void **state) {
    fixture *f = *state;
    mla_tensor *x = begin(f), *targets = mla_input(f->tape, MLA_I32, 1, (int64_t[]){f->rows}, f->targets);
    mla_tensor *teacher = mla_input(f->tape, MLA_F32, 2, (int64_t[]){f->rows, E}, f->teacher);
    mla_tensor *fewer = mla_input(f->tape, MLA_F32, 2, (int64_t[]){V - 1, E}, f->teacher_w->data);
    mla_output_loss(f->tape, x, f->w, targets, &(mla_output_loss_options){.teacher = teacher, .teacher_weight = fewer});
    check_error(f->context, mla_error_status(f->context), MLA_ERROR_SHAPE, "the same vocabulary");
    mla_output_loss(f->tape, x, f->w, targets, &(mla_output_loss_options){.teacher = x, .teacher_weight = f->w});
    check_error(f->context, mla_error_status(f->context), MLA_ERROR_SHAPE, "the teacher must need no gradient");
    static const settings wrong[] = {{0.5f, 0}, {0.5f, -1}, {0.5f, NAN}, {-0.1f, 1}, {1.1f, 1}, {NAN, 1}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        loss_of(f, x, &wrong[i], 1, NULL);
        check_error(f->context, mla_error_status(f->context), MLA_ERROR_SHAPE,
                    "a share from 0 to 1 and a temperature above 0");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(equals_pytorch, set_up, tear_down),
                                       cmocka_unit_test_setup_teardown(equals_its_composition, set_up, tear_down),
                                       cmocka_unit_test_setup_teardown(teachers_that_do_not_fit, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
