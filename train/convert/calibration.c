#include "train/convert/calibration.h"
#include "data/tokens/sampler.h"
#include "layers/head/language.h"
#include "layers/objective.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS_AT_ONCE = 2048, FEWEST_WINDOWS = 3, SUMS_AT_ONCE = 1 << 16 };

/* ---- windows of the text ---- */

static int64_t windows_there(const mla_calibration_text *t) { return (t->text->count - 1) / t->sequence; }

static int64_t windows_used(const mla_calibration_text *t) {
    const int64_t there = windows_there(t), wanted = t->tokens / t->sequence;
    return there < wanted ? there : wanted;
}

mla_status mla_calibration_check_text(const mla_decoder *model, const mla_calibration_text *t) {
    const mla_model_config *c = &model->config;
    if (c->head != &mla_language_kind)
        return mla_fail(
            model->context, MLA_ERROR_ARGUMENT,
            "the model's head labels (%s), so that it has no loss on text alone to calibrate by: convert the "
            "language model first and train the labels on it then, or leave --calibrate out",
            c->head->name);
    if (t->sequence > c->max_position_embeddings)
        return mla_fail(model->context, MLA_ERROR_ARGUMENT,
                        "sequence %lld: the model has %lld positions (max_position_embeddings)", (long long)t->sequence,
                        (long long)c->max_position_embeddings);
    if (windows_used(t) < FEWEST_WINDOWS)
        return mla_fail(model->context, MLA_ERROR_ARGUMENT,
                        "the text to calibrate on has %lld tokens, of which at most %lld are used, but at least %d "
                        "sequences of %lld are needed: give more, or a shorter --sequence",
                        (long long)t->text->count, (long long)t->tokens, FEWEST_WINDOWS, (long long)t->sequence);
    return MLA_OK;
}

/* So many that each of several ranks gets some, of the smaller part too. */
static int64_t windows_at_once(const mla_calibration *c) {
    const int64_t most = c->of.sequence < TOKENS_AT_ONCE ? TOKENS_AT_ONCE / c->of.sequence : 1;
    const int64_t world = mla_comm_world(c->of.comm), share = (c->windows[MLA_LEFT_OUT] + world - 1) / world;
    return world > 1 && share < most ? share : most;
}

static void choose_windows(mla_calibration *c) {
    const mla_calibration_text *t = &c->of;
    const int64_t all = windows_used(t);
    c->windows_there = windows_there(t);
    c->windows[MLA_LEFT_OUT] = all / 3;
    c->windows[MLA_CALIBRATED] = all - all / 3;
    c->batch = windows_at_once(c);
    c->first = c->batch * mla_comm_rank(t->comm);
    c->stride = c->batch * mla_comm_world(t->comm);
}

mla_status mla_calibration_create(const mla_decoder *model, mla_calibration *out, const mla_calibration_text *text) {
    mla_context *context = model->context;
    *out = (mla_calibration){.context = context, .of = *text};
    mla_status status = mla_calibration_check_text(model, text);
    if (status) return status;
    choose_windows(out);
    const int64_t tokens = out->batch * text->sequence;
    status = mla_tape_create(context, &out->tape, NULL);
    if (!status) out->ids = mla_alloc(context, 2 * tokens, sizeof *out->ids, "a batch");
    if (!status && !out->ids) status = MLA_ERROR_MEMORY;
    if (!status) out->targets = out->ids + tokens;
    return status;
}

void mla_calibration_free(mla_calibration *c) {
    mla_tape_destroy(c->tape);
    free(c->ids);
    *c = (mla_calibration){0};
}

int64_t mla_calibration_tokens(const mla_calibration *c, mla_calibration_part part) {
    return c->windows[part] * c->of.sequence;
}

/* The i-th window of a part: of every three, the third is left out. */
static int64_t window(const mla_calibration *c, mla_calibration_part part, int64_t i) {
    const int64_t all = c->windows[0] + c->windows[1], chosen = part == MLA_LEFT_OUT ? 3 * i + 2 : i + i / 2;
    return (int64_t)((double)chosen * (double)c->windows_there / (double)all);
}

/* ---- losses ---- */

static mla_batch take_batch(mla_calibration *c, mla_calibration_part part, int64_t first, int64_t *count) {
    const int64_t length = c->of.sequence, left = c->windows[part] - first;
    *count = left < c->batch ? left : c->batch;
    for (int64_t i = 0; i < *count; i++)
        mla_window_get(c->of.text, NULL, length, window(c, part, first + i), c->ids + i * length,
                       c->targets + i * length, NULL);
    const int64_t shape[] = {*count, length};
    return (mla_batch){.ids = mla_input(c->tape, MLA_I32, 2, shape, c->ids),
                       .targets = mla_input(c->tape, MLA_I32, 2, shape, c->targets),
                       .scale = 1};
}

mla_tensor *mla_calibration_loss(mla_calibration *c, const mla_decoder *model, mla_calibration_part part, int64_t first,
                                 int64_t *count) {
    const mla_batch batch = take_batch(c, part, first, count);
    return mla_decoder_loss(c->tape, model, &batch);
}

/* shared: room for as many of each rank. */
static mla_status sum_piece(mla_comm *comm, int64_t count, double *sums, double *shared) {
    const mla_status status = mla_comm_share(comm, sums, count * (int64_t)sizeof *sums, shared);
    if (status) return status;
    for (int64_t i = 0; i < count; i++) {
        sums[i] = 0;
        for (int64_t r = 0; r < mla_comm_world(comm); r++) sums[i] += shared[r * count + i];
    }
    return MLA_OK;
}

mla_status mla_calibration_sum(mla_calibration *c, int64_t count, double *sums) {
    mla_comm *comm = c->of.comm;
    const int64_t world = mla_comm_world(comm), most = count < SUMS_AT_ONCE ? count : SUMS_AT_ONCE;
    if (world == 1) return MLA_OK;
    double *shared = mla_alloc(c->context, world * most, sizeof *shared, "the sums of all ranks");
    mla_status status = shared ? MLA_OK : MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < count && !status; i += most)
        status = sum_piece(comm, count - i < most ? count - i : most, sums + i, shared);
    free(shared);
    return status;
}

mla_status mla_calibration_check(mla_context *context, double loss) {
    if (isfinite(loss)) return mla_error_status(context);
    return mla_fail(context, MLA_ERROR_ARGUMENT, "the loss of the model on the text is %g, no number to go by", loss);
}

mla_status mla_calibration_measure(mla_calibration *c, const mla_decoder *model, mla_calibration_part part,
                                   double *out) {
    int64_t count;
    *out = 0;
    for (int64_t i = c->first; i < c->windows[part] && !mla_error_status(c->context); i += c->stride) {
        mla_tape_begin(c->tape, &(mla_step){.inference = true});
        const mla_tensor *loss = mla_calibration_loss(c, model, part, i, &count);
        if (!mla_error_status(c->context)) *out += (double)*(const float *)loss->data;
    }
    if (mla_error_status(c->context) || mla_calibration_sum(c, 1, out)) return mla_error_status(c->context);
    *out /= (double)mla_calibration_tokens(c, part);
    return mla_calibration_check(c->context, *out);
}

mla_status mla_calibration_divergence(mla_calibration *c, const mla_decoder *model, const mla_decoder *of,
                                      mla_calibration_part part, double *out) {
    double sum = 0;
    const mla_objective objective = {.teacher = of, .share = 1, .temperature = 1, .divergence = &sum};
    int64_t count;
    for (int64_t i = c->first; i < c->windows[part] && !mla_error_status(c->context); i += c->stride) {
        mla_tape_begin(c->tape, &(mla_step){.inference = true});
        const mla_batch batch = take_batch(c, part, i, &count);
        mla_objective_loss(c->tape, model, &batch, &objective);
    }
    if (mla_error_status(c->context) || mla_calibration_sum(c, 1, &sum)) return mla_error_status(c->context);
    *out = sum / (double)mla_calibration_tokens(c, part);
    return mla_calibration_check(c->context, *out);
}

/* ---- models beside each other ---- */

void mla_output_error_add(mla_output_error *error, const mla_tensor *now, const mla_tensor *before) {
    for (int64_t i = 0; i < mla_count(before); i++) {
        const double a = (double)((const float *)before->data)[i], b = (double)((const float *)now->data)[i];
        error->of_error += (b - a) * (b - a);
        error->of_output += a * a;
    }
}

mla_status mla_output_error_sum(mla_calibration *c, mla_output_error *error) {
    double both[] = {error->of_error, error->of_output};
    const mla_status status = mla_calibration_sum(c, 2, both);
    *error = (mla_output_error){both[0], both[1]};
    return status;
}

double mla_output_error_value(const mla_output_error *error) { return sqrt(error->of_error / error->of_output); }

void mla_copy_common_params(const mla_decoder *from, const mla_decoder *to) {
    for (int64_t i = 0; i < mla_params_count(to->params); i++) {
        const mla_param *p = mla_params_at(to->params, i), *old = mla_params_find(from->params, p->spec.name);
        if (old && p->count == old->count) memcpy(p->tensor.data, old->tensor.data, (size_t)p->count * sizeof(float));
    }
}
