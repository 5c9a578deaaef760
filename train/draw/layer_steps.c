#include "train/draw/layer_steps.h"
#include "autograd/base/bfloat16.h"
#include "autograd/base/clock.h"
#include "autograd/base/random.h"
#include "train/run/machine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS = 5 };

/* ---- passes */

/* What passes leave of a step. */
typedef struct {
    double seconds[2][RUNS]; /* f32, bf16 */
    float *values;           /* of what it gave, in f32; NULL where nothing is measured */
} trace;

typedef struct {
    mla_context *context;
    int64_t layer, tokens;
    mla_layer_steps *out;
    trace traces[MLA_ATTENTION_STEPS];
    int run; /* of the passes of one precision */
    mla_dtype precision;
    double begun;  /* the clock after the step before */
    mla_cost cost; /* of the pass, up to there */
} flow;

static float value_at(const mla_tensor *x, int64_t i) {
    return x->dtype == MLA_BF16 ? mla_bf16_to_float(((const mla_bf16 *)x->data)[i]) : ((const float *)x->data)[i];
}

static void keep_values(flow *f, trace *t, const mla_tensor *x) {
    if (!t->values) t->values = mla_alloc(f->context, mla_count(x), sizeof *t->values, "a step of attention");
    for (int64_t i = 0; t->values && i < mla_count(x); i++) t->values[i] = value_at(x, i);
}

/* Of x, relative to the size of the values kept. */
static double error_of(const trace *t, const mla_tensor *x) {
    double of_error = 0, of_values = 0;
    for (int64_t i = 0; t->values && i < mla_count(x); i++) {
        const double exact = (double)t->values[i], error = (double)value_at(x, i) - exact;
        of_error += error * error;
        of_values += exact * exact;
    }
    return sqrt(of_error / of_values);
}

static void note_sizes(flow *f, mla_layer_step *s, const mla_attention_sight *sight, mla_cost cost) {
    *s = (mla_layer_step){.seen = true,
                          .ndim = sight->first->ndim,
                          .second_width = sight->second ? mla_width(sight->second) : 0,
                          .flops = cost.forward_flops - f->cost.forward_flops,
                          .bytes = cost.forward_bytes - f->cost.forward_bytes,
                          .seconds = {NAN, NAN},
                          .error = NAN};
    memcpy(s->shape, sight->first->shape, sizeof s->shape);
}

static void see(void *user, mla_tape *tape, const mla_attention_sight *sight) {
    flow *f = user;
    mla_layer_step *s = &f->out->of[sight->step];
    trace *t = &f->traces[sight->step];
    const double now = mla_seconds();
    const bool rounded = f->precision == MLA_BF16;
    if (sight->layer != f->layer) return;
    if (!sight->first->data) note_sizes(f, s, sight, mla_tape_cost(tape));
    else if (rounded) s->error = error_of(t, sight->first);
    else keep_values(f, t, sight->first);
    t->seconds[rounded][f->run] = now - f->begun;
    f->cost = mla_tape_cost(tape);
    f->begun = mla_seconds();
}

static mla_status pass(flow *f, const mla_decoder *model, mla_tape *tape, const int32_t *ids) {
    const mla_onlooker onlooker = {see, f};
    const mla_pass looked_at = {.onlooker = &onlooker};
    mla_tape_begin(tape, &(mla_step){.inference = true, .precision = f->precision});
    f->cost = (mla_cost){0};
    mla_decoder_hidden(tape, model, mla_input(tape, MLA_I32, 2, (int64_t[]){1, f->tokens}, ids), &looked_at);
    return mla_error_status(f->context);
}

/* Sizes and costs. */
static mla_status pass_on_shapes(flow *f, const mla_model_config *config) {
    mla_decoder *model = NULL;
    mla_tape *tape = NULL;
    mla_status status = mla_decoder_create(f->context, &model, config);
    if (!status) status = mla_tape_create(f->context, &tape, &(mla_tape_options){.shapes_only = true});
    if (!status) mla_params_lay_out(model->params);
    if (!status) status = pass(f, model, tape, NULL);
    mla_tape_destroy(tape);
    mla_decoder_destroy(model);
    return status;
}

static mla_status measure_model(flow *f, const mla_decoder *model) {
    mla_tape *tape = NULL;
    int32_t *ids = mla_alloc(f->context, f->tokens, sizeof *ids, "random ids");
    mla_status status = ids ? mla_tape_create(f->context, &tape, NULL) : MLA_ERROR_MEMORY;
    for (int64_t i = 0; ids && i < f->tokens; i++) {
        uint32_t bits[4];
        mla_random_bits(mla_random_stream(1, "flow", 0, 0, 0), (uint64_t)i, bits);
        ids[i] = (int32_t)(bits[0] % (uint64_t)model->config.vocab_size);
    }
    for (int i = 0; i < 2 * (RUNS + 1) && !status; i++) { /* the first of each warms up */
        f->run = i < 2 ? 0 : i / 2 - 1;
        f->precision = i % 2 ? MLA_BF16 : MLA_F32;
        status = pass(f, model, tape, ids);
    }
    mla_tape_destroy(tape);
    free(ids);
    return status;
}

static mla_status measure_initial(flow *f, const mla_model_config *config) {
    mla_decoder *model = NULL;
    mla_status status = mla_decoder_create(f->context, &model, config);
    if (!status) status = mla_params_allocate(model->params, false);
    if (!status) mla_params_initialise(model->params, 1);
    if (!status) status = measure_model(f, model);
    mla_decoder_destroy(model);
    return status;
}

mla_status mla_layer_steps_find(mla_context *context, const mla_model_config *config, const mla_layer_steps_options *o,
                                mla_layer_steps *out) {
    flow f = {.context = context, .layer = o->layer, .tokens = o->tokens, .out = out};
    *out = (mla_layer_steps){0};
    mla_status status = pass_on_shapes(&f, config);
    if (!status && o->measure) status = o->model ? measure_model(&f, o->model) : measure_initial(&f, config);
    for (int i = 0; i < MLA_ATTENTION_STEPS && !status && o->measure; i++)
        for (int k = 0; k < 2; k++) out->of[i].seconds[k] = mla_median(f.traces[i].seconds[k], RUNS);
    for (int i = 0; i < MLA_ATTENTION_STEPS; i++) free(f.traces[i].values);
    return status;
}
