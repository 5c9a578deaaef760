#include "train/run/trainer.h"
#include "autograd/base/clock.h"
#include "autograd/base/memory.h"
#include "data/tokenizer/tokenizer.h"
#include "optim/clip.h"
#include "optim/schedule.h"
#include "train/checkpoint/run_folder.h"
#include "train/distributed/team.h"
#include "train/log/tensorboard.h"
#include "train/run/finetune.h"
#include "train/run/held_out.h"
#include "train/run/machine.h"
#include "train/run/mix.h"
#include "train/run/same_run.h"
#include "train/run/trained_model.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    mla_context *context;
    mla_recipe recipe; /* effective: the model completed; shares its strings with the caller's */
    const mla_train_options *options;
    mla_run_folder *folder;
    mla_finetune base;
    mla_mix mix;
    mla_dataset *data; /* its first part, whose vocabulary and tokenizer are those of all */
    mla_decoder *model;
    mla_team *team;
    mla_range mine; /* this rank's samples in a batch */
    int64_t rows;   /* samples of its microbatches, the last one may have fewer */
    mla_tape *tape;
    mla_metrics_log *log;
    mla_tensorboard *tensorboard; /* NULL: none */
    mla_saver *saver;             /* rank 0's */
    double paused, written;       /* by saves since the last line of the log; NaN: none */
    mla_run_state state;
    mla_run_plan plan;
    char *recipe_json;
    int32_t *ids, *targets, *starts; /* (rows, sequence) */
    bool stopping;                   /* some rank was asked to stop */
    mla_label_scores final;          /* over all that is held out, once the last step is done; */
    mla_part_losses final_parts;     /* count 0: not yet */
} trainer;

/* ---- setting up ---- */

static bool is_first(const trainer *t) { return mla_comm_rank(t->options->comm) == 0; }
static bool is_alone(const trainer *t) { return mla_comm_world(t->options->comm) == 1; }

/* Steps may be given as such, as epochs or as tokens. */
static int64_t steps_of(const mla_recipe_train *r, int64_t samples_per_epoch) {
    if (r->steps > 0) return r->steps;
    if (r->epochs > 0) return (int64_t)ceil(r->epochs * (double)samples_per_epoch / (double)r->batch);
    return (r->tokens + r->batch * r->sequence - 1) / (r->batch * r->sequence);
}

static mla_status check_head(const trainer *t) {
    if (t->mix.count > 1 && t->recipe.model.head->labels)
        return mla_fail(t->context, MLA_ERROR_ARGUMENT,
                        "data.mix: labelled texts are not mixed; name them all in data.source");
    return mla_dataset_check_head(t->context, t->data, &t->recipe.model);
}

/* The model as it will be built: its vocabulary known, what the recipe left out derived. */
static mla_status complete_model(trainer *t) {
    mla_model_config *config = &t->recipe.model;
    const mla_status status = check_head(t);
    if (status) return status;
    if (!config->vocab_size) config->vocab_size = t->data->vocabulary_size;
    if (!config->num_labels) config->num_labels = t->data->label_count;
    if (config->vocab_size >= t->data->vocabulary_size) return mla_model_config_check(t->context, "model.", config);
    return mla_fail(t->context, MLA_ERROR_ARGUMENT,
                    "model.vocab_size is %lld, but the tokens need %lld: leave it out, or prepare the text with a "
                    "smaller vocabulary",
                    (long long)config->vocab_size, (long long)t->data->vocabulary_size);
}

/* The first rank prepares what the others then open. */
static mla_status open_dataset(trainer *t) {
    const mla_dataset_text text = !is_first(t)         ? MLA_TEXT_PREPARED
                                  : t->options->resume ? MLA_TEXT_PREPARE_MISSING
                                                       : MLA_TEXT_PREPARE;
    mla_status status = is_first(t) ? MLA_OK : mla_comm_meet(t->options->comm);
    if (!status) status = mla_mix_open(t->context, &t->mix, &t->recipe, t->options->out, text);
    return !status && is_first(t) ? mla_comm_meet(t->options->comm) : status;
}

static mla_status open_data(trainer *t) {
    const mla_recipe_train *r = &t->recipe.train;
    mla_status status = open_dataset(t);
    if (!status) status = complete_model(t);
    if (!status) status = mla_finetune_check_tokenizer(&t->base, t->data->tokenizer);
    if (!status) status = mla_finetune_check_labels(&t->base, t->data->labels);
    if (!status) status = mla_mix_begin(t->context, &t->mix, &t->recipe);
    for (int k = 0; k < t->mix.count && !status && is_first(t); k++)
        mla_dataset_warn(t->context, &t->mix.parts[k].data, r->sequence);
    if (!status) t->plan.steps = steps_of(r, mla_mix_samples(&t->mix));
    return status;
}

/* One for all ranks, in bf16 only where each processor has it; and for good: a run that continues on another machine is
 * still the same. So it stands in the recipe of the run instead of "auto". */
static mla_status choose_precision(trainer *t) {
    const bool mine = mla_precision_choose(t->context, t->recipe.train.precision) == MLA_BF16;
    bool all;
    const mla_status status = mla_team_all(t->context, t->options->comm, mine, &all);
    t->plan.precision = all ? MLA_BF16 : MLA_F32;
    t->recipe.train.precision = all ? MLA_PRECISION_BF16 : MLA_PRECISION_F32;
    return status;
}

static mla_status plan_run(trainer *t) {
    const mla_recipe_train *r = &t->recipe.train;
    mla_status status = choose_precision(t);
    if (status) return status;
    t->mine = mla_team_share(t->options->comm, r->batch);
    t->rows = r->microbatch < t->mine.count ? r->microbatch : t->mine.count;
    mla_memory_plan *memory = &t->plan.memory;
    status = mla_memory_predict(t->context, &t->recipe, mla_teacher_config(&t->base.teacher), t->rows,
                                t->plan.precision, memory);
    if (!is_first(t)) memory->copy = 0;
    memory->moments = mla_team_moments_bytes(t->options->comm, &t->recipe, memory->gradients);
    memory->reduction = mla_team_reduction_bytes(t->options->comm, &t->recipe, memory->gradients);
    if (!status) status = mla_memory_check(t->context, memory, mla_comm_neighbours(t->options->comm));
    if (!status) status = mla_comm_meet(t->options->comm); /* all have looked before any takes memory */
    if (!status) status = mla_measure_peak_flops(t->context, t->plan.precision, &t->plan.peak_flops);
    const int64_t before = mla_memory_resident(); /* with what the first matrix products have loaded and set up */
    t->plan.train_tokens = mla_mix_tokens(&t->mix, MLA_TRAIN);
    t->plan.held_out_tokens = mla_mix_tokens(&t->mix, MLA_HELD_OUT);
    t->plan.labels = t->data->label_text;
    t->plan.predicted_memory = before + mla_memory_total(&t->plan.memory);
    return status;
}

static mla_status build_model(trainer *t) {
    const mla_recipe_train *r = &t->recipe.train;
    mla_status status = mla_trained_model_create(t->context, &t->recipe, t->plan.precision, &t->model);
    if (!status) status = mla_params_allocate(t->model->params, true);
    if (!status) status = mla_teacher_build(&t->base.teacher, t->plan.precision);
    if (!status) status = mla_teacher_remember(&t->base.teacher, &t->recipe.finetune, t->options->resume);
    if (!status) status = mla_team_create(t->context, t->options->comm, &t->recipe, t->model->params, &t->team);
    if (!status) status = mla_tape_create(t->context, &t->tape, NULL);
    if (status) return status;
    t->plan.parameters = mla_params_elements(t->model->params, false);
    t->plan.trained = mla_params_elements(t->model->params, true);
    t->ids = mla_alloc(t->context, t->rows * r->sequence, sizeof *t->ids, "a microbatch");
    t->targets = mla_alloc(t->context, t->rows * r->sequence, sizeof *t->targets, "a microbatch");
    t->starts = mla_alloc(t->context, t->rows * r->sequence, sizeof *t->starts, "a microbatch");
    return mla_error_status(t->context);
}

static mla_status read_checkpoint(trainer *t, mla_checkpoint **checkpoint) {
    mla_status status = mla_checkpoint_open(t->context, checkpoint, t->options->out);
    if (!status) status = mla_same_model(t->context, *checkpoint, &t->recipe.model);
    if (!status) status = mla_finetune_read(&t->base, *checkpoint, t->model);
    if (!status) status = mla_checkpoint_read_state(*checkpoint, &t->state);
    return status ? status : mla_same_data(t->context, *checkpoint, t->state.data_tokens, &t->mix);
}

static mla_status resume(trainer *t) {
    mla_checkpoint *checkpoint = NULL;
    mla_status status = is_first(t) ? read_checkpoint(t, &checkpoint) : MLA_OK;
    if (!status) status = mla_team_resume(t->team, checkpoint, &t->state);
    if (!status && is_first(t))
        status = mla_checkpoint_set_latest(t->context, t->options->out, t->state.step, (mla_step_hook){0});
    mla_checkpoint_close(checkpoint);
    return status;
}

static mla_status start(trainer *t) {
    t->state.seed = t->recipe.train.seed;
    t->state.data_tokens = mla_mix_tokens(&t->mix, MLA_TRAIN);
    mla_params_initialise(t->model->params, (uint64_t)t->recipe.train.seed);
    const mla_status status = mla_finetune_begin(&t->base, t->model);
    if (status) return status;
    if (t->base.new_head && is_first(t))
        mla_warn(t->context, "the head is new: %s, %lld labels; that of %s is left out", t->recipe.model.head->name,
                 (long long)t->recipe.model.num_labels, t->base.path);
    return t->data->tokenizer && is_first(t) ? mla_run_folder_write_tokenizer(t->folder, t->data->tokenizer) : MLA_OK;
}

/* A run that ended before its first checkpoint starts again from its beginning. */
static mla_status start_or_resume(trainer *t) {
    int64_t checkpoints = 0;
    mla_status status = MLA_OK;
    if (t->options->resume && is_first(t)) status = mla_checkpoint_count(t->context, t->options->out, &checkpoints);
    if (!status) status = mla_comm_broadcast(t->options->comm, &checkpoints, sizeof checkpoints);
    if (!status) status = checkpoints ? resume(t) : start(t);
    return status || !is_first(t) ? status : mla_run_folder_write_recipe(t->folder, &t->recipe);
}

static void on_saved(void *user, const mla_saved *saved) {
    trainer *t = user;
    t->written = saved->seconds;
    if (t->options->saved) t->options->saved(t->options->user, saved);
}

static mla_status note_session(const trainer *t) {
    char processor[128];
    mla_processor_name(sizeof processor, processor);
    const int64_t threads = mla_context_threads(t->context), ranks = mla_comm_world(t->options->comm);
    return mla_metrics_begin(t->log, &(mla_session){processor, t->options->version, threads, ranks});
}

static mla_status open_log(trainer *t) {
    mla_status status = mla_metrics_open(t->context, &t->log, mla_run_folder_metrics(t->folder), t->state.step);
    if (!status) status = note_session(t);
    if (!status)
        status = mla_tensorboard_open(t->context, t->recipe.train.tensorboard ? &t->tensorboard : NULL, t->options->out,
                                      t->state.step);
    if (status) return status;
    return mla_saver_create(t->context, &t->saver,
                            &(mla_saver_options){.dir = t->options->out,
                                                 .log = t->log,
                                                 .keep = t->recipe.checkpoint.keep,
                                                 .hook = t->options->save_hook,
                                                 .background = t->recipe.checkpoint.background,
                                                 .saved = on_saved,
                                                 .user = t});
}

static mla_status set_up(trainer *t) {
    mla_status status = mla_team_check(t->context, t->options->comm, &t->recipe);
    if (!status && is_first(t))
        status = mla_run_folder_open(t->context, &t->folder, t->options->out, t->options->resume);
    if (!status) status = mla_finetune_open(t->context, &t->base, &t->recipe, is_first(t) ? t->options->out : NULL);
    if (!status) status = open_data(t);
    if (!status) status = plan_run(t);
    if (!status) status = build_model(t);
    if (!status) status = start_or_resume(t);
    if (!status && is_first(t)) status = open_log(t);
    if (!status && !(t->recipe_json = mla_recipe_json(t->context, &t->recipe))) status = MLA_ERROR_MEMORY;
    t->plan.first_step = t->state.step;
    if (!status && t->options->started) t->options->started(t->options->user, &t->plan);
    return status;
}

static void tear_down(trainer *t) {
    mla_saver_destroy(t->saver);
    mla_metrics_close(t->log);
    mla_tensorboard_close(t->tensorboard);
    mla_tape_destroy(t->tape);
    mla_team_destroy(t->team);
    mla_decoder_destroy(t->model);
    mla_mix_close(&t->mix);
    mla_finetune_close(&t->base);
    mla_run_folder_close(t->folder);
    free(t->recipe_json);
    free(t->ids);
    free(t->targets);
    free(t->starts);
}

/* ---- a step ---- */

static double learning_rate(const trainer *t) {
    const mla_recipe_optim *o = &t->recipe.optim;
    const int64_t steps = t->plan.steps;
    const mla_schedule schedule = {.kind = o->schedule,
                                   .warmup_steps = o->warmup_steps,
                                   .total_steps = steps,
                                   .decay_steps = (int64_t)(o->decay_fraction * (double)steps),
                                   .drop_at = o->drop_at,
                                   .drop_again_at = o->drop_again_at,
                                   .drop_factor = o->drop_factor,
                                   .min_ratio = o->min_lr_ratio};
    return o->lr * mla_schedule_factor(&schedule, t->state.step);
}

/* Fills a microbatch, and tells how many of its targets count. */
static int64_t load(trainer *t, int64_t first_sample, int64_t rows) {
    const int64_t length = t->recipe.train.sequence;
    int64_t valid = 0;
    for (int64_t i = 0; i < rows; i++)
        mla_mix_get(&t->mix, first_sample + i, t->ids + i * length, t->targets + i * length, t->starts + i * length);
    for (int64_t i = 0; i < rows * length; i++) valid += t->targets[i] >= 0;
    return valid;
}

/* Forward and backward of one microbatch: adds to the gradients and to the loss. */
static mla_status microbatch(trainer *t, int64_t sample, mla_team_sums *sums) {
    const mla_recipe_train *r = &t->recipe.train;
    const int64_t end = t->mine.first + t->mine.count, rows = end - sample < t->rows ? end - sample : t->rows;
    const int64_t shape[] = {rows, r->sequence};
    const float scale = 1.0f / (float)(r->batch * r->sequence);
    mla_step step = {.seed = (uint64_t)r->seed,
                     .step = (uint64_t)t->state.step,
                     .first_sample = sample,
                     .precision = t->plan.precision,
                     .training = true};
    if (sample + rows == end) mla_team_follow(t->team, &step);
    const int64_t valid = load(t, t->state.samples + sample, rows);
    const mla_objective objective = mla_teacher_objective(&t->base.teacher, &t->recipe.finetune, &sums->divergence);
    mla_tape_begin(t->tape, &step);
    mla_batch batch = {.ids = mla_input(t->tape, MLA_I32, 2, shape, t->ids),
                       .targets = mla_input(t->tape, MLA_I32, 2, shape, t->targets),
                       .scale = scale,
                       .label_smoothing = (float)r->label_smoothing,
                       .pass = {.starts = mla_mix_is_packed(&t->mix) ? t->starts : NULL,
                                .recompute = r->recompute,
                                .loss_share = scale * (float)valid,
                                .statistics = &sums->statistics}};
    if (t->data->labels) mla_dataset_add_labels(t->tape, t->data, &batch);
    mla_tensor *result = mla_objective_loss(t->tape, t->model, &batch, &objective);
    const mla_status status = mla_backward(t->tape, result);
    sums->valid += valid;
    if (!status) sums->loss += (double)*(const float *)result->data;
    return status;
}

/* A finite gradient may still be too large: AdamW keeps its square in f32. */
static bool can_be_used(double loss, double grad_norm, double scale) {
    return isfinite(loss) && isfinite(grad_norm) && grad_norm * scale < sqrt((double)FLT_MAX);
}

/* Changes the weights, or skips the step where the loss or the gradient is no number. The sums are over all tokens
 * of the batch; where some do not count, the mean is over fewer. */
static mla_status update(trainer *t, const mla_team_sums *sums, mla_metrics *m) {
    const mla_recipe_train *r = &t->recipe.train;
    const double fewer = (double)(r->batch * r->sequence) / (double)sums->valid;
    m->lr = learning_rate(t);
    m->loss = sums->loss * fewer;
    m->divergence = t->base.teacher.model ? sums->divergence / (double)sums->valid : NAN;
    m->statistics = sums->statistics;
    m->grad_norm = sums->grad_norm * fewer;
    const float scale = (float)(mla_clip_scale(m->grad_norm, t->recipe.optim.clip) * fewer);
    m->skipped = !can_be_used(m->loss, m->grad_norm, (double)scale);
    t->state.skipped_in_a_row = m->skipped ? t->state.skipped_in_a_row + 1 : 0;
    if (!m->skipped) return mla_team_update(t->team, (float)m->lr, scale);
    if (is_first(t))
        mla_warn(t->context, "step %lld: the loss or the gradient is not a finite number; the step is skipped",
                 (long long)m->step);
    return MLA_OK;
}

static mla_status check_skipped(const trainer *t) {
    if (t->state.skipped_in_a_row < t->recipe.train.max_skipped || !t->state.skipped_in_a_row) return MLA_OK;
    return mla_fail(t->context, MLA_ERROR_NUMERIC,
                    "%lld steps in a row had a loss or gradient that is not a finite number (train.max_skipped): lower "
                    "optim.lr or optim.clip, and resume from the last checkpoint",
                    (long long)t->state.skipped_in_a_row);
}

static bool asked_to_stop(const trainer *t) { return t->options->stop && *t->options->stop; }

static mla_status trainer_step(trainer *t, mla_metrics *m) {
    const mla_recipe_train *r = &t->recipe.train;
    const double begin = mla_seconds();
    *m = (mla_metrics){.step = t->state.step + 1, .held_out_loss = NAN, .accuracy = NAN, .macro_f1 = NAN};
    mla_team_sums sums = {.stop = asked_to_stop(t)};
    mla_status status = MLA_OK;
    mla_team_begin(t->team);
    for (int64_t i = 0; i < t->mine.count && !status; i += t->rows) status = microbatch(t, t->mine.first + i, &sums);
    if (!status) status = mla_team_sum(t->team, m->step, &sums);
    if (!status) status = update(t, &sums, m);
    if (status) return status;
    t->stopping = sums.stop;
    t->state.step++;
    t->state.samples += r->batch;
    t->state.tokens += sums.valid;
    m->tokens = t->state.tokens;
    m->seconds = mla_seconds() - begin;
    m->waited = mla_team_waited(t->team);
    m->tokens_per_second = (double)(r->batch * r->sequence) / m->seconds;
    m->share_of_peak = (t->plan.memory.cost.forward_flops + t->plan.memory.cost.backward_flops) *
                       ((double)t->mine.count / (double)t->rows) / m->seconds / t->plan.peak_flops;
    m->memory = mla_memory_peak();
    return MLA_OK;
}

/* ---- after a step ---- */

static bool due(const trainer *t, int64_t every) { return every > 0 && t->state.step % every == 0; }

static mla_status evaluate(trainer *t, int64_t batches, mla_label_scores *out, mla_part_losses *parts) {
    const mla_held_out held_out = {.tape = t->tape,
                                   .model = t->model,
                                   .mix = &t->mix,
                                   .team = t->team,
                                   .comm = t->options->comm,
                                   .recipe = &t->recipe.train,
                                   .rows = t->rows,
                                   .precision = t->plan.precision};
    return mla_held_out_evaluate(&held_out, batches, out, parts);
}

/* Now and then on a part of what is held out, after the last step on all of it. */
static mla_status evaluate_step(trainer *t, mla_metrics *m) {
    const bool last = t->state.step == t->plan.steps;
    if (!last && !due(t, t->recipe.train.eval_every)) return MLA_OK;
    mla_label_scores scores;
    const mla_status status = evaluate(t, last ? 0 : t->recipe.train.eval_batches, &scores, &m->parts);
    m->held_out_loss = scores.loss;
    m->accuracy = scores.accuracy;
    m->macro_f1 = scores.macro_f1;
    if (last) t->final = scores, t->final_parts = m->parts;
    return status;
}

static mla_status trainer_save(trainer *t) {
    const mla_checkpoint_content content = {.model = t->model,
                                            .state = &t->state,
                                            .recipe = t->recipe_json,
                                            .tokenizer = t->data->tokenizer,
                                            .labels = t->data->labels,
                                            .adapter = t->base.adapter,
                                            .base = t->base.text,
                                            .hugging_face = mla_finetune_files(&t->base, t->data->hugging_face)};
    const double begin = mla_seconds();
    const mla_status status = mla_team_save(t->team, t->saver, content);
    t->paused = mla_seconds() - begin;
    return status;
}

static mla_status log_step(trainer *t, mla_metrics *m) {
    if (!is_first(t)) return MLA_OK;
    mla_status status = mla_saver_poll(t->saver);
    m->paused = t->paused;
    m->written = t->written;
    m->wall_time = mla_wall_time();
    t->paused = t->written = NAN;
    if (!status) status = mla_metrics_write(t->log, m);
    if (!status) status = mla_tensorboard_write(t->tensorboard, m);
    if (!status && t->options->stepped) t->options->stepped(t->options->user, m);
    return status;
}

static mla_status stop(trainer *t, bool saved) {
    mla_status status = saved ? MLA_OK : trainer_save(t);
    if (!status) status = mla_saver_wait(t->saver);
    return status ? status
                  : mla_fail(t->context, MLA_ERROR_STOPPED,
                             "stopped after step %lld, which is saved; resume with: mla train --resume %s",
                             (long long)t->state.step, t->options->out);
}

/* All ranks after the same step: the signal is known to all one step later than to one. */
static bool must_stop(const trainer *t) { return is_alone(t) ? asked_to_stop(t) : t->stopping; }

static mla_status train(trainer *t, mla_train_result *result) {
    const mla_recipe *r = &t->recipe;
    mla_metrics m = {.loss = NAN};
    bool saved = t->options->resume;
    while (t->state.step < t->plan.steps) {
        mla_status status = trainer_step(t, &m);
        if (!status) status = evaluate_step(t, &m);
        if (!status) status = log_step(t, &m);
        if (!status) status = check_skipped(t);
        saved = !status && !m.skipped && due(t, r->checkpoint.every); /* a skipped step: the last one is as good */
        if (saved) status = trainer_save(t);
        if (!status && must_stop(t)) status = stop(t, saved);
        if (status) return status;
    }
    result->step = t->state.step;
    result->loss = m.loss;
    return saved ? MLA_OK : trainer_save(t);
}

static void describe_parts(const trainer *t, mla_train_result *result) {
    for (int k = 0; k < t->mix.count; k++) {
        const mla_mix_part *part = &t->mix.parts[k];
        mla_train_part *out = &result->parts[k];
        *out = (mla_train_part){.weight = part->weight, .held_out_loss = t->final_parts.losses[k]};
        out->sequences = mla_mixture_given(&t->mix.mixture, k, t->state.samples);
        out->epochs = (double)out->sequences / (double)part->sampler.samples;
        if (part->path) snprintf(out->path, sizeof out->path, "%s", part->path);
    }
    result->part_count = t->mix.count;
}

mla_status mla_train(mla_context *context, const mla_recipe *recipe, const mla_train_options *options,
                     mla_train_result *result) {
    trainer t = {.context = context, .recipe = *recipe, .options = options, .paused = NAN, .written = NAN};
    const double begin = mla_seconds();
    *result = (mla_train_result){
        .loss = NAN, .held_out.loss = NAN, .bits_per_byte = NAN, .entropy = NAN, .source_loss = NAN};
    t.data = &t.mix.parts[0].data;
    mla_status status = set_up(&t);
    if (!status) status = train(&t, result);
    if (!status && !t.final_parts.count)
        status = evaluate(&t, 0, &t.final, &t.final_parts); /* nothing was left to do */
    if (!status) status = mla_saver_wait(t.saver);
    if (!status) {
        result->plan = t.plan;
        result->held_out = t.final;
        result->bits_per_byte = mla_held_out_bits_per_byte(&t.mix, t.final.loss, &t.final_parts);
        result->labels = t.model->config.head->labels;
        result->entropy = t.data->entropy;
        result->source_loss = t.data->source_loss;
        describe_parts(&t, result);
        result->peak_memory = mla_memory_peak();
        result->seconds = mla_seconds() - begin;
    }
    tear_down(&t);
    return status;
}
