/* mla train: a run from a recipe, or the rest of one. */
#include "train/commands/training/train.h"
#include "autograd/kernels/gemm.h"
#include "train/commands/output.h"
#include "train/commands/training/stop_signals.h"
#include "train/commands/version.h"
#include "train/log/progress.h"
#include "train/run/trainer.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    char *out, *resume;
    mla_list set;
    bool json;
} options;

#define AT(member) offsetof(options, member)
static const mla_field fields[] = {
    {"out", MLA_FIELD_STRING, AT(out), .help = "the run folder; otherwise checkpoint.out of the recipe"},
    {"resume", MLA_FIELD_STRING, AT(resume), .help = "a run folder to resume, by its own recipe.yaml"},
    {"set", MLA_FIELD_LIST, AT(set), .help = "section.key=value instead of the recipe's; may be repeated"},
    {"json", MLA_FIELD_BOOL, AT(json), .help = "print the result as JSON, and no progress"},
};
#undef AT
const mla_field_table mla_train_command_options = {fields, sizeof fields / sizeof *fields, sizeof(options)};

/* ---- what is shown on the way ---- */

typedef struct {
    mla_context *context;
    mla_progress *progress;
    const mla_recipe_train *recipe;
    const char *dir;
} watcher;

/* Where there is nothing left to do: how to train longer, by the key that says how long. */
static void show_steps(const watcher *w, const mla_run_plan *plan, const char *tokens, const char *parameters) {
    const char *key = w->recipe->steps > 0 ? "steps" : w->recipe->epochs > 0 ? "epochs" : "tokens";
    const long long done = plan->first_step, all = plan->steps;
    if (done < all)
        mla_progress_note(w->progress, "%s parameters, %s tokens to train on, steps %lld to %lld", parameters, tokens,
                          done + 1, all);
    else
        mla_progress_note(w->progress,
                          "%s parameters; the run is complete, all %lld steps are done. To train longer: "
                          "mla train --resume %s --set train.%s=MORE",
                          parameters, done, w->dir, key);
}

/* What auto has chosen and why; and where the recipe has chosen otherwise, as that of a resumed run may have. A bf16
 * that the processor does not multiply is warned of where it is chosen. */
static void show_precision(const watcher *w, const mla_run_plan *plan) {
    const bool bf16 = plan->precision == MLA_BF16, native = mla_gemm_has_bf16();
    if (w->recipe->precision == MLA_PRECISION_AUTO)
        mla_progress_note(w->progress, "train.precision=auto is %s here: %s", mla_dtype_name(plan->precision),
                          bf16     ? mla_gemm_has_amx() ? "the processor multiplies bf16, by AMX"
                                                        : "the processor multiplies bf16, by AVX-512"
                          : native ? "not all ranks have processors that multiply bf16"
                                   : "the processor does not multiply bf16");
    else if (!bf16 && native)
        mla_progress_note(w->progress, "precision f32 by the recipe, though the processor multiplies bf16: "
                                       "train.precision=auto would choose that");
}

static void show_plan(void *user, const mla_run_plan *plan) {
    watcher *w = user;
    char parameters[32], tokens[32], memory[32];
    mla_count_text((double)plan->parameters, sizeof parameters, parameters);
    mla_count_text((double)plan->train_tokens, sizeof tokens, tokens);
    mla_bytes_text((double)plan->predicted_memory, sizeof memory, memory);
    if (mla_progress_create(w->context, &w->progress,
                            &(mla_progress_options){stderr, plan->steps, w->recipe->log_every}))
        return;
    show_steps(w, plan, tokens, parameters);
    if (plan->labels) mla_progress_note(w->progress, "%s", plan->labels);
    if (plan->trained < plan->parameters) {
        mla_count_text((double)plan->trained, sizeof parameters, parameters);
        mla_progress_note(w->progress, "%s of them are trained, the others are frozen", parameters);
    }
    show_precision(w, plan);
    mla_progress_note(w->progress, "predicted memory %s; matrix products here reach %.0f GFLOP/s in %s", memory,
                      plan->peak_flops / 1e9, mla_dtype_name(plan->precision));
}

static void show_step(void *user, const mla_metrics *metrics) {
    const watcher *w = user;
    if (w->progress) mla_progress_step(w->progress, metrics);
}

static void show_saved(void *user, const mla_saved *saved) {
    const watcher *w = user;
    if (w->progress)
        mla_progress_note(w->progress, "step %lld is saved: written in %.2f s, training paused for %.2f s",
                          (long long)saved->step, saved->seconds, saved->paused);
}

/* ---- the result ---- */

static json_t *parts_json(const mla_train_result *r) {
    json_t *parts = json_array();
    for (int k = 0; k < r->part_count; k++) {
        const mla_train_part *part = &r->parts[k];
        json_t *json = json_object();
        json_object_set_new(json, "path", json_string(part->path));
        mla_output_number(json, "weight", part->weight);
        mla_output_number(json, "held_out_loss", part->held_out_loss);
        json_object_set_new(json, "sequences", json_integer(part->sequences));
        mla_output_number(json, "epochs", part->epochs);
        json_array_append_new(parts, json);
    }
    return parts;
}

static void print_parts(FILE *out, const mla_train_result *r) {
    for (int k = 0; k < r->part_count && r->part_count > 1; k++) {
        const mla_train_part *part = &r->parts[k];
        fprintf(out, "part %-11d %s: %.1f %%, %lld sequences, %.2f epochs", k + 1, part->path, 100 * part->weight,
                (long long)part->sequences, part->epochs);
        if (isfinite(part->held_out_loss)) fprintf(out, ", held-out loss %.4f", part->held_out_loss);
        fputc('\n', out);
    }
}

static void train_print_json(FILE *out, const mla_train_result *r, const char *dir) {
    json_t *json = json_object();
    json_object_set_new(json, "out", json_string(dir));
    json_object_set_new(json, "step", json_integer(r->step));
    json_object_set_new(json, "parameters", json_integer(r->plan.parameters));
    json_object_set_new(json, "trained_parameters", json_integer(r->plan.trained));
    json_object_set_new(json, "precision", json_string(mla_dtype_name(r->plan.precision)));
    mla_output_number(json, "loss", r->loss);
    mla_output_number(json, "held_out_loss", r->held_out.loss);
    if (r->labels) {
        mla_output_number(json, "accuracy", r->held_out.accuracy);
        mla_output_number(json, "macro_f1", r->held_out.macro_f1);
        mla_output_number(json, "micro_f1", r->held_out.micro_f1);
        mla_output_number(json, "rmse", r->held_out.rmse);
    }
    mla_output_number(json, "bits_per_byte", r->bits_per_byte);
    if (r->part_count > 1) json_object_set_new(json, "parts", parts_json(r));
    mla_output_number(json, "entropy", r->entropy);
    mla_output_number(json, "source_loss", r->source_loss);
    json_object_set_new(json, "predicted_memory", json_integer(r->plan.predicted_memory));
    json_object_set_new(json, "peak_memory", json_integer(r->peak_memory));
    mla_output_number(json, "seconds", r->seconds);
    mla_output_print(out, json);
}

static void train_print_text(FILE *out, const mla_train_result *r, const char *dir) {
    char predicted[32], peak[32], seconds[32];
    mla_bytes_text((double)r->plan.predicted_memory, sizeof predicted, predicted);
    mla_bytes_text((double)r->peak_memory, sizeof peak, peak);
    mla_duration_text(r->seconds, sizeof seconds, seconds);
    const char *unit = r->labels == MLA_LABELS_OF_DOCUMENTS ? "per text" : "nats per token";
    if (isfinite(r->loss)) fprintf(out, "loss             %.4f %s at step %lld\n", r->loss, unit, (long long)r->step);
    if (isfinite(r->held_out.loss)) fprintf(out, "held-out loss    %.4f %s\n", r->held_out.loss, unit);
    if (r->labels) mla_output_scores(out, &r->held_out);
    if (isfinite(r->bits_per_byte)) fprintf(out, "                 %.4f bits per byte\n", r->bits_per_byte);
    print_parts(out, r);
    if (isfinite(r->entropy)) fprintf(out, "source entropy   %.4f nats per token\n", r->entropy);
    if (isfinite(r->source_loss)) fprintf(out, "                 %.4f on the held-out tokens\n", r->source_loss);
    fprintf(out, "peak memory      %s (predicted %s)\n", peak, predicted);
    fprintf(out, "time             %s\n", seconds);
    fprintf(out, "run folder       %s\n", dir);
}

/* ---- running ---- */

static mla_status needs_one(mla_context *context, const char *command, bool has_both) {
    const bool adapts = !strcmp(command, "finetune");
    if (has_both)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%s takes a recipe or --resume, not both: a run resumes by its own recipe, of which --set "
                        "changes a key",
                        command);
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "%s needs a recipe, or --resume and a run folder. %s; mla %s --help and mla help recipe tell the "
                    "rest",
                    command,
                    adapts ? "For adapters on a model begin with: mla finetune lora --set finetune.base=CHECKPOINT"
                           : "For a first model in a few minutes run ./train/quickstart.sh",
                    command);
}

static mla_status load_recipe(const mla_call *call, const char *command, const options *o, mla_recipe *recipe) {
    char begun[PATH_MAX] = "";
    const bool has_recipe = call->operands->count > 0;
    if (has_recipe == (o->resume != NULL)) return needs_one(call->context, command, has_recipe);
    if (o->resume) snprintf(begun, sizeof begun, "%s/recipe.yaml", o->resume);
    if (o->resume && access(begun, F_OK))
        return mla_fail(call->context, MLA_ERROR_IO,
                        "%s: %s: there is no run to resume that had begun; begin it by: "
                        "mla train RECIPE.yaml --out %s",
                        begun, strerror(errno), o->resume);
    return mla_recipe_load(call->context, recipe, has_recipe ? call->operands->items[0] : begun,
                           (const char *const *)o->set.items, o->set.count);
}

static mla_status train(const mla_call *call, const options *o, const mla_recipe *recipe) {
    const char *dir = o->resume ? o->resume : o->out ? o->out : recipe->checkpoint.out;
    watcher watch = {.context = call->context, .recipe = &recipe->train, .dir = dir};
    mla_train_result result;
    if (!dir) return mla_fail(call->context, MLA_ERROR_ARGUMENT, "name the run folder: --out DIR");
    mla_train_options train = {.comm = *call->comm,
                               .out = dir,
                               .version = mla_version_and_commit(),
                               .resume = o->resume != NULL,
                               .user = &watch};
    if (mla_stop_signals_take(call->context, &train.stop)) return mla_error_status(call->context);
    const bool first = mla_comm_rank(*call->comm) == 0; /* of several ranks, this one talks */
    if (!o->json && first) {
        train.started = show_plan;
        train.stepped = show_step;
        train.saved = show_saved;
    }
    const mla_status status = mla_train(call->context, recipe, &train, &result);
    if (watch.progress) mla_progress_end(watch.progress);
    if (!status && first) (o->json ? train_print_json : train_print_text)(call->out, &result, dir);
    return status;
}

mla_status mla_train_command_run(const mla_call *call, bool needs_base) {
    const options *o = call->options;
    mla_recipe recipe;
    mla_status status = load_recipe(call, needs_base ? "finetune" : "train", o, &recipe);
    if (status) return status;
    if (needs_base && !recipe.finetune.base)
        status = mla_fail(call->context, MLA_ERROR_ARGUMENT,
                          "finetune needs a model to begin with: finetune.base in the "
                          "recipe, or --set finetune.base=CHECKPOINT");
    if (!status) status = mla_comm_start(call->context, recipe.train.comm_timeout, call->comm);
    if (!status) {
        mla_context_set_threads(call->context, mla_comm_threads(*call->comm, call->context, (int)recipe.train.threads));
        status = train(call, o, &recipe);
    }
    mla_recipe_free(&recipe);
    return status;
}

static mla_status train_run(const mla_call *call) { return mla_train_command_run(call, false); }

const mla_command mla_command_train = {
    .name = "train",
    .summary = "Train a model by a recipe, or resume a run",
    .operands = "[RECIPE]",
    .min_operands = 0,
    .max_operands = 1,
    .example = "  mla train quickstart --set train.steps=1000 --out runs/first\n"
               "  mla train my-recipe.yaml --out runs/second\n"
               "  mla train --resume runs/first\n"
               "  mpirun -n 4 mla train my-recipe.yaml --out runs/third\n",
    .options = &mla_train_command_options,
    .run = train_run,
    .ranks = true,
};
