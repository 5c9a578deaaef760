#include "train/commands/inference/eval_labels.h"
#include "data/labels/label_set.h"
#include "layers/head/classification.h"
#include "train/commands/report.h"
#include "train/run/dataset.h"
#include "train/run/prepare_labels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const mla_call *call;
    const mla_loaded *loaded;
    const mla_recipe *recipe;
    const mla_eval_labels_options *options;
    mla_label_set names;
    mla_token_file *file;
    mla_token_stream stream;
    mla_packing *packing;
    mla_label_tally tally;
    double *sums;    /* (rows, K): of probabilities, or of numbers */
    int64_t *pieces; /* (rows) */
} job;

/* ---- what is evaluated on ---- */

static mla_status read_names(job *j) {
    const mla_checkpoint *c = j->loaded->checkpoint;
    const char *json = mla_checkpoint_labels(c);
    if (!json)
        return mla_fail(j->call->context, MLA_ERROR_FORMAT, "%s: does not name its labels", mla_checkpoint_path(c));
    mla_status status = mla_label_set_parse(j->call->context, mla_checkpoint_path(c), json, &j->names);
    if (!status && j->names.count != j->loaded->model->config.num_labels)
        status = mla_fail(j->call->context, MLA_ERROR_FORMAT, "%s: names %lld labels, but its head has %lld",
                          mla_checkpoint_path(c), (long long)j->names.count,
                          (long long)j->loaded->model->config.num_labels);
    return status;
}

/* Tables become a token file as in training, which is gone when it is closed. */
static mla_status open_tables(job *j) {
    const char *folder = getenv("TMPDIR");
    char path[4096];
    mla_recipe recipe = *j->recipe;
    recipe.model = j->loaded->model->config;
    mla_prepare_labels_options o = mla_prepare_labels_options_of(&recipe);
    const mla_list names = {j->names.names, j->names.count, j->names.count};
    o.examples.paths = (const char *const *)j->call->operands->items;
    o.examples.count = j->call->operands->count;
    if (j->options->field) o.examples.field = j->options->field;
    o.labels = &names;
    o.tokenizer_json = mla_checkpoint_tokenizer(j->loaded->checkpoint);
    o.held_out = 0;
    snprintf(path, sizeof path, "%.4000s/mla-eval-%ld.h5", folder && *folder ? folder : "/tmp", (long)getpid());
    mla_status status = mla_loaded_expect_tokenizer(j->call->context, j->loaded);
    if (!status) status = mla_prepare_labels(j->call->context, &o, path);
    if (!status) status = mla_token_file_open(j->call->context, &j->file, path);
    unlink(path);
    if (!status) j->stream = *mla_token_file_stream(j->file, MLA_TRAIN);
    return status;
}

static mla_status open_tokens(job *j) {
    const mla_status status = mla_loaded_open_tokens(j->call->context, j->loaded, j->options->tokens, &j->file);
    const char *names = status ? NULL : mla_token_file_label_names(j->file);
    if (status) return status;
    j->stream = *mla_token_file_stream(j->file, MLA_HELD_OUT);
    if (names && !strcmp(names, mla_checkpoint_labels(j->loaded->checkpoint))) return MLA_OK;
    return mla_fail(j->call->context, MLA_ERROR_ARGUMENT, "%s: has %s labels, not those of %s", j->options->tokens,
                    names ? "other" : "no", mla_checkpoint_path(j->loaded->checkpoint));
}

/* ---- measuring ---- */

/* Probabilities of classes and of flags; numbers as they are. */
static void add_decision(const mla_model_config *config, const float *logits, double *sums) {
    const mla_labels_kind kind = mla_classification_labels(config);
    double top = -INFINITY, total = 0;
    for (int64_t k = 0; k < config->num_labels; k++) top = fmax(top, (double)logits[k]);
    for (int64_t k = 0; k < config->num_labels; k++) total += exp((double)logits[k] - top);
    for (int64_t k = 0; k < config->num_labels; k++) {
        const double z = (double)logits[k];
        sums[k] += kind == MLA_LABELS_CLASSES ? exp(z - top) / total : kind == MLA_LABELS_FLAGS ? 1 / (1 + exp(-z)) : z;
    }
}

static mla_status visit(void *user, int64_t row, const float *logits) {
    const job *j = user;
    add_decision(&j->loaded->model->config, logits, j->sums + row * j->names.count);
    j->pieces[row]++;
    return MLA_OK;
}

/* Flags count from a half on. */
static void tally_row(job *j, int64_t row, float *decision) {
    const bool flags = mla_classification_labels(&j->loaded->model->config) == MLA_LABELS_FLAGS;
    for (int64_t k = 0; k < j->names.count; k++)
        decision[k] = (float)(j->sums[row * j->names.count + k] / (double)j->pieces[row] - (flags ? 0.5 : 0));
    mla_label_tally_add(&j->tally, &j->stream.labels, row, decision);
}

static mla_status measure(job *j) {
    mla_context *context = j->call->context;
    const mla_decoder *model = j->loaded->model;
    const int64_t rows = j->stream.labels.form == MLA_TAGS ? j->stream.count : j->stream.documents;
    const mla_evaluation_data data = {&j->stream, j->packing, 1, j->options->sequence, MLA_F32};
    const int64_t windows = mla_window_count(&j->stream, j->packing, j->options->sequence);
    double loss = 0, pieces = 0;
    mla_tape *tape = NULL;
    float *decision = mla_alloc(context, j->names.count, sizeof *decision, "a decision");
    j->sums = mla_alloc(context, rows * j->names.count, sizeof *j->sums, "the decisions");
    j->pieces = mla_alloc(context, rows, sizeof *j->pieces, "the decisions");
    mla_status status = mla_error_status(context);
    if (!status) status = mla_tape_create(context, &tape, NULL);
    if (!status) status = mla_label_windows(tape, model, &data, 0, windows, visit, j, &loss);
    for (int64_t row = 0; row < rows && !status; row++) {
        pieces += (double)j->pieces[row];
        if (j->pieces[row]) tally_row(j, row, decision);
    }
    if (!status) j->tally.sums[MLA_TALLY_LOSS] = loss / pieces * j->tally.sums[MLA_TALLY_TARGETS];
    mla_tape_destroy(tape);
    free(decision);
    return status;
}

/* ---- the result ---- */

static void print_text(const job *j, const mla_label_scores *s) {
    FILE *out = j->call->out;
    fprintf(out, "checkpoint       %s\n", mla_checkpoint_path(j->loaded->checkpoint));
    fprintf(out, "loss             %.4f\n", s->loss);
    mla_report_scores(out, s);
    if (!isfinite(s->accuracy)) return;
    fprintf(out, "%-24s %9s %9s %9s %9s\n", "label", "precision", "recall", "F1", "examples");
    for (int64_t k = 0; k < j->names.count; k++) {
        const mla_class_scores c = mla_class_scores_of(&j->tally, k);
        fprintf(out, "%-24.24s %9.4f %9.4f %9.4f %9lld\n", j->names.names[k], c.precision, c.recall, c.f1,
                (long long)c.examples);
    }
}

static void print_json(const job *j, const mla_label_scores *s) {
    json_t *json = json_object(), *classes = json_object();
    json_object_set_new(json, "checkpoint", json_string(mla_checkpoint_path(j->loaded->checkpoint)));
    json_object_set_new(json, "targets", json_integer(s->targets));
    mla_report_number(json, "loss", s->loss);
    mla_report_number(json, "accuracy", s->accuracy);
    mla_report_number(json, "macro_f1", s->macro_f1);
    mla_report_number(json, "micro_f1", s->micro_f1);
    mla_report_number(json, "rmse", s->rmse);
    for (int64_t k = 0; k < j->names.count && isfinite(s->accuracy); k++) {
        const mla_class_scores c = mla_class_scores_of(&j->tally, k);
        json_t *entry = json_object();
        mla_report_number(entry, "precision", c.precision);
        mla_report_number(entry, "recall", c.recall);
        mla_report_number(entry, "f1", c.f1);
        json_object_set_new(entry, "examples", json_integer(c.examples));
        json_object_set_new(classes, j->names.names[k], entry);
    }
    json_object_set_new(json, "classes", classes);
    mla_report_print(j->call->out, json);
}

static mla_status check_targets(const job *j, const mla_label_scores *s) {
    if (s->targets) return MLA_OK;
    return mla_fail(j->call->context, MLA_ERROR_ARGUMENT,
                    "there is no labelled text to evaluate on: the run held none out; name files of it");
}

mla_status mla_eval_labels(const mla_call *call, const mla_loaded *loaded, const mla_recipe *recipe,
                           const mla_eval_labels_options *options) {
    job j = {.call = call, .loaded = loaded, .recipe = recipe, .options = options};
    mla_label_scores scores;
    mla_status status = read_names(&j);
    if (!status) status = options->tokens ? open_tokens(&j) : open_tables(&j);
    j.stream.labels.too_long = recipe->data.too_long;
    if (!status) status = mla_packing_create(call->context, &j.packing, &j.stream, options->sequence);
    if (!status) status = mla_label_tally_create(call->context, &j.tally, &loaded->model->config);
    if (!status) status = measure(&j);
    if (!status) scores = mla_label_scores_of(&j.tally);
    if (!status) status = check_targets(&j, &scores);
    if (!status) (options->json ? print_json : print_text)(&j, &scores);
    mla_label_tally_free(&j.tally);
    mla_packing_destroy(j.packing);
    mla_token_file_close(j.file);
    mla_label_set_free(&j.names);
    free(j.sums);
    free(j.pieces);
    return status;
}
