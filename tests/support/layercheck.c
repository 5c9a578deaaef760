#include "tests/support/layercheck.h"

#include "autograd/base/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIRECTIONS = 3 };
static const mla_step step = {.seed = 5, .step = 3, .first_sample = 2, .training = true};
/* The same without a record: a loss that computes its gradients on the way must not touch those that are there. */
static const mla_step value_step = {.seed = 5, .step = 3, .first_sample = 2, .training = true, .inference = true};

typedef struct {
    mla_context *context;
    const layercheck *check;
    mla_tape *tape;
    float *weights, *kept, *direction;
    double norm;    /* of all gradients */
    const char *op; /* the layer's last one */
    char *why;
} run;

static float on_grid(float x) { return roundf(x * 0x1p12f) * 0x1p-12f; }

void fill_values(float *out, int64_t count, const char *name, float scale) {
    mla_random_uniform(mla_random_stream(4, name, 0, 0, 0), 0, count, out);
    for (int64_t i = 0; i < count; i++) out[i] = on_grid(scale * (2 * out[i] - 1));
}

void fill_layer(mla_params *params, float scale) {
    for (int64_t i = 0; i < mla_params_count(params); i++) {
        const mla_param *p = mla_params_at(params, i);
        float *value = p->tensor.data;
        fill_values(value, p->count, p->spec.name, scale);
        for (int64_t j = 0; p->spec.init == MLA_INIT_ONE && j < p->count; j++) value[j] += 1;
    }
    mla_params_changed(params);
}

static bool fails(run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool fails(run *r, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(r->why, GRADCHECK_WORDS, format, args);
    va_end(args);
    return false;
}

/* Begins a step and applies the layer; weights are made for the first result. NULL after an error. */
static mla_tensor *apply(run *r, const mla_step *how) {
    mla_tape_begin(r->tape, how);
    mla_tensor *y = r->check->apply(r->tape, r->check->user);
    if (mla_error_status(r->context)) return NULL;
    const int64_t count = mla_count(y);
    if (r->weights) return y;
    if (!(r->weights = mla_alloc(r->context, count, sizeof(float), "weights"))) return NULL;
    fill_values(r->weights, count, "weights", 2);
    if (count == 1) r->weights[0] = 1;
    return y;
}

/* The loss: y itself where it is one element (it may insist on being the last op). */
static mla_tensor *weighted(run *r, mla_tensor *y) {
    if (mla_count(y) == 1) return y;
    return mla_sum(r->tape, mla_mul(r->tape, y, mla_input(r->tape, MLA_F32, y->ndim, y->shape, r->weights)));
}

static bool differentiate(run *r) {
    mla_params_clear_gradients(r->check->params);
    mla_tensor *y = apply(r, &step);
    r->op = gradcheck_op_of(r->tape, y);
    if (!y || mla_backward(r->tape, weighted(r, y))) return fails(r, "%s", mla_error(r->context));
    double sum = 0;
    for (int64_t i = 0; i < mla_params_count(r->check->params); i++) {
        const mla_param *p = mla_params_at(r->check->params, i);
        if (p->spec.frozen && !p->tensor.has_grad) continue;
        if (p->spec.frozen || !p->tensor.has_grad)
            return fails(r, "%s got %s gradient", p->spec.name, p->spec.frozen ? "a" : "no");
        for (int64_t j = 0; j < p->count; j++) sum += pow((double)((float *)p->tensor.grad)[j], 2);
    }
    r->norm = sqrt(sum);
    return true;
}

static double value(run *r) {
    const mla_tensor *y = apply(r, &value_step);
    double sum = y ? 0 : (double)NAN;
    for (int64_t i = 0; y && i < mla_count(y); i++) sum += (double)r->weights[i] * (double)((float *)y->data)[i];
    return sum;
}

/* The derivative of L by t at p + t d: (8 (L(h) - L(-h)) - (L(2h) - L(-2h))) / 12 h */
static double derivative(run *r, const mla_param *p, float h) {
    static const double factor[] = {1, -8, 8, -1};
    static const float at[] = {-2, -1, 1, 2};
    float *x = p->tensor.data;
    double sum = 0;
    memcpy(r->kept, x, (size_t)p->count * sizeof *x);
    for (int k = 0; k < 4; k++) {
        for (int64_t j = 0; j < p->count; j++) x[j] = r->kept[j] + at[k] * h * r->direction[j];
        sum += factor[k] * value(r);
    }
    memcpy(x, r->kept, (size_t)p->count * sizeof *x);
    return sum / (12 * (double)h);
}

/* Elements of a direction: -1.75 to 1.75 in steps of 1/16, of variance about 1. */
static void choose_direction(run *r, const mla_param *p, int number) {
    const mla_stream stream = mla_random_stream(3, p->spec.name, (uint64_t)number, 0, 0);
    mla_random_uniform(stream, 0, p->count, r->direction);
    for (int64_t j = 0; j < p->count; j++) r->direction[j] = roundf(28 * (2 * r->direction[j] - 1)) * 0x1p-4f;
}

static bool matches_differences(run *r, const mla_param *p, int number) {
    const double tolerance = r->check->tolerance > 0 ? r->check->tolerance : 5e-4;
    double analytic = 0, squares = 0;
    choose_direction(r, p, number);
    for (int64_t j = 0; j < p->count; j++) {
        const double g = (double)((float *)p->tensor.grad)[j];
        analytic += g * (double)r->direction[j];
        squares += g * g;
    }
    const double numeric = derivative(r, p, r->check->step > 0 ? r->check->step : 0x1p-8f);
    const double allowed = tolerance * fmax(sqrt(squares), r->norm / 20);
    if (mla_error_status(r->context)) return fails(r, "%s", mla_error(r->context));
    if (fabs(numeric - analytic) <= allowed && isfinite(numeric) && isfinite(analytic)) return true;
    return fails(r, "%s, direction %d: the derivative is %.9g by differences, %.9g by the gradient (of norm %.3g)",
                 p->spec.name, number, numeric, analytic, sqrt(squares));
}

static bool set_up(run *r) {
    const int64_t length = mla_params_values_length(r->check->params);
    r->kept = mla_alloc(r->context, length, sizeof(float), "a copy");
    r->direction = mla_alloc(r->context, length, sizeof(float), "a direction");
    return r->kept && r->direction && !mla_tape_create(r->context, &r->tape, NULL);
}

static bool is_right(run *r) {
    if (!set_up(r)) return fails(r, "%s", mla_error(r->context));
    if (!differentiate(r)) return false;
    for (int64_t i = 0; i < mla_params_count(r->check->params); i++)
        for (int d = 0; d < DIRECTIONS && !mla_params_at(r->check->params, i)->spec.frozen; d++)
            if (!matches_differences(r, mla_params_at(r->check->params, i), d)) return false;
    return true;
}

bool layer_is_right(mla_context *context, const layercheck *check, char why[GRADCHECK_WORDS]) {
    run r = {.context = context, .check = check, .why = why};
    const bool right = is_right(&r);
    if (right) gradcheck_note(r.op);
    mla_clear_error(context);
    mla_tape_destroy(r.tape);
    free(r.weights);
    free(r.kept);
    free(r.direction);
    return right;
}
