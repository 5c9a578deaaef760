#include "train/run/prepare_labels.h"
#include "autograd/base/few_names.h"
#include "data/labels/label_set.h"
#include "data/labels/split.h"
#include "data/tokens/token_file.h"
#include "layers/head/head.h"
#include "train/hugging_face/chat_files.h"
#include "train/run/text_sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static mla_label_column column_of(const mla_model_config *model) {
    if (model->head->labels == MLA_LABELS_OF_TOKENS) return MLA_LABEL_SPANS;
    return model->problem_type == MLA_PROBLEM_REGRESSION    ? MLA_LABEL_NUMBERS
           : model->problem_type == MLA_PROBLEM_MULTI_LABEL ? MLA_LABEL_NAMES
                                                            : MLA_LABEL_NAME;
}

mla_prepare_labels_options mla_prepare_labels_options_of(const mla_recipe *recipe) {
    const mla_recipe_data *data = &recipe->data;
    return (mla_prepare_labels_options){.examples = {.paths = (const char *const *)data->source.items,
                                                     .count = data->source.count,
                                                     .field = data->field,
                                                     .text_template = data->text_template,
                                                     .label_field = data->label_field,
                                                     .group_field = data->group_field,
                                                     .sequence_field = data->sequence_field,
                                                     .order_field = data->order_field,
                                                     .labels = column_of(&recipe->model)},
                                        .labels = &data->labels,
                                        .num_labels = recipe->model.num_labels,
                                        .tokenizer = data->tokenizer,
                                        .vocab_size = data->vocab_size,
                                        .held_out = data->held_out,
                                        .bos = data->bos};
}

mla_status mla_check_num_labels(mla_context *context, int64_t wanted, int64_t found) {
    if (!wanted || wanted == found) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT, "model.num_labels: %lld, but the data has %lld label%s: leave it out",
                    (long long)wanted, (long long)found, found == 1 ? "" : "s");
}

typedef struct {
    mla_context *context;
    const mla_prepare_labels_options *options;
    mla_examples *examples;
    mla_label_set labels;
    mla_split_row *rows; /* of all examples, in their order */
    int64_t count, capacity;
    int64_t width; /* of numbers */
    mla_tokenizer *tokenizer;
    mla_frame frame; /* what it puts around texts; nothing without data.bos */
    mla_encoder *encoder;
    mla_token_writer *writer;
    mla_id_list ids;
    int32_t *tags;
    float *flags;
    int64_t tag_capacity;
} job;

/* ---- the first pass: which labels there are, and who is held out ---- */

static mla_status given_labels(job *j) {
    const mla_list *names = j->options->labels;
    mla_status status = MLA_OK;
    int64_t number;
    for (int64_t i = 0; i < names->count && !status; i++) {
        status = mla_label_set_add(j->context, &j->labels, names->items[i], &number);
        if (!status && number != i)
            status = mla_fail(j->context, MLA_ERROR_ARGUMENT, "data.labels: %s is there twice", names->items[i]);
    }
    j->labels.closed = names->count > 0;
    return status;
}

static mla_status number_of(job *j, const mla_example *e, const char *name, int64_t *out) {
    const mla_status status = mla_label_set_add(j->context, &j->labels, name, out);
    if (status || *out >= 0) return status;
    mla_few_names known = {0};
    for (int64_t i = 0; i < j->labels.count; i++) mla_few_names_add(&known, j->labels.names[i]);
    return mla_fail(j->context, MLA_ERROR_FORMAT, "%s: the label \"%.100s\" is none of the %lld that are known: %s",
                    e->place, name, (long long)known.count, known.text);
}

static mla_status check_width(job *j, const mla_example *e) {
    if (!j->width) j->width = e->count;
    if (j->width == e->count) return MLA_OK;
    return mla_fail(j->context, MLA_ERROR_FORMAT, "%s: %lld numbers, but the rows before have %lld", e->place,
                    (long long)e->count, (long long)j->width);
}

/* "B-PER" and "I-PER": where a span begins, and where it goes on. */
static mla_status number_of_span(job *j, const mla_example *e, const char *label, char part, int64_t *out) {
    char name[256];
    if (snprintf(name, sizeof name, "%c-%s", part, label) >= (int)sizeof name)
        return mla_fail(j->context, MLA_ERROR_FORMAT, "%s: the label %.40s... is too long", e->place, label);
    return number_of(j, e, name, out);
}

static mla_status note_labels(job *j, const mla_example *e, int64_t *stratum) {
    int64_t number = 0;
    mla_status status = MLA_OK;
    *stratum = 0;
    if (j->options->examples.labels == MLA_LABEL_NUMBERS) return check_width(j, e);
    for (int64_t i = 0; i < e->count && !status; i++) {
        if (e->names) status = number_of(j, e, e->names[i], &number);
        else status = number_of_span(j, e, e->spans[i].label, 'B', &number);
        if (!status && e->spans) status = number_of_span(j, e, e->spans[i].label, 'I', &number);
        if (!i) *stratum = number + 1;
    }
    return status;
}

static mla_status note(job *j, const mla_example *e) {
    mla_status status = mla_grow(j->context, &j->rows, &j->capacity, j->count + 1, sizeof *j->rows, "the examples");
    int64_t stratum;
    if (!status) status = note_labels(j, e, &stratum);
    if (status) return status;
    const char *content = e->group ? e->group : e->text;
    const uint64_t hash = XXH3_64bits(content, e->group ? strlen(e->group) : (size_t)e->length);
    j->rows[j->count++] = (mla_split_row){hash, e->group ? 0 : stratum, false};
    return MLA_OK;
}

static mla_status each(job *j, mla_status (*visit)(job *j, const mla_example *e)) {
    const mla_example *e;
    mla_status status;
    mla_examples_rewind(j->examples);
    while (!(status = mla_examples_next(j->examples, &e)) && e)
        if ((status = visit(j, e))) break;
    return status;
}

static mla_status scan(job *j) {
    const bool spans = j->options->examples.labels == MLA_LABEL_SPANS;
    int64_t outside;
    mla_status status = given_labels(j);
    if (!status && spans && !j->labels.closed) status = mla_label_set_add(j->context, &j->labels, "O", &outside);
    if (!status) status = each(j, note);
    if (status || j->count) return status;
    return mla_fail(j->context, MLA_ERROR_ARGUMENT, "%s: has no rows", j->options->examples.paths[0]);
}

/* Numbers have no names of their own. */
static mla_status name_numbers(job *j) {
    const char *column = j->options->examples.label_field;
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < j->width && !status; i++) {
        char name[256];
        int64_t number;
        if (j->width == 1) snprintf(name, sizeof name, "%s", column);
        else snprintf(name, sizeof name, "%.200s_%lld", column, (long long)i);
        status = mla_label_set_add(j->context, &j->labels, name, &number);
    }
    return status;
}

static mla_status order_labels(job *j) {
    int32_t *place = NULL;
    if (j->options->examples.labels == MLA_LABEL_NUMBERS) return j->labels.closed ? MLA_OK : name_numbers(j);
    if (j->options->examples.labels == MLA_LABEL_NAME && !j->labels.closed && j->labels.count < 2)
        return mla_fail(j->context, MLA_ERROR_ARGUMENT,
                        "%s: all examples have one label, \"%s\": there is nothing to learn",
                        j->options->examples.paths[0], j->labels.count ? j->labels.names[0] : "");
    const mla_status status = j->labels.closed ? MLA_OK : mla_label_set_sort(j->context, &j->labels, &place);
    free(place);
    return status;
}

/* Strata are numbered from 1 on, in the order in which labels came; 0: groups, numbers, no label. */
static mla_status warn_of_single(job *j) {
    int64_t single = 0, *members = mla_alloc(j->context, j->labels.count + 1, sizeof *members, "counts of labels");
    if (!members) return MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < j->count; i++) members[j->rows[i].stratum]++;
    for (int64_t i = 1; i <= j->labels.count; i++) single += members[i] == 1;
    if (single)
        mla_warn(j->context, "%lld of %lld labels have one example only, which is not held out", (long long)single,
                 (long long)j->labels.count);
    free(members);
    return MLA_OK;
}

static mla_status choose_held_out(job *j) {
    int64_t held_out = 0;
    mla_status status = mla_split(j->context, j->count, j->rows, j->options->held_out);
    for (int64_t i = 0; i < j->count; i++) held_out += j->rows[i].held_out;
    if (!status && j->options->examples.labels == MLA_LABEL_NAME && j->options->held_out > 0)
        status = warn_of_single(j);
    if (status || held_out || !(j->options->held_out > 0)) return status;
    return mla_fail(j->context, MLA_ERROR_ARGUMENT, "%s: no example can be held out%s; set data.held_out to 0",
                    j->options->examples.paths[0], j->options->examples.group_field ? ", as all are of one group" : "");
}

/* ---- the second pass: tokens ---- */

/* The rows in the order in which the examples come. */
static mla_status make_tokenizer(job *j) {
    const mla_prepare_labels_options *o = j->options;
    const mla_example *e;
    mla_text_sample sample = {0};
    mla_status status = MLA_OK;
    mla_examples_rewind(j->examples);
    const bool is_new = !o->tokenizer_json && !strcmp(o->tokenizer, "bpe");
    for (int64_t i = 0; is_new && sample.bytes < MLA_SAMPLE_BYTES; i++) {
        status = mla_examples_next(j->examples, &e);
        if (status || !e) break;
        if (!j->rows[i].held_out) status = mla_text_sample_add(j->context, &sample, e->text, e->length);
        if (status) break;
    }
    if (!status)
        status = o->tokenizer_json
                     ? mla_tokenizer_parse(j->context, &j->tokenizer, o->tokenizer_json,
                                           (int64_t)strlen(o->tokenizer_json))
                     : mla_tokenizer_make(j->context, o->tokenizer, o->vocab_size, &sample, &j->tokenizer);
    mla_text_sample_free(&sample);
    const mla_encoder_options encoder = {.added = MLA_ADDED_PLAIN, .frame = o->bos};
    if (!status && o->bos) j->frame = mla_tokenizer_frame(j->tokenizer);
    return status ? status : mla_encoder_create(j->context, &j->encoder, j->tokenizer, &encoder);
}

static mla_token_split side_of(const job *j) { return j->rows[j->count].held_out ? MLA_HELD_OUT : MLA_TRAIN; }

static mla_status check_length(job *j, const mla_example *e, int64_t length) {
    if (length == e->length) return MLA_OK;
    return mla_fail(j->context, MLA_ERROR_FORMAT,
                    "%s: the tokenizer changes the text (its normalizer), so that spans have no place in it", e->place);
}

/* A token belongs to the span that it shares a character with; the first of a span begins it. */
static mla_status tag(job *j, const mla_example *e) {
    const int64_t inside = j->frame.before_count, end = j->ids.count - j->frame.behind_count;
    int64_t at = 0;
    mla_status status = mla_grow(j->context, &j->tags, &j->tag_capacity, j->ids.count + 1, sizeof *j->tags, "tags");
    const int64_t outside = mla_label_set_find(&j->labels, "O");
    bool begun[64] = {false};
    for (int64_t i = 0; i < j->ids.count && !status; i++) j->tags[i] = -1;
    for (int64_t i = inside, length; i < end && !status; i++, at += length) {
        const char *bytes;
        int64_t number = outside;
        status = mla_tokenizer_token(j->context, j->tokenizer, j->ids.ids[i], &bytes, &length);
        for (int64_t k = 0; k < e->count && !status; k++) {
            const mla_text_span *s = &e->spans[k];
            int64_t from = at;
            while (from < at + length && e->text[from] == ' ') from++; /* a token brings the space before it along */
            if (at + length <= s->begin || from >= s->end) continue;
            status = number_of_span(j, e, s->label, k < 64 && begun[k] ? 'I' : 'B', &number);
            if (k < 64) begun[k] = true;
            break;
        }
        j->tags[i] = (int32_t)number;
    }
    if (!status) status = check_length(j, e, at);
    return status ? status : mla_token_writer_label(j->writer, side_of(j), j->ids.count, j->tags);
}

static mla_status write_label(job *j, const mla_example *e) {
    const int64_t width = j->labels.count;
    if (e->numbers) return mla_token_writer_label(j->writer, side_of(j), e->count, e->numbers);
    if (j->options->examples.labels == MLA_LABEL_SPANS) return tag(j, e);
    if (j->options->examples.labels == MLA_LABEL_NAME)
        return mla_token_writer_label(j->writer, side_of(j), 1,
                                      &(int32_t){(int32_t)mla_label_set_find(&j->labels, e->names[0])});
    if (!j->flags) j->flags = mla_alloc(j->context, width, sizeof *j->flags, "labels");
    if (!j->flags) return MLA_ERROR_MEMORY;
    memset(j->flags, 0, (size_t)width * sizeof *j->flags);
    for (int64_t i = 0; i < e->count; i++) j->flags[mla_label_set_find(&j->labels, e->names[i])] = 1;
    return mla_token_writer_label(j->writer, side_of(j), width, j->flags);
}

static mla_status encode(job *j, const mla_example *e) {
    j->ids.count = 0;
    mla_status status = mla_encoder_encode(j->context, j->encoder, e->text, e->length, &j->ids);
    if (!status) status = mla_token_writer_append(j->writer, side_of(j), j->ids.count, j->ids.ids, NULL, 0);
    if (!status) status = write_label(j, e);
    j->count++;
    return status;
}

static mla_status write_tokens(job *j, const char *path) {
    static const mla_label_form forms[] = {[MLA_LABEL_NAME] = MLA_CLASSES,
                                           [MLA_LABEL_NAMES] = MLA_VALUES,
                                           [MLA_LABEL_NUMBERS] = MLA_VALUES,
                                           [MLA_LABEL_SPANS] = MLA_TAGS};
    const bool is_file = !j->options->tokenizer_json && mla_tokenizer_is_file(j->options->tokenizer);
    char *json = mla_tokenizer_json(j->context, j->tokenizer), *names = mla_label_set_json(j->context, &j->labels);
    char *files = NULL;
    mla_status status = json && names ? MLA_OK : MLA_ERROR_MEMORY;
    if (!status && is_file) status = mla_chat_files_keep(j->context, j->options->tokenizer, NULL, &files);
    const mla_token_options options = {.vocabulary_size = mla_tokenizer_vocab_size(j->tokenizer),
                                       .separator = mla_tokenizer_separator(j->tokenizer),
                                       .tokenizer = json,
                                       .hugging_face = files,
                                       .labels = forms[j->options->examples.labels],
                                       .label_width = j->labels.count,
                                       .label_names = names};
    if (!status) status = mla_token_writer_create(j->context, &j->writer, path, &options);
    j->count = 0;
    if (!status) status = each(j, encode);
    if (!status) status = mla_token_writer_commit(j->writer);
    free(files);
    free(json);
    free(names);
    return status;
}

mla_status mla_prepare_labels(mla_context *context, const mla_prepare_labels_options *options, const char *path) {
    job j = {.context = context, .options = options};
    mla_status status = mla_examples_open(context, &j.examples, &options->examples);
    if (!status) status = scan(&j);
    if (!status) status = order_labels(&j);
    if (!status) status = mla_check_num_labels(context, options->num_labels, j.labels.count);
    if (!status) status = choose_held_out(&j);
    if (!status) status = make_tokenizer(&j);
    if (!status) status = write_tokens(&j, path);
    mla_token_writer_close(j.writer);
    mla_encoder_destroy(j.encoder);
    mla_tokenizer_destroy(j.tokenizer);
    mla_examples_close(j.examples);
    mla_label_set_free(&j.labels);
    free(j.rows);
    free(j.ids.ids);
    free(j.tags);
    free(j.flags);
    return status;
}
