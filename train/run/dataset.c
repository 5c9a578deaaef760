#include "train/run/dataset.h"
#include "data/labels/label_set.h"
#include "train/run/label_evaluation.h"
#include "train/run/prepare.h"
#include "train/run/prepare_labels.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- labels ---- */

static mla_status check_values(mla_context *context, const mla_dataset *d, const char *path,
                               const mla_token_stream *stream) {
    const mla_stream_labels *labels = &stream->labels;
    const int64_t least = labels->form == MLA_TAGS ? -1 : 0;
    const int64_t rows = labels->form == MLA_TAGS ? stream->count : stream->documents;
    bool right = labels->form != MLA_VALUES || !rows || labels->width == d->label_count;
    for (int64_t i = 0; right && labels->index && i < rows; i++)
        right = labels->index[i] >= least && labels->index[i] < d->label_count;
    for (int64_t i = 0; right && labels->values && i < rows * labels->width; i++) right = isfinite(labels->values[i]);
    if (right) return MLA_OK;
    return mla_fail(context, MLA_ERROR_FORMAT, "%s: its labels are none of the %lld that it names", path,
                    (long long)d->label_count);
}

static mla_status take_labels(mla_context *context, mla_dataset *d, const char *path) {
    mla_label_set names;
    d->labels = mla_token_file_label_names(d->file);
    if (!d->labels) return MLA_OK;
    mla_status status = mla_label_set_parse(context, path, d->labels, &names);
    if (status) return status;
    d->label_count = names.count;
    mla_label_set_free(&names);
    status = check_values(context, d, path, &d->train);
    return status ? status : check_values(context, d, path, &d->held_out);
}

mla_status mla_dataset_check_head(mla_context *context, const mla_dataset *d, const mla_model_config *model) {
    const mla_label_form form = d->train.labels.form;
    const mla_head_labels have = form == MLA_TAGS ? MLA_LABELS_OF_TOKENS
                                 : form           ? MLA_LABELS_OF_DOCUMENTS
                                                  : MLA_LABELS_NONE;
    static const char *const words[] = {[MLA_LABELS_NONE] = "no labels",
                                        [MLA_LABELS_OF_DOCUMENTS] = "labels of whole texts",
                                        [MLA_LABELS_OF_TOKENS] = "labels of tokens"};
    if (have != model->head->labels)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "model.head: %s, but the data has %s: set another head, or data",
                        model->head->name, words[have]);
    const bool classes = model->problem_type == MLA_PROBLEM_SINGLE_LABEL;
    if (have == MLA_LABELS_OF_DOCUMENTS && classes != (form == MLA_CLASSES))
        return mla_fail(context, MLA_ERROR_ARGUMENT, "model.problem_type: %s, but the data has %s a text",
                        mla_problem_names[model->problem_type], form == MLA_CLASSES ? "one class" : "several values");
    return have ? mla_check_num_labels(context, model->num_labels, d->label_count) : MLA_OK;
}

/* How often each class is in training; of flags: how often each is 1. free() them. */
static int64_t *count_labels(mla_context *context, const mla_dataset *d) {
    const mla_token_stream *s = &d->train;
    const mla_stream_labels *labels = &s->labels;
    const int64_t rows = labels->form == MLA_TAGS ? s->count : s->documents;
    int64_t *counts = mla_alloc(context, d->label_count, sizeof *counts, "the counts of labels");
    for (int64_t i = 0; counts && labels->index && i < rows; i++)
        if (labels->index[i] >= 0) counts[labels->index[i]]++;
    for (int64_t i = 0; counts && labels->values && i < rows * labels->width; i++)
        counts[i % labels->width] += labels->values[i] > 0.5f;
    return counts;
}

enum { NAMED_LABELS = 12 };

/* The most frequent first. */
static mla_status describe_labels(mla_context *context, mla_dataset *d, int64_t *counts) {
    mla_label_set names;
    char text[64 * (NAMED_LABELS + 1)];
    const mla_status status = mla_label_set_parse(context, "labels", d->labels, &names);
    if (status) return status;
    size_t used = (size_t)snprintf(text, sizeof text, "%lld labels", (long long)names.count);
    for (int64_t i = 0; i < names.count && i < NAMED_LABELS; i++) {
        int64_t best = 0;
        for (int64_t k = 1; k < names.count; k++) best = counts[k] > counts[best] ? k : best;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%.30s %lld", i ? ", " : ": ", names.names[best],
                                 (long long)counts[best]);
        counts[best] = -1;
    }
    if (names.count > NAMED_LABELS) snprintf(text + used, sizeof text - used, ", ...");
    mla_label_set_free(&names);
    d->label_text = strdup(text);
    return d->label_text ? MLA_OK : mla_fail(context, MLA_ERROR_MEMORY, "no memory for the names of labels");
}

/* So that all classes weigh alike: examples / (classes * examples of it), as scikit-learn's "balanced"; flags: examples
 * without / examples with it. */
static mla_status weigh_labels(mla_context *context, mla_dataset *d, const int64_t *counts) {
    const bool flags = d->train.labels.form == MLA_VALUES;
    double all = flags ? (double)d->train.documents : 0;
    d->label_weights = mla_alloc(context, d->label_count, sizeof *d->label_weights, "the weights of classes");
    for (int64_t k = 0; k < d->label_count && !flags; k++) all += (double)counts[k];
    for (int64_t k = 0; d->label_weights && k < d->label_count; k++) {
        const double n = (double)counts[k], each = flags ? 1 : (double)d->label_count;
        if (!counts[k])
            return mla_fail(context, MLA_ERROR_ARGUMENT,
                            "data.class_weights: no example in training has label %lld: set it to none", (long long)k);
        d->label_weights[k] = (float)((all - (flags ? n : 0)) / (each * n));
    }
    return mla_error_status(context);
}

static mla_status look_at_labels(mla_context *context, mla_dataset *d, const mla_recipe *recipe) {
    d->train.labels.too_long = d->held_out.labels.too_long = mla_recipe_too_long(&recipe->data);
    const mla_recipe_data *data = &recipe->data;
    const bool wanted = data->class_weights || data->text_template || data->group_field || data->sequence_field ||
                        data->order_field || data->labels.count || recipe->train.label_smoothing > 0;
    if (!d->labels && wanted)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "data.class_weights, text_template, group_field, sequence_field, order_field and labels, and "
                        "train.label_smoothing are for labelled texts (model.head: sequence or token)");
    if (!d->labels) return MLA_OK;
    if (recipe->model.problem_type == MLA_PROBLEM_REGRESSION)
        return data->class_weights
                   ? mla_fail(context, MLA_ERROR_ARGUMENT, "data.class_weights: numbers have no classes")
                   : MLA_OK;
    int64_t *counts = count_labels(context, d);
    mla_status status = counts ? MLA_OK : MLA_ERROR_MEMORY;
    if (!status && recipe->data.class_weights) status = weigh_labels(context, d, counts);
    if (!status) status = describe_labels(context, d, counts);
    free(counts);
    return status;
}

void mla_dataset_add_labels(mla_tape *tape, const mla_dataset *d, mla_batch *batch) {
    batch->labels = mla_label_input(tape, &d->train);
    if (d->label_weights) batch->label_weights = mla_input(tape, MLA_F32, 1, &d->label_count, d->label_weights);
}

/* ---- opening ---- */

static mla_status open_file(mla_context *context, mla_dataset *d, const char *path) {
    const mla_status status = mla_token_file_open(context, &d->file, path);
    if (status) return status;
    d->train = *mla_token_file_stream(d->file, MLA_TRAIN);
    d->held_out = *mla_token_file_stream(d->file, MLA_HELD_OUT);
    d->vocabulary_size = mla_token_file_vocabulary_size(d->file);
    d->tokenizer = mla_token_file_tokenizer(d->file);
    d->hugging_face = mla_token_file_hugging_face(d->file);
    return take_labels(context, d, path);
}

/* The part's tokens, generated into memory of the dataset's own. */
static mla_status generate(mla_context *context, mla_dataset *d, uint64_t part, int64_t count, mla_token_stream *out) {
    int32_t *tokens = mla_alloc(context, count, sizeof *tokens, "the synthetic tokens");
    if (!tokens) return MLA_ERROR_MEMORY;
    mla_synthetic_generate(d->synthetic, part, count, tokens);
    *out = (mla_token_stream){.count = count, .wide = tokens};
    return MLA_OK;
}

static mla_status open_synthetic(mla_context *context, mla_dataset *d, const mla_recipe *recipe) {
    const mla_recipe_synthetic *s = &recipe->data.synthetic;
    const int64_t held_out = (int64_t)((double)s->tokens * recipe->data.held_out);
    mla_status status = mla_synthetic_create(context, &d->synthetic,
                                             &(mla_synthetic_options){.vocabulary = s->vocabulary,
                                                                      .order = (int)s->order,
                                                                      .sharpness = s->sharpness,
                                                                      .seed = mla_recipe_data_seed(recipe)});
    if (!status) status = generate(context, d, 0, s->tokens, &d->train);
    if (!status) status = generate(context, d, 1, held_out, &d->held_out);
    if (status) return status;
    d->vocabulary_size = mla_synthetic_vocabulary(d->synthetic);
    d->entropy = mla_synthetic_entropy(d->synthetic);
    if (held_out > s->order) d->source_loss = mla_synthetic_loss(d->synthetic, held_out, d->held_out.wide);
    return MLA_OK;
}

static mla_status prepare(mla_context *context, const mla_recipe *recipe, const char *path) {
    const mla_recipe_format format = recipe->data.format;
    const bool labels = recipe->model.head->labels,
               fits = format == MLA_RECIPE_AUTO || labels == (format == MLA_RECIPE_LABELS);
    const mla_prepare_options text = mla_prepare_options_of(&recipe->data);
    const mla_prepare_labels_options labelled = mla_prepare_labels_options_of(recipe);
    if (!fits)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "data.format: %s, but model.head is %s: %s",
                        labels ? "not labels" : "labels", recipe->model.head->name,
                        labels ? "set format to labels" : "set head to sequence or token");
    return labels ? mla_prepare_labels(context, &labelled, path) : mla_prepare(context, &text, path, NULL);
}

static mla_status open_text(mla_context *context, mla_dataset *d, const mla_recipe *recipe, const char *dir,
                            mla_dataset_text text) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/tokens.h5", dir);
    const bool prepared = text != MLA_TEXT_PREPARE && !access(path, F_OK);
    if (!prepared && text == MLA_TEXT_PREPARED)
        return mla_fail(context, MLA_ERROR_IO,
                        "%s: cannot be seen here, but on the host of rank 0: the run folder must be "
                        "in a file system that all hosts share",
                        path);
    mla_status status = prepared ? MLA_OK : prepare(context, recipe, path);
    return status ? status : open_file(context, d, path);
}

mla_status mla_dataset_open(mla_context *context, mla_dataset *d, const mla_recipe *recipe, const char *dir,
                            mla_dataset_text text) {
    *d = (mla_dataset){.entropy = NAN, .source_loss = NAN};
    if (recipe->data.synthetic.tokens > 0) return open_synthetic(context, d, recipe);
    const mla_status status = recipe->data.tokens ? open_file(context, d, recipe->data.tokens)
                                                  : open_text(context, d, recipe, dir, text);
    return status ? status : look_at_labels(context, d, recipe);
}

mla_status mla_dataset_pack(mla_context *context, mla_dataset *d, const mla_recipe *recipe, uint64_t seed) {
    const mla_recipe_packing packing = recipe->data.packing;
    const int64_t sequence = recipe->train.sequence;
    if (packing == MLA_PACKING_STREAM && d->labels)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "data.packing: labelled texts stay whole; use whole or auto");
    if (packing == MLA_PACKING_STREAM || (packing == MLA_PACKING_AUTO && !d->train.answers && !d->labels))
        return MLA_OK;
    const mla_status status = mla_packing_create_shuffled(context, &d->packed_train, &d->train, sequence, seed);
    return status ? status : mla_packing_create(context, &d->packed_held_out, &d->held_out, sequence);
}

static void warn(mla_context *context, const mla_packing *packing, const mla_token_stream *stream, const char *which,
                 int64_t sequence) {
    const bool at_start = stream->labels.too_long == MLA_TOO_LONG_CUT_START;
    if (!packing) return;
    const mla_packing_report r = mla_packing_report_of(packing);
    if (r.cut)
        mla_warn(context, "%lld of %lld %s are longer than train.sequence %lld: their %s are cut off", (long long)r.cut,
                 (long long)r.documents, which, (long long)sequence, at_start ? "oldest rows" : "ends");
    if (r.left_out)
        mla_warn(context, "%lld of %lld %s are left out: no answer begins within train.sequence %lld",
                 (long long)r.left_out, (long long)r.documents, which, (long long)sequence);
}

void mla_dataset_warn(mla_context *context, const mla_dataset *d, int64_t sequence) {
    warn(context, d->packed_train, &d->train, "examples", sequence);
    warn(context, d->packed_held_out, &d->held_out, "held-out examples", sequence);
}

void mla_dataset_close(mla_dataset *d) {
    mla_packing_destroy(d->packed_train);
    mla_packing_destroy(d->packed_held_out);
    if (d->synthetic) {
        free((void *)(uintptr_t)d->train.wide);
        free((void *)(uintptr_t)d->held_out.wide);
    }
    mla_synthetic_destroy(d->synthetic);
    mla_token_file_close(d->file);
    free(d->label_text);
    free(d->label_weights);
    *d = (mla_dataset){0};
}
