#include "tests/support/gradcheck.h"

#include "autograd/base/random.h"
#include "autograd/params.h"
#include "autograd/tape_state.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIRECTIONS = 4, ALL_INPUTS = (1 << GRADCHECK_INPUTS) - 1 };
static const double rounding = 4e-6; /* how far two ways to the same gradient may lie apart, of its largest element */

typedef struct {
    mla_context *context;
    const gradcheck *check;
    mla_tape *tape;
    int inputs;
    int64_t count[GRADCHECK_INPUTS];
    float *x[GRADCHECK_INPUTS], *g[GRADCHECK_INPUTS], *direction;
    const char *op; /* that is checked */
    char *why;
} run;

static bool fails(run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool fails(run *r, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(r->why, GRADCHECK_WORDS, format, args);
    va_end(args);
    return false;
}

/* ---- what has been checked ---- */

enum { MOST_OPS = 128 };
static const char *seen[MOST_OPS];
static int seen_count;

bool gradcheck_has_seen(const char *op) {
    for (int i = 0; i < seen_count; i++)
        if (!strcmp(seen[i], op)) return true;
    return false;
}

void gradcheck_note(const char *op) {
    if (!op || gradcheck_has_seen(op)) return;
    assert_true(seen_count < MOST_OPS);
    seen[seen_count++] = op;
}

const char *gradcheck_op_of(const mla_tape *tape, const mla_tensor *y) {
    const mla_node *last = tape->node_count ? tape->nodes[tape->node_count - 1] : NULL;
    return last && last->out == y ? last->op->name : NULL;
}

/* ---- the loss: a weighted sum of all elements of some tensors ---- */

static float weight_of(int tensor, int64_t i) {
    uint32_t bits[4];
    mla_random_bits(mla_random_stream(2, "weights", (uint64_t)tensor, 0, 0), (uint64_t)i, bits);
    return (float)((int32_t)(bits[0] >> 20) - 2048) * 0x1p-10f;
}

static double weighted_sum(const mla_tensor *x, int tensor) {
    double sum = 0;
    for (int64_t i = 0; i < mla_count(x); i++) sum += (double)weight_of(tensor, i) * (double)((float *)x->data)[i];
    return sum;
}

static void weigh_forward(const mla_node *n) {
    double sum = 0;
    for (int k = 0; k < n->inputs; k++) sum += weighted_sum(n->in[k], k);
    *(float *)n->out->data = (float)sum;
}

static void weigh_backward(const mla_node *n) {
    for (int k = 0; k < n->inputs; k++) {
        float *dx = n->grad[k];
        for (int64_t i = 0; n->mode[k] && i < mla_count(n->in[k]); i++)
            dx[i] = (n->mode[k] == MLA_ADD ? dx[i] : 0) + weight_of(k, i);
    }
}

static const mla_op weigh = {.name = "weigh", .forward = weigh_forward, .backward = weigh_backward};

static mla_tensor *weighted(mla_tape *tape, int inputs, mla_tensor *const *in) {
    mla_node *n = mla_op_begin_f32(tape, &weigh, inputs, in);
    return n ? mla_op_finish(n, MLA_F32, 1, (const int64_t[]){1}) : mla_inert(tape);
}

/* ---- running the graph ---- */

static const mla_step step = {.seed = 5, .step = 3, .first_sample = 2, .training = true};

/* Makes the inputs of which `mask` names those that want a gradient. */
static void make_inputs(run *r, int mask, mla_tensor **in) {
    for (int i = 0; i < r->inputs; i++) {
        const gradcheck_input *spec = &r->check->in[i];
        in[i] = mask >> i & 1 ? mla_input_with_gradient(r->tape, spec->ndim, spec->shape, r->x[i])
                              : mla_input(r->tape, MLA_F32, spec->ndim, spec->shape, r->x[i]);
    }
}

static double value(run *r) {
    mla_tensor *in[GRADCHECK_INPUTS];
    mla_tape_begin(r->tape, &step);
    make_inputs(r, 0, in);
    const mla_tensor *y = r->check->build(r->tape, in, r->check->user);
    return mla_error_status(r->context) ? (double)NAN : weighted_sum(y, 0);
}

/* Builds and walks back; with `twice` the loss also weighs the inputs themselves, so that their gradients are
 * there already when the checked op adds its own. */
static bool differentiate(run *r, mla_tensor *const *in, bool twice) {
    mla_tensor *terms[1 + GRADCHECK_INPUTS];
    terms[0] = r->check->build(r->tape, in, r->check->user);
    r->op = gradcheck_op_of(r->tape, terms[0]);
    memcpy(terms + 1, in, (size_t)r->inputs * sizeof *in);
    if (mla_backward(r->tape, weighted(r->tape, twice ? 1 + r->inputs : 1, terms)) == MLA_OK) return true;
    return fails(r, "%s", mla_error(r->context));
}

/* ---- the checks ---- */

static bool keep_gradients(run *r) {
    mla_tensor *in[GRADCHECK_INPUTS];
    mla_tape_begin(r->tape, &step);
    make_inputs(r, ALL_INPUTS, in);
    if (!differentiate(r, in, false)) return false;
    for (int i = 0; i < r->inputs; i++) {
        if (!in[i]->has_grad) return fails(r, "input %d got no gradient", i);
        memcpy(r->g[i], in[i]->grad, (size_t)r->count[i] * sizeof(float));
    }
    return true;
}

/* The derivative of L by t at x + t d: (8 (L(h) - L(-h)) - (L(2h) - L(-2h))) / 12 h */
static double derivative(run *r, int input, float h) {
    static const double factor[] = {1, -8, 8, -1};
    static const float at[] = {-2, -1, 1, 2};
    float *x = r->x[input], *kept = r->direction + r->count[input];
    double sum = 0;
    memcpy(kept, x, (size_t)r->count[input] * sizeof *x);
    for (int k = 0; k < 4; k++) {
        for (int64_t j = 0; j < r->count[input]; j++) x[j] = kept[j] + at[k] * h * r->direction[j];
        sum += factor[k] * value(r);
    }
    memcpy(x, kept, (size_t)r->count[input] * sizeof *x);
    return sum / (12 * (double)h);
}

/* Elements of a direction: -1.75 to 1.75 in steps of 1/16, of variance about 1. */
static void choose_direction(run *r, int input, int number) {
    const mla_stream stream = mla_random_stream(3, "directions", (uint64_t)input, (uint64_t)number, 0);
    mla_random_uniform(stream, 0, r->count[input], r->direction);
    for (int64_t j = 0; j < r->count[input]; j++) r->direction[j] = roundf(28 * (2 * r->direction[j] - 1)) * 0x1p-4f;
}

static bool matches_differences(run *r, int input, int number) {
    const double tolerance = r->check->tolerance > 0 ? r->check->tolerance : 1e-4;
    double analytic = 0, norm = 0;
    choose_direction(r, input, number);
    for (int64_t j = 0; j < r->count[input]; j++) {
        const double g = (double)r->g[input][j];
        analytic += g * (double)r->direction[j];
        norm += g * g;
    }
    const double numeric = derivative(r, input, r->check->step > 0 ? r->check->step : 0x1p-5f);
    if (mla_error_status(r->context)) return fails(r, "%s", mla_error(r->context));
    if (fabs(numeric - analytic) <= tolerance * sqrt(norm) && isfinite(numeric) && isfinite(analytic)) return true;
    return fails(r,
                 "input %d, direction %d: the derivative is %.9g by differences, %.9g by the gradient (of norm %.3g)",
                 input, number, numeric, analytic, sqrt(norm));
}

static bool same_gradient(run *r, const char *how, int input, const mla_tensor *x, double times, double weights) {
    const float *got = x->grad, *g = r->g[input];
    double largest = 0;
    if (!x->has_grad) return fails(r, "%s: input %d got no gradient", how, input);
    for (int64_t j = 0; j < r->count[input]; j++) largest = fmax(largest, fabs((double)g[j]) + 2 * weights);
    for (int64_t j = 0; j < r->count[input]; j++) {
        const double expected = times * (double)g[j] + weights * (double)weight_of(input + 1, j);
        if (fabs((double)got[j] - expected) <= rounding * largest) continue;
        return fails(r, "%s: gradient %lld of input %d is %.9g, not %.9g", how, (long long)j, input, (double)got[j],
                     expected);
    }
    return true;
}

/* SKIP: some inputs want no gradient; the others get the same as ever. */
static bool skips(run *r, int mask) {
    mla_tensor *in[GRADCHECK_INPUTS];
    mla_tape_begin(r->tape, &step);
    make_inputs(r, mask, in);
    if (!differentiate(r, in, false)) return false;
    for (int i = 0; i < r->inputs; i++)
        if (mask >> i & 1 && !same_gradient(r, "with other inputs fixed", i, in[i], 1, 0)) return false;
    return true;
}

static bool adds(run *r) {
    mla_tensor *in[GRADCHECK_INPUTS];
    mla_tape_begin(r->tape, &step);
    make_inputs(r, ALL_INPUTS, in);
    if (!differentiate(r, in, true)) return false;
    for (int i = 0; i < r->inputs; i++)
        if (!same_gradient(r, "used elsewhere too", i, in[i], 1, 1)) return false;
    return true;
}

static bool fill_registry(run *r, mla_params *params, mla_tensor **in) {
    for (int i = 0; i < r->inputs; i++) {
        mla_param_spec spec = {.name = (const char *[]){"in0", "in1", "in2", "in3"}[i], .ndim = r->check->in[i].ndim};
        memcpy(spec.shape, r->check->in[i].shape, sizeof spec.shape);
        if (!(in[i] = mla_params_add(params, &spec))) return false;
    }
    if (mla_params_allocate(params, true)) return false;
    for (int i = 0; i < r->inputs; i++) memcpy(in[i]->data, r->x[i], (size_t)r->count[i] * sizeof(float));
    return true;
}

/* Two backward passes over parameters give the sum of their gradients. */
static bool accumulates(run *r) {
    mla_tensor *in[GRADCHECK_INPUTS];
    mla_params *params = NULL;
    bool right = !mla_params_create(r->context, &params) && fill_registry(r, params, in);
    if (!right) fails(r, "%s", mla_error(r->context));
    for (int pass = 1; pass <= 2 && right; pass++) {
        mla_tape_begin(r->tape, &step);
        right = differentiate(r, in, false);
        for (int i = 0; i < r->inputs && right; i++)
            right = same_gradient(r, pass == 1 ? "as a parameter" : "a second time", i, in[i], pass, 0);
    }
    mla_tape_begin(r->tape, &step);
    mla_params_destroy(params);
    return right;
}

static bool is_right(run *r) {
    if (!keep_gradients(r)) return false;
    for (int i = 0; i < r->inputs; i++)
        for (int d = 0; d < DIRECTIONS; d++)
            if (!matches_differences(r, i, d)) return false;
    for (int mask = 1; mask < 1 << r->inputs; mask++)
        if (!skips(r, mask)) return false;
    return adds(r) && accumulates(r);
}

/* ---- set-up ---- */

/* Multiples of 2^-12 between low and high, none within the hole around 0. */
static void choose_values(const gradcheck_input *spec, int input, int64_t count, float *x) {
    const bool given = spec->low != 0 || spec->high != 0;
    const float low = given ? spec->low : -1, high = given ? spec->high : 1;
    mla_random_uniform(mla_random_stream(1, "values", (uint64_t)input, 0, 0), 0, count, x);
    for (int64_t j = 0; j < count; j++) {
        const float value = roundf((low + (high - low) * x[j]) * 0x1p12f) * 0x1p-12f;
        x[j] = fabsf(value) >= spec->hole ? value : value < 0 ? value - spec->hole : value + spec->hole;
    }
}

static bool set_up(run *r) {
    int64_t largest = 0;
    while (r->inputs < GRADCHECK_INPUTS && r->check->in[r->inputs].ndim) r->inputs++;
    for (int i = 0; i < r->inputs; i++) {
        r->count[i] = mla_shape_count(r->check->in[i].ndim, r->check->in[i].shape);
        if (r->count[i] > largest) largest = r->count[i];
        r->x[i] = mla_alloc(r->context, r->count[i], sizeof(float), "an input");
        r->g[i] = mla_alloc(r->context, r->count[i], sizeof(float), "a gradient");
        if (!r->x[i] || !r->g[i]) return false;
        choose_values(&r->check->in[i], i, r->count[i], r->x[i]);
    }
    r->direction = mla_alloc(r->context, 2 * largest, sizeof(float), "a direction");
    return r->direction && !mla_tape_create(r->context, &r->tape, NULL);
}

bool gradients_are_right(mla_context *context, const gradcheck *check, char why[GRADCHECK_WORDS]) {
    run r = {.context = context, .check = check, .why = why};
    const bool right = set_up(&r) ? is_right(&r) : fails(&r, "%s", mla_error(context));
    if (right) gradcheck_note(r.op);
    mla_clear_error(context);
    mla_tape_destroy(r.tape);
    for (int i = 0; i < r.inputs; i++) {
        free(r.x[i]);
        free(r.g[i]);
    }
    free(r.direction);
    return right;
}

void check_gradients_at(mla_context *context, const gradcheck *check, const char *file, int line) {
    char why[GRADCHECK_WORDS] = "";
    if (gradients_are_right(context, check, why)) return;
    print_error("%s\n", why);
    _fail(file, line);
}
