/* Rows become examples one by one as they come, or, where they are events of sequences, once all are gathered. */
#include "data/labels/examples.h"
#include "data/labels/sequences.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct mla_examples {
    mla_context *context;
    mla_example_options options;
    mla_table *table;
    mla_sequences *sequences; /* where rows are gathered, after the first one was asked for */
    int64_t at_sequence;
    mla_row_text from;
    mla_sequence_options gather;
    const char *place;     /* of the row */
    mla_cell label, group; /* its fields */
    mla_example example;
    mla_text_buffer text, words; /* words: of names, labels of spans and the group, each terminated */
    int64_t *at;                 /* where the names begin in them */
    const char **names;
    float *numbers;
    mla_text_span *spans;
    int64_t at_capacity, name_capacity, number_capacity, span_capacity, name_count;
};

static mla_status examples_refuse(const mla_examples *e, const char *column, const char *words) {
    return mla_fail(e->context, MLA_ERROR_FORMAT, "%s: \"%s\" %s", e->place, column, words);
}

/* ---- labels ---- */

/* Keeps a word; where it is will be known when all are there. */
static mla_status keep_word(mla_examples *e, const char *word, int64_t length) {
    const char *column = e->options.label_field;
    if (!length) return examples_refuse(e, column, "is empty: a label is wanted");
    if (!strcasecmp(word, "nan")) return examples_refuse(e, column, "is NaN: give the row its label, or leave it out");
    mla_status status = mla_grow(e->context, &e->at, &e->at_capacity, e->name_count + 1, sizeof *e->at, "labels");
    if (status) return status;
    e->at[e->name_count++] = e->words.count;
    status = mla_text_append(e->context, &e->words, word, length);
    e->words.count += !status; /* its end stays */
    return status;
}

static mla_status keep_joined(mla_examples *e, const char *text) {
    mla_status status = MLA_OK;
    while (*text && !status) {
        const size_t length = strcspn(text, "|");
        status = keep_word(e, text, (int64_t)length);
        text += length + (text[length] == '|');
    }
    return status;
}

static mla_status keep_listed(mla_examples *e, const json_t *list) {
    mla_status status = MLA_OK;
    for (size_t i = 0; i < json_array_size(list) && !status; i++) {
        const json_t *item = json_array_get(list, i);
        char number[32];
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(item));
        if (json_is_string(item)) status = keep_word(e, json_string_value(item), (int64_t)json_string_length(item));
        else if (json_is_integer(item)) status = keep_word(e, number, (int64_t)strlen(number));
        else status = examples_refuse(e, e->options.label_field, "holds something else than names and whole numbers");
    }
    return status;
}

static mla_status take_names(mla_examples *e, const mla_cell *cell) {
    const bool several = e->options.labels == MLA_LABEL_NAMES;
    mla_status status = MLA_OK;
    if (cell->kind == MLA_CELL_LIST && !several)
        return examples_refuse(e, e->options.label_field,
                               "is a list: one label is wanted, or model.problem_type multi_label_classification");
    if (cell->kind == MLA_CELL_LIST) status = keep_listed(e, cell->list);
    else status = several ? keep_joined(e, cell->bytes) : keep_word(e, cell->bytes, cell->length);
    if (!status)
        status = mla_grow(e->context, &e->names, &e->name_capacity, e->name_count + 1, sizeof *e->names, "labels");
    for (int64_t i = 0; i < e->name_count && !status; i++) e->names[i] = e->words.bytes + e->at[i];
    e->example.names = e->names;
    e->example.count = e->name_count;
    return status;
}

static mla_status keep_number(mla_examples *e, double value) {
    if (!isfinite(value) || fabs(value) > 3e38)
        return examples_refuse(e, e->options.label_field, "is not a finite number");
    const mla_status status = mla_grow(e->context, &e->numbers, &e->number_capacity, e->example.count + 1,
                                       sizeof *e->numbers, "labels");
    if (!status) e->numbers[e->example.count++] = (float)value;
    return status;
}

static mla_status take_numbers(mla_examples *e, const mla_cell *cell) {
    const char *column = e->options.label_field;
    char *end = NULL;
    mla_status status = MLA_OK;
    if (cell->kind != MLA_CELL_LIST) {
        const double value = strtod(cell->bytes, &end);
        status = !cell->length || *end ? examples_refuse(e, column, "is no number, which regression learns")
                                       : keep_number(e, value);
    }
    for (size_t i = 0; cell->kind == MLA_CELL_LIST && i < json_array_size(cell->list) && !status; i++) {
        const json_t *item = json_array_get(cell->list, i);
        status = json_is_number(item) ? keep_number(e, json_number_value(item))
                                      : examples_refuse(e, column, "holds something else than numbers");
    }
    e->example.numbers = e->numbers;
    return !status && !e->example.count ? examples_refuse(e, column, "holds no number") : status;
}

/* ---- spans ---- */

/* Where character `index` of the text begins; -1: it has fewer. */
static int64_t byte_of(const mla_text_buffer *text, int64_t index) {
    int64_t at = 0;
    for (; at < text->count && index > 0; index--)
        for (at++; at < text->count && ((unsigned char)text->bytes[at] & 0xc0) == 0x80;) at++;
    return index ? -1 : at;
}

static mla_status take_span(mla_examples *e, const json_t *item) {
    const json_t *begin = json_is_object(item) ? json_object_get(item, "start") : json_array_get(item, 0);
    const json_t *end = json_is_object(item) ? json_object_get(item, "end") : json_array_get(item, 1);
    const json_t *label = json_is_object(item) ? json_object_get(item, "label") : json_array_get(item, 2);
    const char *column = e->options.label_field;
    if (!json_is_integer(begin) || !json_is_integer(end) || !json_string_length(label))
        return examples_refuse(e, column,
                               "holds something else than spans: {\"start\": 0, \"end\": 4, \"label\": ...}");
    const int64_t from = json_integer_value(begin), to = json_integer_value(end);
    const mla_text_span span = {from < 0 ? -1 : byte_of(&e->text, from), byte_of(&e->text, to), NULL};
    if (from < 0 || from >= to || span.begin < 0 || span.end < 0)
        return mla_fail(e->context, MLA_ERROR_FORMAT, "%s: \"%s\": %lld to %lld is no span of the text", e->place,
                        column, (long long)from, (long long)to);
    mla_status status = mla_grow(e->context, &e->spans, &e->span_capacity, e->example.count + 1, sizeof span, "spans");
    if (status) return status;
    for (int64_t i = 0; i < e->example.count; i++)
        if (span.begin < e->spans[i].end && e->spans[i].begin < span.end)
            return mla_fail(e->context, MLA_ERROR_FORMAT,
                            "%s: \"%s\": %lld to %lld overlaps another span; a character has one label", e->place,
                            column, (long long)from, (long long)to);
    e->spans[e->example.count++] = span;
    return keep_word(e, json_string_value(label), (int64_t)json_string_length(label));
}

static mla_status take_spans(mla_examples *e, const mla_cell *cell) {
    mla_status status = MLA_OK;
    if (cell->kind != MLA_CELL_LIST)
        return examples_refuse(e, e->options.label_field, "is no list of spans, which head: token learns");
    for (size_t i = 0; i < json_array_size(cell->list) && !status; i++)
        status = take_span(e, json_array_get(cell->list, i));
    for (int64_t i = 0; i < e->name_count && !status; i++) e->spans[i].label = e->words.bytes + e->at[i];
    e->example.spans = e->spans;
    return status;
}

/* ---- all of it ---- */

static mla_status take_labels(mla_examples *e) {
    if (!e->options.label_field) return MLA_OK;
    if (e->options.labels == MLA_LABEL_NUMBERS) return take_numbers(e, &e->label);
    return e->options.labels == MLA_LABEL_SPANS ? take_spans(e, &e->label) : take_names(e, &e->label);
}

static mla_status take_group(mla_examples *e) {
    const char *column = e->options.group_field;
    if (!column) return MLA_OK;
    if (e->group.kind == MLA_CELL_LIST || !e->group.length) return examples_refuse(e, column, "names no group");
    e->example.group = e->group.bytes;
    return MLA_OK;
}

static mla_status check_sequences(mla_context *context, const mla_example_options *o) {
    if (!o->sequence_field && !o->order_field) return MLA_OK;
    if (!o->sequence_field || !o->order_field)
        return mla_fail(
            context, MLA_ERROR_ARGUMENT,
            "data.sequence_field and data.order_field go together: rows of one key, in the order of a time");
    if (!o->label_field || o->labels != MLA_LABEL_SPANS) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "data.sequence_field: a sequence of rows has one label, its last row's; use model.head sequence");
}

mla_status mla_examples_open(mla_context *context, mla_examples **out, const mla_example_options *options) {
    mla_examples *e = *out = mla_alloc(context, 1, sizeof *e, "examples");
    if (!e) return MLA_ERROR_MEMORY;
    *e = (mla_examples){.context = context,
                        .options = *options,
                        .from = {options->field, options->text_template},
                        .gather = {.text = {options->field, options->text_template},
                                   .key_field = options->sequence_field,
                                   .order_field = options->order_field,
                                   .label_field = options->label_field,
                                   .group_field = options->group_field}};
    mla_status status = mla_row_text_check(context, &e->from);
    if (!status) status = check_sequences(context, options);
    if (!status) status = mla_table_open(context, &e->table, options->paths, options->count);
    if (!status) return MLA_OK;
    mla_examples_close(e);
    *out = NULL;
    return status;
}

void mla_examples_close(mla_examples *e) {
    if (!e) return;
    mla_sequences_free(e->sequences);
    mla_table_close(e->table);
    free(e->text.bytes);
    free(e->words.bytes);
    free(e->at);
    free(e->names);
    free(e->numbers);
    free(e->spans);
    free(e);
}

void mla_examples_rewind(mla_examples *e) {
    e->at_sequence = 0;
    if (!e->sequences) mla_table_rewind(e->table);
}

/* ---- the next one ---- */

/* The group last, as its bytes are good until the next field is asked for; so are those of the label, which become
 * words and numbers before. */
static mla_status take_row(mla_examples *e, bool *more) {
    mla_status status = mla_table_next(e->table, more);
    if (status || !*more) return status;
    e->place = mla_table_place(e->table);
    e->text.count = 0;
    status = mla_row_text_append(e->context, &e->from, e->table, &e->text);
    if (!status && e->options.label_field) status = mla_table_cell(e->table, e->options.label_field, &e->label);
    if (!status) status = take_labels(e);
    if (!status && e->options.group_field) status = mla_table_cell(e->table, e->options.group_field, &e->group);
    e->example.text = e->text.bytes;
    e->example.length = e->text.count;
    return status;
}

static mla_status take_sequence(mla_examples *e, bool *more) {
    mla_sequence s;
    mla_status status = e->sequences ? MLA_OK : mla_sequences_gather(e->context, &e->sequences, e->table, &e->gather);
    *more = !status && e->at_sequence < mla_sequences_count(e->sequences);
    if (!*more) return status;
    status = mla_sequences_at(e->sequences, e->at_sequence++, &s);
    e->place = s.place;
    e->label = s.label;
    e->group = s.group;
    e->example.text = s.text;
    e->example.length = s.length;
    e->example.key = s.key;
    return status ? status : take_labels(e);
}

mla_status mla_examples_next(mla_examples *e, const mla_example **out) {
    bool more;
    *out = NULL;
    e->example = (mla_example){0};
    e->words.count = e->name_count = 0;
    mla_status status = e->options.sequence_field ? take_sequence(e, &more) : take_row(e, &more);
    if (status || !more) return status;
    status = take_group(e);
    e->example.place = e->place;
    if (!status) *out = &e->example;
    return status;
}
