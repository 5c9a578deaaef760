#include "train/convert/latent_rank.h"
#include "layers/adapt/latent_rank.h"
#include "layers/adapt/neutral_norm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_AT_ONCE = 8 };

typedef struct {
    mla_context *context;
    const mla_latent_rank_options *options;
    mla_decoder *model, *changed; /* as it is, and as it becomes */
    mla_latent_rank_report *report;
    mla_calibration calibration; /* nothing in it without text */
    float *zeros;                /* the latents of a batch */
    mla_latent_sample samples[MLA_MOST_INTS];
    mla_latent_directions directions[MLA_MOST_INTS];
    mla_tensor *nudge[MLA_MOST_INTS];       /* zeros, added to the latents for their gradient */
    mla_output_error errors[MLA_MOST_INTS]; /* of the attention's output, a layer each */
} job;

static mla_latent_layer *layer_of(const mla_decoder *model, int64_t i) { return mla_latent_layer_at(model, i); }

static void set_probe(const job *j, const mla_latent_probe *probe) {
    for (int64_t i = 0; i < j->model->config.num_hidden_layers; i++) layer_of(j->model, i)->probe = probe;
}

/* ---- calibration ---- */

static mla_tensor *see_latents(void *user, mla_tape *tape, const mla_latent_layer *layer, mla_tensor *x, mla_tensor *h,
                               mla_tensor *c) {
    job *j = user;
    (void)x;
    if (mla_error_status(j->context)) return c;
    const int64_t i = layer->index;
    if (mla_latent_sample_add(j->context, &j->samples[i], mla_rows(h), h->data)) return c;
    j->nudge[i] = mla_input_with_gradient(tape, c->ndim, c->shape, j->zeros);
    return mla_add(tape, c, j->nudge[i]);
}

static mla_status add_gradients(job *j) {
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < j->report->layers && !status; i++)
        status = mla_latent_sample_add_gradients(j->context, &j->samples[i], mla_rows(j->nudge[i]), j->nudge[i]->grad);
    return status;
}

static mla_status pass_with_gradients(job *j) {
    int64_t count;
    double sum = 0;
    mla_status status = MLA_OK;
    for (int64_t i = j->calibration.first; i < j->calibration.windows[MLA_CALIBRATED] && !status;
         i += j->calibration.stride) {
        mla_tape_begin(j->calibration.tape, &(mla_step){0});
        mla_tensor *loss = mla_calibration_loss(&j->calibration, j->model, MLA_CALIBRATED, i, &count);
        status = mla_backward(j->calibration.tape, loss);
        if (!status) status = add_gradients(j);
        if (!status) sum += (double)*(const float *)loss->data;
    }
    if (!status) status = mla_calibration_sum(&j->calibration, 1, &sum);
    j->report->calibration_loss[0] = sum / (double)j->report->calibrated;
    return status ? status : mla_calibration_check(j->context, sum);
}

/* Over all ranks; of latents themselves there is but one. */
static mla_status sum_sample(job *j, mla_latent_sample *s) {
    mla_calibration *c = &j->calibration;
    mla_status status = mla_calibration_sum(c, s->rank * s->rank, s->weight);
    if (!status && !s->h) status = mla_calibration_sum(c, s->rank * s->rank, s->second);
    if (!status && !s->h) status = mla_calibration_sum(c, s->rank, s->sum);
    s->count = j->report->calibrated;
    return status;
}

static mla_status calibrate(job *j) {
    const mla_latent_probe probe = {see_latents, j};
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < j->report->layers && !status; i++)
        status = mla_latent_sample_create(j->context, &j->samples[i], layer_of(j->model, i), j->report->calibrated);
    if (status) return status;
    set_probe(j, &probe);
    status = pass_with_gradients(j);
    set_probe(j, NULL);
    for (int64_t i = 0; i < j->report->layers && !status; i++) status = sum_sample(j, &j->samples[i]);
    return status;
}

static mla_status find_directions(job *j) {
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < j->report->layers && !status; i++)
        status = j->options->method == MLA_LATENT_RANK_SVD
                     ? mla_latent_directions_weights(j->context, layer_of(j->model, i), &j->directions[i])
                     : mla_latent_directions_measure(j->context, layer_of(j->model, i), &j->samples[i],
                                                     &j->directions[i]);
    return status;
}

/* ---- ranks ---- */

/* A wider latent than what it is made of, or for, has dimensions that can do nothing. */
static mla_status check_rank(mla_context *context, const mla_model_config *c, int64_t least, int64_t i, int64_t rank) {
    const int64_t made_for = c->num_attention_heads * (c->qk_nope_head_dim + c->v_head_dim);
    const int64_t most = c->hidden_size < made_for ? c->hidden_size : made_for;
    if (rank >= least && (rank <= most || rank <= mla_model_config_latent_rank(c, i))) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT, "a latent of rank %lld: it must be %lld to %lld, the width of %s",
                    (long long)rank, (long long)least, (long long)most,
                    most == c->hidden_size ? "what it is made of (hidden_size)" : "its keys and values");
}

static mla_status check_ranks(mla_context *context, const mla_model_config *c, bool neutral, const mla_ints *ranks) {
    mla_status status = MLA_OK;
    if (ranks->count > 1 && ranks->count != c->num_hidden_layers)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%lld ranks for %lld layers; give one for all, or one for each",
                        (long long)ranks->count, (long long)c->num_hidden_layers);
    for (int64_t i = 0; i < c->num_hidden_layers && !status; i++)
        status = check_rank(context, c, 1 + neutral, i, ranks->items[ranks->count > 1 ? i : 0]);
    return status;
}

static int64_t latent_rank_smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* How many elements a layer gets at a time, and at first. */
static int64_t step_of(const mla_model_config *c) {
    const int64_t share = c->kv_lora_rank / MOST_AT_ONCE;
    return share < 1 ? 1 : latent_rank_smaller(share, MOST_AT_ONCE);
}

static mla_status check_budget(mla_context *context, const mla_model_config *c, int64_t budget) {
    const int64_t now = mla_kv_cache_bytes_per_token(c, MLA_F32);
    const int64_t rotary = c->num_hidden_layers * c->qk_rope_head_dim * (int64_t)sizeof(float);
    int64_t least = rotary;
    for (int64_t i = 0; i < c->num_hidden_layers; i++)
        least += latent_rank_smaller(step_of(c), mla_model_config_latent_rank(c, i)) * (int64_t)sizeof(float);
    if (budget <= rotary)
        return mla_fail(
            context, MLA_ERROR_ARGUMENT,
            "a budget of %lld bytes: the rotary keys alone (qk_rope_head_dim %lld) take %lld per token, and "
            "%lld with ranks of %lld; give as many, or convert with a smaller --rope-dim",
            (long long)budget, (long long)c->qk_rope_head_dim, (long long)rotary, (long long)least,
            (long long)step_of(c));
    if (budget >= least && budget < now) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "a budget of %lld bytes: the cache of this model takes %lld per token now, and %lld with ranks of "
                    "%lld; choose one between",
                    (long long)budget, (long long)now, (long long)least, (long long)step_of(c));
}

mla_status mla_latent_rank_check(mla_context *context, const mla_model_config *c, bool neutral, const mla_ints *latent,
                                 int64_t budget) {
    if (!latent->count == !budget)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "give the ranks, or a budget to choose them by: --latent "
                        "N[,N...] or --budget BYTES");
    return budget ? check_budget(context, c, budget) : check_ranks(context, c, neutral, latent);
}

/* What the next elements of a layer are worth each; they descend, so that no layer waits for its better ones.
 */
static double worth(const job *j, int64_t i, int64_t more) {
    double sum = 0;
    for (int64_t k = 0; k < more; k++) sum += j->directions[i].cost[j->report->layer[i].after + k];
    return sum / (double)more;
}

/* The layer that has most use for more, of which the budget has `left` elements; -1 if there is none. */
static int64_t neediest(const job *j, int64_t left, int64_t *elements) {
    int64_t best = -1;
    double most = -1;
    for (int64_t i = 0; i < j->report->layers; i++) {
        const mla_latent_rank_change *c = &j->report->layer[i];
        const int64_t more = latent_rank_smaller(step_of(&j->model->config), c->before - c->after);
        if (more < 1 || more > left || worth(j, i, more) <= most) continue;
        best = i, most = worth(j, i, more), *elements = more;
    }
    return best;
}

/* From the same small rank in each layer, always more where it saves most, while the budget has room. */
static void budget_ranks(job *j) {
    mla_latent_rank_report *r = j->report;
    int64_t used = 0, best, more = 0;
    for (int64_t i = 0; i < r->layers; i++) {
        r->layer[i].after = latent_rank_smaller(step_of(&j->model->config), r->layer[i].before);
        used += r->layer[i].after + j->model->config.qk_rope_head_dim;
    }
    const int64_t all = j->options->budget / (int64_t)sizeof(float);
    for (; (best = neediest(j, all - used, &more)) >= 0; used += more) r->layer[best].after += more;
}

static void given_ranks(job *j) {
    const mla_ints *ranks = &j->options->latent;
    for (int64_t i = 0; i < j->report->layers; i++) j->report->layer[i].after = ranks->items[ranks->count > 1 ? i : 0];
}

static bool shrinks(const job *j) {
    for (int64_t i = 0; i < j->report->layers; i++)
        if (j->report->layer[i].after < j->report->layer[i].before) return true;
    return false;
}

/* ---- the new model ---- */

static mla_status latent_rank_build(job *j) {
    mla_model_config config = j->model->config;
    mla_latent_rank_report *r = j->report;
    config.kv_lora_ranks.count = r->layers;
    for (int64_t i = 0; i < r->layers; i++) config.kv_lora_ranks.items[i] = r->layer[i].after;
    mla_status status = mla_decoder_create(j->context, &j->changed, &config);
    if (!status) status = mla_params_allocate(j->changed->params, false);
    if (!status) mla_copy_common_params(j->model, j->changed);
    for (int64_t i = 0; i < r->layers && !status; i++)
        status = mla_latent_layer_resize(
            j->context, layer_of(j->model, i), &j->directions[i],
            j->options->method == MLA_LATENT_RANK_SVD || !j->samples[i].count ? NULL : &j->samples[i],
            layer_of(j->changed, i));
    if (status) return status;
    mla_params_changed(j->changed->params);
    r->bytes_per_token[1] = mla_kv_cache_bytes_per_token(&j->changed->config, MLA_F32);
    return MLA_OK;
}

/* ---- what it does ---- */

static mla_tensor *compare_outputs(void *user, mla_tape *tape, const mla_latent_layer *layer, mla_tensor *x,
                                   mla_tensor *h, mla_tensor *c) {
    job *j = user;
    const int64_t i = layer->index;
    mla_latent_layer plain = *layer;
    (void)h;
    plain.probe = NULL;
    const mla_tensor *old = mla_latent_layer_apply(tape, &plain, x, &(mla_pass){0}, NULL);
    const mla_tensor *new = mla_latent_layer_apply(tape, layer_of(j->changed, i), x, &(mla_pass){0}, NULL);
    if (mla_error_status(j->context)) return c;
    mla_output_error_add(&j->errors[i], new, old);
    return c;
}

static mla_status latent_rank_measure(job *j) {
    const mla_latent_probe probe = {compare_outputs, j};
    mla_latent_rank_report *r = j->report;
    set_probe(j, &probe);
    mla_status status = mla_calibration_measure(&j->calibration, j->model, MLA_LEFT_OUT, &r->loss[0]);
    set_probe(j, NULL);
    for (int64_t i = 0; i < r->layers; i++) r->layer[i].error = mla_output_error_value(&j->errors[i]);
    if (!status && !j->samples[0].count)
        status = mla_calibration_measure(&j->calibration, j->model, MLA_CALIBRATED, &r->calibration_loss[0]);
    if (!status) status = mla_calibration_measure(&j->calibration, j->changed, MLA_LEFT_OUT, &r->loss[1]);
    return status ? status
                  : mla_calibration_measure(&j->calibration, j->changed, MLA_CALIBRATED, &r->calibration_loss[1]);
}

/* ---- all of it ---- */

static mla_status latent_rank_check(const job *j) {
    const mla_model_config *c = &j->model->config;
    const mla_latent_rank_options *o = j->options;
    if (!mla_latent_layer_at(j->model, 0))
        return mla_fail(j->context, MLA_ERROR_ARGUMENT,
                        "the model has no latent (attention: %s), so that there is no rank to change",
                        c->attention->name);
    if (c->num_hidden_layers > MLA_MOST_INTS)
        return mla_fail(j->context, MLA_ERROR_ARGUMENT, "a model of %lld layers; ranks can be changed in at most %d",
                        (long long)c->num_hidden_layers, MLA_MOST_INTS);
    if (o->budget && (o->method == MLA_LATENT_RANK_SVD || !o->text))
        return mla_fail(j->context, MLA_ERROR_ARGUMENT,
                        "a budget needs text to measure what each layer needs: "
                        "--calibrate TEXT, with --method moments");
    return mla_latent_rank_check(j->context, c, mla_neutral_norm_of_latent(layer_of(j->model, 0)), &o->latent,
                                 o->budget);
}

static mla_status prepare(job *j) {
    const mla_latent_rank_options *o = j->options;
    const mla_model_config *c = &j->model->config;
    const mla_status status = mla_calibration_create(j->model, &j->calibration,
                                                     &(mla_calibration_text){o->text, o->sequence, o->tokens, o->comm});
    if (status) return status;
    j->report->calibrated = mla_calibration_tokens(&j->calibration, MLA_CALIBRATED);
    j->report->left_out = mla_calibration_tokens(&j->calibration, MLA_LEFT_OUT);
    j->zeros = mla_alloc(j->context, j->calibration.batch * o->sequence, (size_t)c->kv_lora_rank * sizeof *j->zeros,
                         "a batch");
    return j->zeros ? MLA_OK : MLA_ERROR_MEMORY;
}

static void begin_report(job *j) {
    const mla_model_config *c = &j->model->config;
    *j->report = (mla_latent_rank_report){.layers = c->num_hidden_layers,
                                          .loss = {NAN, NAN},
                                          .calibration_loss = {NAN, NAN},
                                          .bytes_per_token = {mla_kv_cache_bytes_per_token(c, MLA_F32), 0}};
    for (int64_t i = 0; i < j->report->layers; i++)
        j->report->layer[i] = (mla_latent_rank_change){.before = mla_model_config_latent_rank(c, i), .error = NAN};
}

static mla_status change(job *j) {
    const mla_latent_rank_options *o = j->options;
    if (!o->budget) given_ranks(j);
    const bool measured = o->budget || (shrinks(j) && o->method == MLA_LATENT_RANK_MOMENTS);
    mla_status status = MLA_OK;
    if (measured && !o->text)
        return mla_fail(j->context, MLA_ERROR_ARGUMENT,
                        "a smaller rank needs text that tells what the latents hold: "
                        "--calibrate TEXT");
    if (o->text) status = prepare(j);
    if (!status && measured) status = calibrate(j);
    if (!status && (measured || shrinks(j))) status = find_directions(j);
    if (!status && o->budget) budget_ranks(j);
    if (!status) status = latent_rank_build(j);
    return !status && o->text && !o->unmeasured ? latent_rank_measure(j) : status;
}

static void free_job(job *j) {
    for (int64_t i = 0; i < MLA_MOST_INTS; i++) {
        mla_latent_sample_free(&j->samples[i]);
        mla_latent_directions_free(&j->directions[i]);
    }
    mla_calibration_free(&j->calibration);
    free(j->zeros);
    free(j);
}

mla_status mla_change_latent_rank(mla_decoder *model, const mla_latent_rank_options *options, mla_decoder **out,
                                  mla_latent_rank_report *report) {
    job *j = mla_alloc(model->context, 1, sizeof *j, "a change of ranks");
    *out = NULL;
    if (!j) return MLA_ERROR_MEMORY;
    j->context = model->context, j->options = options, j->model = model, j->report = report;
    mla_status status = latent_rank_check(j);
    if (!status) begin_report(j);
    if (!status) status = change(j);
    if (status) mla_decoder_destroy(j->changed);
    else *out = j->changed;
    free_job(j);
    return status;
}
