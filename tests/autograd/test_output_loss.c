/* output_loss against the cross-entropy written out in double precision with whole logits.
 * Gradients are compared element by element with the formulas. */
#include "autograd/base/random.h"
#include "autograd/ops.h"
#include "autograd/params.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>

enum { ROWS = 1100, D = 24, V = 70 }; /* more rows than a chunk has */

typedef struct {
    float x[ROWS * D], w[V * D];
    int32_t targets[ROWS];
    double loss, dx[ROWS * D], dw[V * D];
} example;

static void reference_row(example *e, int64_t row, double scale) {
    double z[V], top = -INFINITY, sum = 0;
    const float *x = e->x + row * D;
    for (int v = 0; v < V; v++) {
        z[v] = 0;
        for (int i = 0; i < D; i++) z[v] += (double)x[i] * (double)e->w[v * D + i];
        top = fmax(top, z[v]);
    }
    for (int v = 0; v < V; v++) sum += exp(z[v] - top);
    e->loss += scale * (log(sum) + top - z[e->targets[row]]);
    for (int v = 0; v < V; v++) {
        const double dz = scale * (exp(z[v] - top) / sum - (v == e->targets[row]));
        for (int i = 0; i < D; i++) {
            e->dx[row * D + i] += dz * (double)e->w[v * D + i];
            e->dw[v * D + i] += dz * (double)x[i];
        }
    }
}

static example *make_example(double scale) {
    example *e = calloc(1, sizeof *e);
    mla_random_normal(mla_random_stream(1, "x", 0, 0, 0), 0, ROWS * D, e->x);
    mla_random_normal(mla_random_stream(1, "w", 0, 0, 0), 0, V * D, e->w);
    for (int64_t i = 0; i < ROWS; i++) {
        e->targets[i] = i % 7 == 3 ? -1 : (int32_t)(i * 31 % V);
        if (e->targets[i] >= 0) reference_row(e, i, scale);
    }
    return e;
}

static double error_of(int64_t count, const float *a, const double *b, double factor) {
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        const double d = (double)a[i] - factor * b[i];
        difference += d * d;
        norm += b[i] * b[i];
    }
    return isfinite(difference) ? sqrt(difference / norm) : INFINITY;
}

static void equals_whole_logits(void **state) {
    mla_context *context = *state;
    const double scale = 1.0 / 500;
    example *e = make_example(scale);
    mla_params *params;
    mla_tape *tape;
    check_ok(context, mla_params_create(context, &params));
    mla_tensor *w = mla_params_add(params, &(mla_param_spec){.name = "w", .ndim = 2, .shape = {V, D}});
    check_ok(context, mla_params_allocate(params, true));
    for (int i = 0; i < V * D; i++) ((float *)w->data)[i] = e->w[i];
    check_ok(context, mla_tape_create(context, &tape, NULL));
    for (int pass = 1; pass <= 2; pass++) { /* the second adds to the weight's gradient */
        mla_tape_begin(tape, &(mla_step){.training = true});
        mla_tensor *x = mla_input_with_gradient(tape, 2, (int64_t[]){ROWS, D}, e->x);
        mla_tensor *targets = mla_input(tape, MLA_I32, 1, (int64_t[]){ROWS}, e->targets);
        mla_tensor *loss = mla_output_loss(tape, x, w, targets, &(mla_output_loss_options){.scale = (float)scale});
        check_ok(context, mla_backward(tape, loss));
        check_close((double)*(float *)loss->data, e->loss, 1e-6);
        assert_true(error_of(ROWS * D, x->grad, e->dx, 1) < 2e-6);
        assert_true(error_of(V * D, w->grad, e->dw, pass) < 2e-6);
    }
    mla_tape_destroy(tape);
    mla_params_destroy(params);
    free(e);
}

static void refuses_a_scaled_result_and_wrong_targets(void **state) {
    mla_context *context = *state;
    float x[2 * D] = {0}, w[V * D] = {0};
    int32_t ids[2] = {1, V};
    mla_tape *tape;
    check_ok(context, mla_tape_create(context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){.training = true});
    mla_tensor *in = mla_input_with_gradient(tape, 2, (int64_t[]){2, D}, x);
    mla_tensor *weight = mla_input(tape, MLA_F32, 2, (int64_t[]){V, D}, w);
    mla_tensor *targets = mla_input(tape, MLA_I32, 1, (int64_t[]){2}, ids);
    const mla_output_loss_options options = {.scale = 1};
    mla_output_loss(tape, in, weight, targets, &options);
    check_error(context, mla_error_status(context), MLA_ERROR_ARGUMENT, "target 70 at place 1");
    ids[1] = 2;
    mla_tensor *loss = mla_output_loss(tape, in, weight, targets, &options);
    check_error(context, mla_backward(tape, mla_scale(tape, loss, 0.5f)), MLA_ERROR_ARGUMENT, "set options.scale");
    mla_tape_destroy(tape);
}

/* Its weight's gradient is there before mla_backward: where the loss does not depend on it, that is one too many. */
static void refuses_to_be_left_out(void **state) {
    mla_context *context = *state;
    static float x[2 * D];
    static const int32_t ids[2] = {1, 2};
    const mla_output_loss_options options = {.scale = 1};
    mla_params *params;
    mla_tape *tape;
    check_ok(context, mla_params_create(context, &params));
    mla_tensor *w = mla_params_add(params, &(mla_param_spec){.name = "w", .ndim = 2, .shape = {V, D}});
    check_ok(context, mla_params_allocate(params, true));
    check_ok(context, mla_tape_create(context, &tape, NULL));
    for (int frozen = 0; frozen < 2; frozen++) {
        w->needs_grad = !frozen;
        mla_tape_begin(tape, &(mla_step){.training = true});
        mla_tensor *in = mla_input_with_gradient(tape, 2, (int64_t[]){2, D}, x);
        mla_tensor *targets = mla_input(tape, MLA_I32, 1, (int64_t[]){2}, ids);
        mla_output_loss(tape, in, w, targets, &options);
        const mla_status status = mla_backward(tape, mla_sum(tape, in));
        if (frozen) check_ok(context, status);
        else check_error(context, status, MLA_ERROR_ARGUMENT, "output_loss: its gradients are computed already");
    }
    mla_tape_destroy(tape);
    mla_params_destroy(params);
}

static void refuses_types_that_do_not_fit(void **state) {
    mla_context *context = *state;
    static float x[2 * V];
    static const int32_t ids[2] = {1, 2};
    mla_tape *tape;
    check_ok(context, mla_tape_create(context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){.training = true});
    mla_tensor *targets = mla_input(tape, MLA_I32, 1, (int64_t[]){2}, ids);
    mla_tensor *w = mla_input(tape, MLA_F32, 2, (int64_t[]){V, 2}, x);
    mla_tensor *in[3];
    for (int type = MLA_F32; type <= MLA_I32; type++)
        in[type] = mla_input(tape, (mla_dtype)type, 2, (int64_t[]){2, 2}, x);
    for (int type = MLA_BF16; type <= MLA_I32; type++) {
        mla_output_loss(tape, in[type], w, targets, &(mla_output_loss_options){.scale = 1});
        check_error(context, mla_error_status(context), MLA_ERROR_SHAPE, "loss: x must be f32, or bf16 in a step");
        const mla_output_loss_options taught = {1, in[type], w, .share = 0.5f, .temperature = 1};
        mla_output_loss(tape, in[MLA_F32], w, targets, &taught);
        check_error(context, mla_error_status(context), MLA_ERROR_SHAPE, "teacher must be f32, or bf16 in a step");
    }
    mla_tensor *whole = mla_input(tape, MLA_I32, 2, (int64_t[]){V, 2}, x);
    mla_output_loss(tape, in[MLA_F32], whole, targets, &(mla_output_loss_options){.scale = 1});
    check_error(context, mla_error_status(context), MLA_ERROR_SHAPE, "the weight must be (V,D) f32 or bf16");
    mla_tape_destroy(tape);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_whole_logits), cmocka_unit_test(refuses_a_scaled_result_and_wrong_targets),
        cmocka_unit_test(refuses_to_be_left_out), cmocka_unit_test(refuses_types_that_do_not_fit)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
