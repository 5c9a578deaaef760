/* Each op that takes bf16 against itself in f32, on the same values (all bf16 numbers): results and gradients.
 *
 * A bf16 has 8 significant bits: rounding changes a number by up to 2^-9 of itself, so results that are rounded a few
 * times on the way differ by well below `bound`; a scale that is 2 % wrong does not. */
#include "autograd/base/bfloat16.h"
#include "autograd/base/random.h"
#include "autograd/ops.h"
#include "autograd/params.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double bound = 0.008;

enum { INPUTS = 4, LARGEST = 1 << 16 };

typedef mla_tensor *(*build)(mla_tape *tape, mla_tensor *const *in);

typedef struct {
    int ndim; /* 0: no such input */
    int64_t shape[MLA_MAX_DIMS];
    bool is_f32; /* in both runs: gains, residual streams */
} op_input;

typedef struct {
    const char *name;
    build build;
    op_input in[INPUTS];
} op_case;

typedef struct {
    float result[LARGEST], gradient[INPUTS][LARGEST];
    int64_t count, counts[INPUTS];
} outcome;

static float rounded(float x) { return mla_bf16_to_float(mla_bf16_from_float(x)); }

/* Values of this input, all of them bf16 numbers. */
static void fill(const char *name, int64_t count, float *out) {
    mla_random_normal(mla_random_stream(7, name, 0, 0, 0), 0, count, out);
    for (int64_t i = 0; i < count; i++) out[i] = rounded(out[i]);
}

static void widen(const mla_tensor *x, const void *data, float *out) {
    for (int64_t i = 0; i < mla_count(x); i++)
        out[i] = x->dtype == MLA_BF16 ? mla_bf16_to_float(((const mla_bf16 *)data)[i]) : ((const float *)data)[i];
}

static mla_tensor *input(mla_tape *tape, const op_case *c, int i, mla_dtype type, float *values, mla_bf16 *narrow) {
    char name[2] = {(char)('a' + i), 0};
    const mla_dtype own = c->in[i].is_f32 ? MLA_F32 : type;
    const int64_t count = mla_shape_count(c->in[i].ndim, c->in[i].shape);
    fill(name, count, values);
    for (int64_t k = 0; k < count; k++) narrow[k] = mla_bf16_from_float(values[k]);
    mla_tensor *x = mla_input(tape, own, c->in[i].ndim, c->in[i].shape, own == MLA_BF16 ? (void *)narrow : values);
    x->needs_grad = true;
    return x;
}

/* Runs the op in a step of the given precision; the loss weighs its results with random bf16 numbers. */
static void run(mla_context *context, const op_case *c, mla_dtype type, outcome *o) {
    static float values[INPUTS][LARGEST], weights[LARGEST], zeros[LARGEST];
    static mla_bf16 narrow[INPUTS][LARGEST];
    mla_tensor *in[INPUTS] = {0};
    mla_tape *tape;
    check_ok(context, mla_tape_create(context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){.seed = 3, .training = true, .precision = type});
    for (int i = 0; i < INPUTS && c->in[i].ndim; i++) in[i] = input(tape, c, i, type, values[i], narrow[i]);
    mla_tensor *y = c->build(tape, in);
    check_ok(context, mla_error_status(context));
    widen(y, y->data, o->result);
    o->count = mla_count(y);
    fill("weights", o->count, weights);
    mla_tensor *wide = mla_residual_add(tape, mla_input(tape, MLA_F32, y->ndim, y->shape, zeros), y, 0);
    mla_tensor *loss = mla_sum(tape, mla_mul(tape, wide, mla_input(tape, MLA_F32, y->ndim, y->shape, weights)));
    check_ok(context, mla_backward(tape, loss));
    for (int i = 0; i < INPUTS && in[i]; i++) {
        assert_true(in[i]->has_grad);
        o->counts[i] = mla_count(in[i]);
        widen(in[i], in[i]->grad, o->gradient[i]);
    }
    mla_tape_destroy(tape);
}

/* The largest relative error of the result and the gradients, those of bf16 multiplied by `factor`. */
static double difference(const outcome *f32, outcome *bf16, float factor) {
    double worst = 0;
    for (int k = -1; k < INPUTS; k++) {
        float *x = k < 0 ? bf16->result : bf16->gradient[k];
        const float *reference = k < 0 ? f32->result : f32->gradient[k];
        const int64_t count = k < 0 ? f32->count : f32->counts[k];
        for (int64_t i = 0; i < count; i++) x[i] *= factor;
        if (count) worst = fmax(worst, relative_error(count, x, reference));
        for (int64_t i = 0; i < count; i++) x[i] /= factor;
    }
    return worst;
}

static mla_tensor *linear(mla_tape *t, mla_tensor *const *in) { return mla_linear(t, in[0], in[1], in[2]); }
static mla_tensor *rmsnorm(mla_tape *t, mla_tensor *const *in) {
    return mla_rmsnorm(t, in[0], in[1], 1e-6f, in[0]->dtype);
}
static mla_tensor *norm_of_stream(mla_tape *t, mla_tensor *const *in) {
    return mla_rmsnorm(t, in[0], in[1], 1e-6f, mla_tape_step(t)->precision);
}
static mla_tensor *layernorm(mla_tape *t, mla_tensor *const *in) {
    return mla_layernorm(t, in[0], in[1], in[2], 1e-5f, in[0]->dtype);
}
static mla_tensor *swiglu(mla_tape *t, mla_tensor *const *in) { return mla_swiglu(t, in[0], in[1]); }
static mla_tensor *mul(mla_tape *t, mla_tensor *const *in) { return mla_mul(t, in[0], in[1]); }
static mla_tensor *relu(mla_tape *t, mla_tensor *const *in) { return mla_relu(t, in[0]); }
static mla_tensor *gelu(mla_tape *t, mla_tensor *const *in) { return mla_gelu(t, in[0]); }
static mla_tensor *slice(mla_tape *t, mla_tensor *const *in) { return mla_slice(t, in[0], 1, 3, 20); }
static mla_tensor *dropout(mla_tape *t, mla_tensor *const *in) { return mla_dropout(t, in[0], 0.25f); }
static mla_tensor *residual(mla_tape *t, mla_tensor *const *in) { return mla_residual_add(t, in[0], in[1], 0); }
static mla_tensor *residual_drop(mla_tape *t, mla_tensor *const *in) {
    return mla_residual_add(t, in[0], in[1], 0.25f);
}
static mla_tensor *twice(mla_tape *t, mla_tensor *const *in) { return mla_swiglu(t, in[0], mla_mul(t, in[0], in[0])); }

static mla_tensor *rope(mla_tape *t, mla_tensor *const *in) {
    static float cosine[32], sine[32];
    for (int i = 0; i < 32; i++) cosine[i] = cosf((float)i), sine[i] = sinf((float)i);
    return mla_rope(t, in[0],
                    &(mla_rope_table){.positions = 8, .rotary = 8, .cosine = cosine, .sine = sine, .interleaved = true},
                    0);
}

static mla_tensor *attention(mla_tape *t, mla_tensor *const *in) {
    return mla_attention(t, in[0], in[1], in[2], &(mla_attention_options){.mask.causal = true});
}

static mla_tensor *latent(mla_tape *t, mla_tensor *const *in) {
    return mla_latent_attention(t, in[0], in[1], in[2], in[3], 2,
                                &(mla_attention_options){.mask.causal = true, .scale = 0.1f});
}

/* Documents of 60 positions. */
static const int32_t *starts(void) {
    static int32_t all[2 * 200];
    for (int i = 0; i < 400; i++) all[i] = i % 200 - i % 200 % 60;
    return all;
}

static mla_tensor *attention_apart(mla_tape *t, mla_tensor *const *in) {
    return mla_attention(t, in[0], in[1], in[2],
                         &(mla_attention_options){.mask.causal = true, .mask.starts = starts()});
}

static mla_tensor *latent_apart(mla_tape *t, mla_tensor *const *in) {
    return mla_latent_attention(t, in[0], in[1], in[2], in[3], 2,
                                &(mla_attention_options){.mask.causal = true, .scale = 0.1f, .mask.starts = starts()});
}

static mla_tensor *concat(mla_tape *t, mla_tensor *const *in) { return mla_concat(t, in[0], in[1], 1); }
static mla_tensor *lora(mla_tape *t, mla_tensor *const *in) { return mla_lora(t, in[0], in[1], in[2], in[3], 0.5f); }
static mla_tensor *lora_weight(mla_tape *t, mla_tensor *const *in) {
    return mla_lora_weight(t, in[0], in[0], in[1], in[2], NULL, NULL,
                           &(mla_lora_weight_options){0.5f, 1, mla_tape_step(t)->precision});
}
static mla_tensor *dora(mla_tape *t, mla_tensor *const *in) {
    static float norm[40];
    for (int i = 0; i < 40; i++) norm[i] = 0.5f + (float)(i % 7);
    return mla_dora(t, in[0], in[1], mla_input(t, MLA_F32, 1, (int64_t[]){40}, norm), in[2]);
}

#define IN(ndim, ...) \
    { ndim, {__VA_ARGS__}, false }
#define IN_F32(ndim, ...) \
    { ndim, {__VA_ARGS__}, true }
static const op_case cases[] = {
    {"rmsnorm", rmsnorm, {IN(2, 30, 70), IN_F32(1, 70)}},
    {"rmsnorm of f32", norm_of_stream, {IN_F32(2, 30, 70), IN_F32(1, 70)}},
    {"layernorm", layernorm, {IN(2, 30, 70), IN_F32(1, 70), IN_F32(1, 70)}},
    {"swiglu", swiglu, {IN(2, 60, 50), IN(2, 60, 50)}},
    {"mul", mul, {IN(2, 60, 50), IN(2, 60, 50)}},
    {"relu", relu, {IN(2, 60, 50)}},
    {"gelu", gelu, {IN(2, 60, 50)}},
    {"slice", slice, {IN(2, 60, 50)}},
    {"dropout", dropout, {IN(2, 60, 50)}},
    {"residual_add", residual, {IN_F32(2, 60, 50), IN(2, 60, 50)}},
    {"residual_add, dropping", residual_drop, {IN_F32(2, 60, 50), IN(2, 60, 50)}},
    {"swiglu of one input thrice", twice, {IN(2, 60, 50)}},
    {"rope", rope, {IN(4, 2, 7, 3, 12)}},
    {"concat", concat, {IN(2, 60, 50), IN(2, 60, 20)}},
    {"lora", lora, {IN(2, 90, 40), IN(2, 90, 64), IN(2, 6, 64), IN(2, 40, 6)}},
    {"lora of f32", lora, {IN(2, 90, 40), IN_F32(2, 90, 64), IN(2, 6, 64), IN(2, 40, 6)}},
    {"lora_weight", lora_weight, {IN_F32(2, 40, 64), IN_F32(2, 6, 64), IN_F32(2, 40, 6)}},
    {"dora", dora, {IN(2, 50, 40), IN_F32(1, 40), IN_F32(1, 40)}},
    {"linear", linear, {IN(2, 50, 64), IN(2, 40, 64), IN_F32(1, 40)}},
    {"linear of f32", linear, {IN_F32(2, 50, 64), IN(2, 40, 64), IN_F32(1, 40)}},
    {"attention", attention, {IN(4, 2, 150, 4, 16), IN(4, 2, 150, 2, 16), IN(4, 2, 150, 2, 24)}},
    {"attention in documents", attention_apart, {IN(4, 1, 200, 4, 16), IN(4, 1, 200, 2, 16), IN(4, 1, 200, 2, 24)}},
    {"latent attention in documents",
     latent_apart,
     {IN(4, 1, 200, 2, 24), IN(3, 1, 200, 20), IN(3, 1, 200, 8), IN(2, 2 * 32, 20)}},
    {"lora by products", lora, {IN(2, 50, 40), IN(2, 50, 64), IN(2, 6, 64), IN(2, 40, 6)}},
    {"lora by products, of f32", lora, {IN(2, 50, 40), IN_F32(2, 50, 64), IN(2, 6, 64), IN(2, 40, 6)}},
    {"latent attention", latent, {IN(4, 1, 200, 2, 24), IN(3, 1, 200, 20), IN(3, 1, 200, 8), IN(2, 2 * 32, 20)}},
};

static void bf16_is_f32_but_for_rounding(void **state) {
    mla_context *context = *state;
    outcome *f32 = calloc(1, sizeof *f32), *bf16 = calloc(1, sizeof *bf16);
    for (const op_case *c = cases; c < cases + sizeof cases / sizeof *cases; c++) {
        memset(f32, 0, sizeof *f32);
        memset(bf16, 0, sizeof *bf16);
        run(context, c, MLA_F32, f32);
        run(context, c, MLA_BF16, bf16);
        const double error = difference(f32, bf16, 1), wrong = difference(f32, bf16, 1.02f);
        if (!(error < bound) || !(wrong > bound))
            fail_msg("%s: error %g, with a wrong scale %g", c->name, error, wrong);
    }
    free(f32);
    free(bf16);
}

/* The loss and its gradients, whose products use the parameter's bf16 copy. */
static void loss_is_f32_but_for_rounding(void **state) {
    mla_context *context = *state;
    enum { ROWS = 1100, D = 32, V = 90 }; /* more rows than a chunk has */
    static float x[ROWS * D], dx[2][ROWS * D], dw[2][V * D], loss[2];
    static int32_t targets[ROWS];
    mla_params *params;
    mla_tape *tape;
    check_ok(context, mla_params_create(context, &params));
    mla_tensor *w = mla_params_add(params, &(mla_param_spec){.name = "w", .ndim = 2, .shape = {V, D}});
    check_ok(context, mla_params_allocate(params, true));
    fill("x", ROWS * D, x);
    fill("w", V * D, w->data);
    mla_params_changed(params);
    for (int i = 0; i < ROWS; i++) targets[i] = i % 11 ? i % V : -1;
    check_ok(context, mla_tape_create(context, &tape, NULL));
    for (int k = 0; k < 2; k++) { /* f32, then bf16 */
        mla_params_clear_gradients(params);
        if (k) check_ok(context, mla_params_refresh_bf16(params));
        mla_tape_begin(tape, &(mla_step){.training = true, .precision = k ? MLA_BF16 : MLA_F32});
        mla_tensor *in = mla_input_with_gradient(tape, 2, (int64_t[]){ROWS, D}, x);
        mla_tensor *result = mla_output_loss(tape, in, w, mla_input(tape, MLA_I32, 1, (int64_t[]){ROWS}, targets),
                                             &(mla_output_loss_options){.scale = 1.0f / ROWS});
        check_ok(context, mla_backward(tape, result));
        loss[k] = *(float *)result->data;
        memcpy(dx[k], in->grad, sizeof *dx);
        memcpy(dw[k], w->grad, sizeof *dw);
    }
    check_close((double)loss[1], (double)loss[0], 1e-4);
    assert_true(relative_error(ROWS * D, dx[1], dx[0]) < bound);
    assert_true(relative_error(V * D, dw[1], dw[0]) < bound);
    mla_tape_destroy(tape);
    mla_params_destroy(params);
}

static void a_parameter_without_copy_is_named(void **state) {
    mla_context *context = *state;
    static float x[4];
    mla_params *params;
    mla_tape *tape;
    check_ok(context, mla_params_create(context, &params));
    mla_tensor *w = mla_params_add(params, &(mla_param_spec){.name = "q_proj.weight", .ndim = 2, .shape = {2, 2}});
    check_ok(context, mla_params_allocate(params, false));
    check_ok(context, mla_tape_create(context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){.precision = MLA_BF16});
    mla_linear(tape, mla_input(tape, MLA_F32, 2, (int64_t[]){2, 2}, x), w, NULL);
    check_error(context, mla_error_status(context), MLA_ERROR_ARGUMENT, "q_proj.weight has no bf16 copy");
    mla_tape_destroy(tape);
    mla_params_destroy(params);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bf16_is_f32_but_for_rounding),
                                       cmocka_unit_test(loss_is_f32_but_for_rounding),
                                       cmocka_unit_test(a_parameter_without_copy_is_named)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
