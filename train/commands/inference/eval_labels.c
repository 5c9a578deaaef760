#include "train/commands/inference/eval_labels.h"
#include "data/labels/label_set.h"
#include "layers/head/classification.h"
#include "train/commands/inference/label_report.h"
#include "train/run/dataset.h"
#include "train/run/label_evaluation.h"
#include "train/run/prepare_labels.h"
#include "train/scoring/curves.h"

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
    double loss;
    double *sums;    /* (rows, K): of probabilities, or of numbers */
    int64_t *pieces; /* (rows); of tokens without a label 0 */
    mla_thresholds thresholds;
    mla_decisions decisions;
} job;

/* ---- what is evaluated on ---- */

static mla_status read_names(job *j) {
    const char *json = mla_loaded_labels(j->loaded), *path = mla_loaded_path(j->loaded);
    if (!json) return mla_fail(j->call->context, MLA_ERROR_FORMAT, "%s: does not name its labels", path);
    mla_status status = mla_label_set_parse(j->call->context, path, json, &j->names);
    if (!status && j->names.count != j->loaded->model->config.num_labels)
        status = mla_fail(j->call->context, MLA_ERROR_FORMAT, "%s: names %lld labels, but its head has %lld", path,
                          (long long)j->names.count, (long long)j->loaded->model->config.num_labels);
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
    o.examples.group_field = NULL; /* nothing is held out */
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
    if (names && !strcmp(names, mla_loaded_labels(j->loaded))) return MLA_OK;
    return mla_fail(j->call->context, MLA_ERROR_ARGUMENT, "%s: has %s labels, not those of %s", j->options->tokens,
                    names ? "other" : "no", mla_loaded_path(j->loaded));
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

static int64_t row_count(const job *j) {
    return j->stream.labels.form == MLA_TAGS ? j->stream.count : j->stream.documents;
}

static mla_status measure(job *j) {
    mla_context *context = j->call->context;
    const mla_evaluation_data data = {&j->stream, j->packing, 1, j->options->sequence, j->options->precision};
    const int64_t windows = mla_window_count(&j->stream, j->packing, j->options->sequence);
    double pieces = 0;
    mla_tape *tape = NULL;
    j->sums = mla_alloc(context, row_count(j) * j->names.count, sizeof *j->sums, "the decisions");
    j->pieces = mla_alloc(context, row_count(j), sizeof *j->pieces, "the decisions");
    mla_status status = mla_error_status(context);
    if (!status) status = mla_tape_create(context, &tape, NULL);
    if (!status) status = mla_label_windows(tape, j->loaded->model, &data, 0, windows, visit, j, &j->loss);
    for (int64_t row = 0; row < row_count(j) && !status; row++) pieces += (double)j->pieces[row];
    if (!status && !(pieces > 0))
        status = mla_fail(context, MLA_ERROR_ARGUMENT,
                          "there is no labelled text to evaluate on: the run held none out; name files of it");
    j->loss /= pieces;
    mla_tape_destroy(tape);
    return status;
}

/* ---- what it decided, beside what is true ---- */

/* Row `at` of the decisions from row `row` of the stream. */
static mla_status take_row(job *j, int64_t row, int64_t at) {
    const mla_stream_labels *labels = &j->stream.labels;
    mla_decisions *d = &j->decisions;
    for (int64_t k = 0; k < d->labels; k++) {
        const double value = j->sums[row * d->labels + k] / (double)j->pieces[row];
        const float given = labels->form == MLA_VALUES ? labels->values[row * labels->width + k]
                                                       : (float)(labels->index[row] == k);
        if (!isfinite(value))
            return mla_fail(j->call->context, MLA_ERROR_ARGUMENT, "%s: labels a text with %g, which is no number",
                            mla_checkpoint_path(j->loaded->checkpoint), value);
        d->values[k * d->rows + at] = value;
        if (d->truth) d->truth[k * d->rows + at] = given > 0.5f;
        if (d->numbers) d->numbers[k * d->rows + at] = (double)given;
    }
    return MLA_OK;
}

static mla_status fill_decisions(job *j) {
    const bool tokens = j->stream.labels.form == MLA_TAGS;
    int64_t at = 0, document = 0;
    mla_status status = MLA_OK;
    for (int64_t row = 0; row < row_count(j) && !status; row++) {
        while (tokens && j->stream.offsets[document + 1] <= row) document++;
        if (!j->pieces[row]) continue;
        status = take_row(j, row, at);
        if (tokens) j->decisions.units[at] = document;
        at++;
    }
    if (tokens) j->decisions.unit_count = j->stream.documents;
    return status;
}

/* The one of two classes that is asked for: --positive, that of the model's threshold, or the second. */
static mla_status find_positive(job *j) {
    const char *name = j->options->figures->positive;
    const bool two = j->decisions.kind == MLA_LABELS_CLASSES && j->names.count == 2;
    if (name && !two)
        return mla_fail(j->call->context, MLA_ERROR_ARGUMENT,
                        "--positive is for two classes; this model has other labels");
    if (!two) return MLA_OK;
    j->decisions.positive = name                   ? mla_label_set_find(&j->names, name)
                            : j->thresholds.values ? j->thresholds.positive
                                                   : 1;
    if (j->decisions.positive < 0)
        return mla_fail(j->call->context, MLA_ERROR_ARGUMENT, "--positive %s: the labels are %s and %s", name,
                        j->names.names[0], j->names.names[1]);
    if (!j->thresholds.values || j->thresholds.positive == j->decisions.positive) return MLA_OK;
    return mla_fail(j->call->context, MLA_ERROR_ARGUMENT, "--positive %s: the model's threshold is one for %s", name,
                    j->names.names[j->thresholds.positive]);
}

static mla_status decide(job *j) {
    const mla_label_figures *f = j->options->figures;
    const mla_labels_kind kind = mla_classification_labels(&j->loaded->model->config);
    int64_t rows = 0;
    for (int64_t row = 0; row < row_count(j); row++) rows += j->pieces[row] > 0;
    mla_status status = mla_decisions_create(j->call->context, &j->decisions, kind, rows, j->names.count);
    if (!status) status = fill_decisions(j);
    if (!status) status = find_positive(j);
    if (status) return status;
    mla_decisions_decide(&j->decisions, j->thresholds.values);
    if (f->choose == MLA_CHOOSE_NONE) return MLA_OK;
    mla_thresholds_free(&j->thresholds);
    status = mla_thresholds_choose(j->call->context, &j->decisions, &j->names,
                                   f->choose == MLA_CHOOSE_FPR ? f->at_fpr : -1, &j->thresholds);
    if (!status) mla_decisions_decide(&j->decisions, j->thresholds.values);
    return status;
}

/* ---- the result ---- */

static mla_status read_thresholds(job *j) {
    const char *json = mla_loaded_thresholds(j->loaded);
    if (!json) return MLA_OK;
    return mla_thresholds_parse(j->call->context, mla_loaded_path(j->loaded), json, &j->names,
                                mla_classification_labels(&j->loaded->model->config), &j->thresholds);
}

static mla_status save_model(const job *j) {
    if (!j->options->figures->out) return MLA_OK;
    char *json = mla_thresholds_json(j->call->context, &j->thresholds, &j->names);
    const mla_status status = json ? mla_loaded_save_thresholds(j->call->context, j->loaded, json,
                                                                j->options->figures->out)
                                   : MLA_ERROR_MEMORY;
    free(json);
    return status;
}

static mla_status report(const job *j) {
    const mla_label_figures *f = j->options->figures;
    mla_bounds bounds[MLA_SCORES];
    mla_label_report r = {.out = j->call->out,
                          .checkpoint = mla_checkpoint_path(j->loaded->checkpoint),
                          .precision = j->options->precision,
                          .names = &j->names,
                          .decisions = &j->decisions,
                          .thresholds = j->thresholds.values ? &j->thresholds : NULL,
                          .saved = f->out,
                          .loss = j->loss,
                          .at_fpr = f->at_fpr,
                          .bounds = f->bootstrap ? bounds : NULL};
    mla_status status = MLA_OK;
    mla_scores_of(&j->decisions, NULL, f->at_fpr, r.scores);
    if (f->bootstrap)
        status = mla_scores_bounds(j->call->context, &j->decisions, f->at_fpr, f->bootstrap, (uint64_t)f->seed, bounds);
    if (!status) status = save_model(j);
    if (!status && f->plot) status = mla_scoring_plot(j->call->context, &j->decisions, &j->names, f->plot);
    if (!status) (j->options->json ? mla_label_report_json : mla_label_report_text)(&r);
    return status;
}

const char *const mla_choose_names[] = {"none", "f1", "fpr", NULL};

bool mla_label_figures_given(const mla_label_figures *f) {
    return f->positive || f->plot || f->out || f->bootstrap || f->seed || f->choose || f->at_fpr != MLA_USUAL_FPR;
}

static mla_status check_figures(const mla_call *call, const mla_label_figures *f) {
    if ((f->choose == MLA_CHOOSE_NONE) != !f->out)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT,
                        "--choose f1|fpr and --out FILE.h5 go together: the threshold is kept with the model");
    if (f->seed && !f->bootstrap)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT,
                        "--seed is that of the bootstrap: give --bootstrap 1000, too");
    return MLA_OK;
}

mla_status mla_eval_labels(const mla_call *call, const mla_loaded *loaded, const mla_recipe *recipe,
                           const mla_eval_labels_options *options) {
    job j = {.call = call, .loaded = loaded, .recipe = recipe, .options = options};
    mla_status status = check_figures(call, options->figures);
    if (!status) status = read_names(&j);
    if (!status) status = read_thresholds(&j);
    if (!status) status = options->tokens ? open_tokens(&j) : open_tables(&j);
    j.stream.labels.too_long = mla_recipe_too_long(&recipe->data);
    if (!status) status = mla_packing_create(call->context, &j.packing, &j.stream, options->sequence);
    if (!status) status = measure(&j);
    if (!status) status = decide(&j);
    if (!status) status = report(&j);
    mla_packing_destroy(j.packing);
    mla_token_file_close(j.file);
    mla_label_set_free(&j.names);
    mla_thresholds_free(&j.thresholds);
    mla_decisions_free(&j.decisions);
    free(j.sums);
    free(j.pieces);
    return status;
}
