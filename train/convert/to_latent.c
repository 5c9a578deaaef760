/* A stage is a model made of the one before, and measured; job holds what they share. The rotary stage measures keys
 * and queries once, and tries one way to fold frequencies after the other. */
#include "train/convert/to_latent.h"
#include "layers/adapt/head_norms.h"
#include "layers/adapt/latent_form.h"
#include "layers/adapt/latent_rank.h"
#include "layers/parts/rope.h"
#include "train/convert/latent_rank.h"

#include <complex.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    mla_context *context;
    const mla_to_latent_options *options;
    mla_decoder *original, *made; /* and the last latent stage */
    mla_decoder *folded;          /* the original without norms of heads; NULL where they stay */
    const mla_decoder *model;     /* what stages are made of: one of the two */
    mla_conversion_report *report;
    mla_calibration calibration;
    mla_head_norms norms[MLA_MOST_INTS];
    mla_key_moments moments[MLA_MOST_INTS];
    double *frequencies;                    /* (K/2), the original's */
    double amplitude;                       /* of its cosines and sines */
    mla_output_error errors[MLA_MOST_INTS]; /* of the attention's output, a layer each */
} job;

static mla_multi_head_layer *layer_of(const mla_decoder *model, int64_t i) { return model->blocks[i].attention; }
static int64_t key_width(const mla_model_config *c) { return c->num_key_value_heads * c->head_dim; }

/* One pass of a part of the text through a model with multi-head attention, whose layers are looked at. */
static mla_status look(job *j, const mla_decoder *model, const mla_multi_head_probe *probe, mla_calibration_part part) {
    double loss;
    for (int64_t i = 0; i < j->report->layers; i++) layer_of(model, i)->probe = probe;
    const mla_status status = mla_calibration_measure(&j->calibration, model, part, &loss);
    for (int64_t i = 0; i < j->report->layers; i++) layer_of(model, i)->probe = NULL;
    return status;
}

/* ---- positions ---- */

static mla_status read_frequencies(job *j) {
    const mla_model_config *c = &j->model->config;
    const mla_rope_options rope = {.rotary = c->head_dim,
                                   .theta = c->rope_theta,
                                   .scaling = c->rope_scaling,
                                   .positions = c->max_position_embeddings};
    j->frequencies = mla_alloc(j->context, c->head_dim / 2 + 1, sizeof *j->frequencies, "frequencies");
    for (int64_t i = 0; i < c->head_dim / 2 && j->frequencies; i++) j->frequencies[i] = mla_rope_frequency(&rope, i);
    j->amplitude = c->position == MLA_POSITION_ROPE ? mla_rope_amplitude(&c->rope_scaling) : 1;
    return j->frequencies ? MLA_OK : MLA_ERROR_MEMORY;
}

/* ---- a model in latent form ---- */

typedef struct {
    const mla_key_frame *frames; /* one a layer */
    const double *frequencies;   /* (rotary/2) */
    int64_t rotary;
} form;

/* Any frequencies can be stated as LongRoPE's: w_i = theta^(-2i/R) / factor_i. */
static void state_frequencies(const job *j, const form *f, mla_model_config *config) {
    mla_rope_scaling *scaling = &config->rope_scaling;
    mla_floats *factors = &scaling->short_factor;
    mla_model_config defaults;
    mla_model_config_default(j->context, &defaults);
    *scaling = defaults.rope_scaling;
    scaling->type = MLA_ROPE_SCALING_LONGROPE;
    scaling->factor = 1;
    scaling->attention_factor = j->amplitude;
    scaling->original_max_position_embeddings = config->max_position_embeddings;
    factors->count = f->rotary / 2;
    for (int64_t i = 0; i < factors->count; i++)
        factors->items[i] = pow(config->rope_theta, -2 * (double)i / (double)f->rotary) / f->frequencies[i];
    scaling->long_factor = *factors;
}

static mla_status build_form(job *j, const form *f, mla_decoder **out) {
    mla_model_config config = mla_latent_form_config(&j->model->config, f->rotary);
    if (f->rotary) state_frequencies(j, f, &config);
    mla_status status = mla_decoder_create(j->context, out, &config);
    if (!status) status = mla_params_allocate((*out)->params, false);
    if (status) return status;
    mla_copy_common_params(j->model, *out);
    for (int64_t i = 0; i < j->report->layers && !status; i++)
        status = mla_latent_form_fill(j->context, layer_of(j->model, i), &f->frames[i], j->amplitude,
                                      mla_latent_layer_at(*out, i));
    mla_params_changed((*out)->params);
    return status;
}

/* ---- measuring a stage ---- */

typedef struct {
    job *job;
    const mla_decoder *made;
} comparison;

static mla_tensor *apply_made(const mla_decoder *made, int64_t i, mla_tape *tape, mla_tensor *x) {
    const mla_latent_layer *latent = mla_latent_layer_at(made, i);
    return latent ? mla_latent_layer_apply(tape, latent, x, &(mla_pass){0}, NULL)
                  : mla_multi_head_layer_apply(tape, layer_of(made, i), x, &(mla_pass){0}, NULL);
}

static void compare_outputs(void *user, mla_tape *tape, const mla_multi_head_layer *layer, mla_tensor *x, mla_tensor *q,
                            mla_tensor *k) {
    const comparison *c = user;
    mla_multi_head_layer plain = *layer;
    (void)q, (void)k;
    plain.probe = NULL;
    const mla_tensor *old = mla_multi_head_layer_apply(tape, &plain, x, &(mla_pass){0}, NULL);
    const mla_tensor *new = apply_made(c->made, layer->index, tape, x);
    if (!mla_error_status(c->job->context)) mla_output_error_add(&c->job->errors[layer->index], new, old);
}

static mla_status measure_errors(job *j, const mla_decoder *made, mla_conversion_stage *stage) {
    comparison c = {j, made};
    memset(j->errors, 0, sizeof j->errors);
    mla_status status = look(j, j->original, &(mla_multi_head_probe){compare_outputs, &c}, MLA_LEFT_OUT);
    for (int64_t i = 0; i < j->report->layers && !status; i++) {
        status = mla_output_error_sum(&j->calibration, &j->errors[i]);
        stage->error[i] = mla_output_error_value(&j->errors[i]);
    }
    return status;
}

static void describe(const job *j, const mla_decoder *made, mla_conversion_stage *stage) {
    stage->made = true;
    stage->bytes_per_token = mla_kv_cache_bytes_per_token(&made->config, MLA_F32);
    for (int64_t i = 0; i < j->report->layers && mla_latent_layer_at(made, i); i++)
        stage->rank[i] = mla_model_config_latent_rank(&made->config, i);
}

static mla_status measure_stage(job *j, const mla_decoder *made, mla_conversion_stage *stage) {
    mla_calibration *text = &j->calibration;
    if (!j->options->calibrate.text) return MLA_OK;
    mla_status status = mla_calibration_measure(text, made, MLA_LEFT_OUT, &stage->loss);
    if (!status) status = mla_calibration_divergence(text, made, j->original, MLA_LEFT_OUT, &stage->divergence);
    return status ? status : measure_errors(j, made, stage);
}

/* Whether a stage loses no more than it may, by which it becomes the last. */
static mla_status judge_stage(job *j, int which, const mla_decoder *made) {
    mla_conversion_stage *stage = &j->report->stage[which];
    const double most = j->options->max_loss;
    describe(j, made, stage);
    const mla_status status = measure_stage(j, made, stage);
    if (most > 0 && stage->loss - j->report->loss > most) j->report->refused = which;
    else j->report->last = which;
    return status;
}

/* Takes a stage's model in place of the one before, unless it is refused. */
static mla_status finish_stage(job *j, int which, mla_decoder *made) {
    const mla_status status = judge_stage(j, which, made);
    const bool refused = j->report->refused >= 0;
    mla_decoder_destroy(refused ? made : j->made);
    if (!refused) j->made = made;
    return status;
}

static bool goes_on(const job *j, mla_status status) { return !status && j->report->refused < 0; }

/* ---- norms of heads ---- */

static void see_heads(void *user, mla_tape *tape, const mla_multi_head_layer *layer, mla_tensor *x, mla_tensor *q,
                      mla_tensor *k) {
    job *j = user;
    (void)q, (void)k;
    if (!mla_error_status(j->context)) mla_head_norms_add(&j->norms[layer->index], tape, layer, x);
}

static mla_status measure_norms(job *j) {
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < j->report->layers && !status; i++)
        status = mla_head_norms_create(j->context, &j->norms[i], &j->original->config);
    if (!status) status = look(j, j->original, &(mla_multi_head_probe){see_heads, j}, MLA_CALIBRATED);
    for (int64_t i = 0; i < j->report->layers && !status; i++) {
        status = mla_calibration_sum(&j->calibration, j->norms[i].heads, j->norms[i].inverse);
        j->norms[i].tokens = j->report->calibrated;
    }
    return status;
}

static mla_status fold_norms(job *j) {
    mla_model_config config = j->original->config;
    config.qk_norm = false;
    mla_status status = mla_decoder_create(j->context, &j->folded, &config);
    if (!status) status = mla_params_allocate(j->folded->params, false);
    if (status) return status;
    mla_copy_common_params(j->original, j->folded);
    for (int64_t i = 0; i < j->report->layers; i++)
        mla_head_norms_fold(&j->norms[i], layer_of(j->original, i), layer_of(j->folded, i));
    mla_params_changed(j->folded->params);
    return MLA_OK;
}

static mla_status make_folded(job *j) {
    mla_status status = measure_norms(j);
    if (!status) status = fold_norms(j);
    if (!status) status = judge_stage(j, MLA_STAGE_NORMS, j->folded);
    j->model = j->folded;
    return status;
}

/* ---- exact ---- */

static mla_status make_exact(job *j) {
    const mla_model_config *c = &j->model->config;
    const int64_t width = key_width(c), half = c->head_dim / 2;
    mla_key_frame frame;
    mla_key_frame *frames = mla_alloc(j->context, j->report->layers, sizeof *frames, "frames");
    double *frequencies = mla_alloc(j->context, width / 2, sizeof *frequencies, "frequencies");
    mla_decoder *made = NULL;
    mla_status status = mla_key_frame_identity(j->context, &frame, width);
    if (!frames || !frequencies) status = MLA_ERROR_MEMORY;
    frame.rotary = mla_to_latent_all_rotary(c);
    for (int64_t i = 0; i < j->report->layers && !status; i++) frames[i] = frame;
    for (int64_t p = 0; p < width / 2 && !status; p++) frequencies[p] = j->frequencies[p % half];
    if (!status) status = build_form(j, &(form){frames, frequencies, frame.rotary}, &made);
    if (!status) status = finish_stage(j, MLA_STAGE_EXACT, made);
    else mla_decoder_destroy(made);
    mla_key_frame_free(&frame);
    free(frames), free(frequencies);
    return status;
}

/* ---- fewer rows that turn ---- */

static void see_keys(void *user, mla_tape *tape, const mla_multi_head_layer *layer, mla_tensor *x, mla_tensor *q,
                     mla_tensor *k) {
    job *j = user;
    (void)tape, (void)x;
    if (!mla_error_status(j->context)) mla_key_moments_add(j->context, &j->moments[layer->index], layer->config, q, k);
}

/* Over all ranks. */
static mla_status sum_moments(job *j, mla_key_moments *m) {
    const int64_t width = m->heads * m->width;
    const mla_status status = mla_calibration_sum(&j->calibration, width * width, m->keys);
    m->tokens = j->report->calibrated;
    return status ? status : mla_calibration_sum(&j->calibration, width / 2, m->queries);
}

static mla_status measure_keys(job *j) {
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < j->report->layers && !status; i++)
        status = mla_key_moments_create(j->context, &j->moments[i], &j->model->config);
    if (!status) status = look(j, j->model, &(mla_multi_head_probe){see_keys, j}, MLA_CALIBRATED);
    for (int64_t i = 0; i < j->report->layers && !status; i++) status = sum_moments(j, &j->moments[i]);
    return status;
}

/* One way to fold: a basis a layer, which pairs turn, and how fast. */
typedef struct {
    mla_key_positions positions;
    int64_t pairs;        /* G K/2 */
    mla_key_basis *bases; /* one a layer */
    mla_key_frame *frames;
    double *worth, *group; /* (pairs): what is lost where one does not turn; (groups): its frequency */
    bool *turns;           /* (pairs) */
    double *frequencies;   /* (rotary/2), of those that turn */
} folding;

static mla_status create_folding(job *j, folding *f, int64_t fold) {
    const int64_t pairs = key_width(&j->model->config) / 2, layers = j->report->layers;
    *f = (folding){.positions = {j->frequencies, fold, j->calibration.of.sequence},
                   .pairs = pairs,
                   .bases = mla_alloc(j->context, layers, sizeof *f->bases, "bases of keys"),
                   .frames = mla_alloc(j->context, layers, sizeof *f->frames, "frames"),
                   .worth = mla_alloc(j->context, pairs, sizeof *f->worth, "frequencies"),
                   .group = mla_alloc(j->context, pairs, sizeof *f->group, "frequencies"),
                   .turns = mla_alloc(j->context, pairs, sizeof *f->turns, "frequencies"),
                   .frequencies = mla_alloc(j->context, pairs, sizeof *f->frequencies, "frequencies")};
    return f->bases && f->frames && f->worth && f->group && f->turns && f->frequencies ? MLA_OK : MLA_ERROR_MEMORY;
}

static void free_folding(const job *j, folding *f) {
    for (int64_t i = 0; i < j->report->layers && f->bases && f->frames; i++) {
        mla_key_basis_free(&f->bases[i]);
        mla_key_frame_free(&f->frames[i]);
    }
    free(f->bases), free(f->frames), free(f->worth), free(f->group), free(f->turns), free(f->frequencies);
}

/* The energy of one frequency in the scores, all layers together. */
static double energy(const job *j, int64_t frequency) {
    const int64_t heads = j->moments[0].heads, width = j->moments[0].width, n = heads * width;
    double sum = 0;
    for (int64_t i = 0; i < j->report->layers; i++)
        for (int64_t h = 0; h < heads; h++) {
            const double *keys = j->moments[i].keys + (h * width + 2 * frequency) * (n + 1);
            sum += (keys[0] + keys[n + 1]) * j->moments[i].queries[h * (width / 2) + frequency];
        }
    return sum;
}

/* The frequencies of a group as one, and what is lost of its pairs where they do not turn. */
static double group_loss(const job *j, folding *f, int64_t group) {
    double all = 0, frequency = 0, kept = 0;
    for (int64_t i = group * f->positions.fold; i < (group + 1) * f->positions.fold; i++) {
        const double e = energy(j, i), mean = cabs(mla_key_mean_turn(&f->positions, j->frequencies[i]));
        all += e, frequency += e * j->frequencies[i], kept += e * mean * mean;
    }
    f->group[group] = all > 0 ? frequency / all : j->frequencies[group * f->positions.fold];
    return all > 0 ? 1 - kept / all : 0;
}

static void choose_turning(const job *j, folding *f, int64_t rotary) {
    const int64_t each = j->moments[0].heads * f->positions.fold;
    for (int64_t group = 0; group < f->pairs / each; group++) {
        const double loss = group_loss(j, f, group);
        for (int64_t p = group * each; p < (group + 1) * each; p++)
            for (int64_t i = 0; i < j->report->layers; i++) f->worth[p] += loss * f->bases[i].value[p];
    }
    for (int64_t chosen = 0; chosen < rotary / 2; chosen++) {
        int64_t best = -1;
        for (int64_t p = 0; p < f->pairs; p++)
            if (!f->turns[p] && (best < 0 || f->worth[p] > f->worth[best])) best = p;
        f->turns[best] = true;
    }
    for (int64_t p = 0, at = 0; p < f->pairs; p++)
        if (f->turns[p]) f->frequencies[at++] = f->group[p / each];
}

static mla_status try_folding(job *j, folding *f, mla_decoder **out) {
    const int64_t rotary = j->report->rope_dim;
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < j->report->layers && !status; i++)
        status = mla_key_basis_measure(j->context, &j->moments[i], &f->positions, &f->bases[i]);
    if (status) return status;
    choose_turning(j, f, rotary);
    for (int64_t i = 0; i < j->report->layers && !status; i++)
        status = mla_key_frame_create(j->context, &f->frames[i], 2 * f->pairs, &f->bases[i], f->turns);
    return status ? status : build_form(j, &(form){f->frames, f->frequencies, rotary}, out);
}

/* Keeps the better of *best and the model with this folding, by what of the original's predictions
 * is lost on the calibration text. */
static mla_status compare_folding(job *j, int64_t fold, mla_decoder **best, double *least) {
    folding f;
    mla_decoder *made = NULL;
    double lost = NAN;
    mla_status status = create_folding(j, &f, fold);
    if (!status) status = try_folding(j, &f, &made);
    if (!status) status = mla_calibration_divergence(&j->calibration, made, j->original, MLA_CALIBRATED, &lost);
    const bool better = !status && (!*best || lost < *least);
    mla_decoder_destroy(better ? *best : made);
    if (better) *best = made, *least = lost, j->report->fold = fold;
    free_folding(j, &f);
    return status;
}

static mla_status make_rotary(job *j) {
    const int64_t half = j->model->config.head_dim / 2, given = j->options->fold;
    mla_decoder *best = NULL;
    double least = NAN;
    mla_status status = measure_keys(j);
    for (int64_t fold = given ? given : 1; fold <= half && !status; fold *= 2) {
        if (half % fold == 0) status = compare_folding(j, fold, &best, &least);
        if (given) break;
    }
    if (!status) return finish_stage(j, MLA_STAGE_ROTARY, best);
    mla_decoder_destroy(best);
    return status;
}

/* ---- a narrow latent ---- */

static mla_status make_latent(job *j) {
    const mla_to_latent_options *o = j->options;
    const mla_latent_rank_options rank = {.latent = o->latent,
                                          .budget = o->budget,
                                          .text = o->calibrate.text,
                                          .sequence = o->calibrate.sequence,
                                          .tokens = o->calibrate.tokens,
                                          .comm = o->calibrate.comm,
                                          .unmeasured = true};
    mla_latent_rank_report *report = mla_alloc(j->context, 1, sizeof *report, "a report");
    mla_decoder *made = NULL;
    mla_status status = report ? mla_change_latent_rank(j->made, &rank, &made, report) : MLA_ERROR_MEMORY;
    if (!status) status = finish_stage(j, MLA_STAGE_LATENT, made);
    free(report);
    return status;
}

/* ---- all of it ---- */

static mla_status begin_text(job *j) {
    const mla_to_latent_options *o = j->options;
    if (!o->calibrate.text) return MLA_OK;
    const mla_status status = mla_calibration_create(j->original, &j->calibration, &o->calibrate);
    if (status) return status;
    j->report->calibrated = mla_calibration_tokens(&j->calibration, MLA_CALIBRATED);
    j->report->left_out = mla_calibration_tokens(&j->calibration, MLA_LEFT_OUT);
    return mla_calibration_measure(&j->calibration, j->original, MLA_LEFT_OUT, &j->report->loss);
}

static void free_job(job *j) {
    for (int64_t i = 0; i < MLA_MOST_INTS; i++) {
        mla_head_norms_free(&j->norms[i]);
        mla_key_moments_free(&j->moments[i]);
    }
    mla_decoder_destroy(j->folded);
    mla_calibration_free(&j->calibration);
    free(j->frequencies);
    free(j);
}

mla_status mla_to_latent(mla_decoder *model, const mla_to_latent_options *options, mla_decoder **out,
                         mla_conversion_report *report) {
    const mla_to_latent_options *o = options;
    job *j = mla_alloc(model->context, 1, sizeof *j, "a conversion");
    *out = NULL;
    if (!j) return MLA_ERROR_MEMORY;
    j->context = model->context, j->options = options, j->original = model, j->model = model, j->report = report;
    mla_status status = mla_to_latent_check(model, o);
    if (!status) mla_to_latent_begin_report(model, o, report);
    if (!status) status = read_frequencies(j);
    if (!status) status = begin_text(j);
    if (!status && o->fold_norms) status = make_folded(j);
    if (goes_on(j, status)) status = make_exact(j);
    if (goes_on(j, status) && report->rope_dim && report->rope_dim < key_width(&model->config)) status = make_rotary(j);
    if (goes_on(j, status) && (o->latent.count || o->budget)) status = make_latent(j);
    if (status) mla_decoder_destroy(j->made);
    else *out = j->made;
    free_job(j);
    return status;
}
