#include "data/labels/examples.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of texts, one behind the other. */
typedef struct {
    char *bytes;
    int64_t count, capacity;
} text_buffer;

struct mla_examples {
    mla_context *context;
    mla_example_options options;
    mla_table *table;
    mla_example example;
    text_buffer text, words; /* words: of names, labels of spans and the group, each terminated */
    int64_t *at;             /* where the names begin in them */
    const char **names;
    float *numbers;
    mla_text_span *spans;
    int64_t at_capacity, name_capacity, number_capacity, span_capacity, name_count;
};

static mla_status examples_refuse(const mla_examples *e, const char *column, const char *words) {
    return mla_fail(e->context, MLA_ERROR_FORMAT, "%s: \"%s\" %s", mla_table_place(e->table), column, words);
}

static mla_status append(mla_examples *e, text_buffer *b, const char *bytes, int64_t length) {
    const mla_status status = mla_grow(e->context, &b->bytes, &b->capacity, b->count + length + 1, 1, "an example");
    if (status) return status;
    memcpy(b->bytes + b->count, bytes, (size_t)length);
    b->count += length;
    b->bytes[b->count] = '\0';
    return MLA_OK;
}

/* ---- the text ---- */

/* The end of the name that begins behind `brace`; NULL where there is none. */
static const char *name_end(const char *brace) {
    const char *end = brace + 1 + strcspn(brace + 1, "{}");
    return *end == '}' && end > brace + 1 ? end : NULL;
}

static mla_status check_template(mla_context *context, const char *text) {
    for (const char *at = text; *at; at++) {
        const char *end = at;
        if (*at != '{' && *at != '}') continue;
        if (at[1] == *at) end = at + 1;
        else if (*at == '{') end = name_end(at);
        if (!end || end == at)
            return mla_fail(
                context, MLA_ERROR_ARGUMENT,
                "data.text_template: \"%.60s\": a column is named in braces, as {amount}; braces themselves "
                "are written {{ and }}",
                at);
        at = end;
    }
    return MLA_OK;
}

static bool is_nan(const mla_cell *cell) {
    static const char *const words[] = {"nan", "NaN", "NAN", "inf", "-inf", "Infinity", "-Infinity", NULL};
    int i = 0;
    while (words[i] && strcmp(cell->bytes, words[i])) i++;
    return words[i] != NULL;
}

static mla_status append_column(mla_examples *e, const char *name, int64_t length) {
    char column[256];
    mla_cell cell;
    if (length >= (int64_t)sizeof column)
        return mla_fail(e->context, MLA_ERROR_ARGUMENT, "data.text_template: the name of a column is too long");
    snprintf(column, sizeof column, "%.*s", (int)length, name);
    mla_status status = mla_table_cell(e->table, column, &cell);
    if (status) return status;
    if (cell.kind == MLA_CELL_LIST) return examples_refuse(e, column, "is a list; text or a number is wanted");
    if (is_nan(&cell)) return examples_refuse(e, column, "is not a number: fill it in, or leave it empty");
    return append(e, &e->text, cell.bytes, cell.length);
}

static mla_status fill_template(mla_examples *e) {
    mla_status status = MLA_OK;
    for (const char *at = e->options.text_template; *at && !status; at++) {
        const char *end = *at == '{' && at[1] != '{' ? name_end(at) : NULL;
        if (end) status = append_column(e, at + 1, end - at - 1);
        else status = append(e, &e->text, at, 1);
        if (end) at = end;
        else if (*at == '{' || *at == '}') at++;
    }
    return status;
}

static mla_status take_text(mla_examples *e) {
    static const char blanks[] = " \t\r\n";
    mla_cell cell;
    e->text.count = 0;
    mla_status status = MLA_OK;
    if (e->options.text_template) status = fill_template(e);
    else status = mla_table_cell(e->table, e->options.field, &cell);
    if (status) return status;
    if (!e->options.text_template && cell.kind == MLA_CELL_LIST)
        return examples_refuse(e, e->options.field, "is a list; text is wanted");
    if (!e->options.text_template) status = append(e, &e->text, cell.bytes, cell.length);
    if (status || (e->text.count && strspn(e->text.bytes, blanks) < (size_t)e->text.count)) return status;
    return e->options.text_template
               ? mla_fail(e->context, MLA_ERROR_FORMAT, "%s: the row gives no text", mla_table_place(e->table))
               : examples_refuse(e, e->options.field, "is empty: there is no text to label");
}

/* ---- labels ---- */

/* Keeps a word; where it is will be known when all are there. */
static mla_status keep_word(mla_examples *e, const char *word, int64_t length) {
    const char *column = e->options.label_field;
    if (!length) return examples_refuse(e, column, "is empty: a label is wanted");
    mla_status status = mla_grow(e->context, &e->at, &e->at_capacity, e->name_count + 1, sizeof *e->at, "labels");
    if (status) return status;
    e->at[e->name_count++] = e->words.count;
    status = append(e, &e->words, word, length);
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
static int64_t byte_of(const text_buffer *text, int64_t index) {
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
        return mla_fail(e->context, MLA_ERROR_FORMAT, "%s: \"%s\": %lld to %lld is no span of the text",
                        mla_table_place(e->table), column, (long long)from, (long long)to);
    mla_status status = mla_grow(e->context, &e->spans, &e->span_capacity, e->example.count + 1, sizeof span, "spans");
    if (status) return status;
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
    mla_cell cell;
    if (!e->options.label_field) return MLA_OK;
    const mla_status status = mla_table_cell(e->table, e->options.label_field, &cell);
    if (status) return status;
    if (e->options.labels == MLA_LABEL_NUMBERS) return take_numbers(e, &cell);
    return e->options.labels == MLA_LABEL_SPANS ? take_spans(e, &cell) : take_names(e, &cell);
}

/* Last, as it points to what may still have moved before. */
static mla_status take_group(mla_examples *e) {
    const char *column = e->options.group_field;
    mla_cell cell;
    if (!column) return MLA_OK;
    const mla_status status = mla_table_cell(e->table, column, &cell);
    if (status) return status;
    if (cell.kind == MLA_CELL_LIST || !cell.length) return examples_refuse(e, column, "names no group");
    e->example.group = cell.bytes;
    return MLA_OK;
}

mla_status mla_examples_open(mla_context *context, mla_examples **out, const mla_example_options *options) {
    mla_examples *e = *out = mla_alloc(context, 1, sizeof *e, "examples");
    if (!e) return MLA_ERROR_MEMORY;
    *e = (mla_examples){.context = context, .options = *options};
    mla_status status = options->text_template ? check_template(context, options->text_template) : MLA_OK;
    if (!status) status = mla_table_open(context, &e->table, options->paths, options->count);
    if (!status) return MLA_OK;
    mla_examples_close(e);
    *out = NULL;
    return status;
}

void mla_examples_close(mla_examples *e) {
    if (!e) return;
    mla_table_close(e->table);
    free(e->text.bytes);
    free(e->words.bytes);
    free(e->at);
    free(e->names);
    free(e->numbers);
    free(e->spans);
    free(e);
}

void mla_examples_rewind(mla_examples *e) { mla_table_rewind(e->table); }

mla_status mla_examples_next(mla_examples *e, const mla_example **out) {
    bool more;
    *out = NULL;
    e->example = (mla_example){0};
    e->words.count = e->name_count = 0;
    mla_status status = mla_table_next(e->table, &more);
    if (status || !more) return status;
    status = take_text(e);
    if (!status) status = take_labels(e);
    if (!status) status = take_group(e);
    e->example.text = e->text.bytes;
    e->example.length = e->text.count;
    e->example.place = mla_table_place(e->table);
    if (!status) *out = &e->example;
    return status;
}
