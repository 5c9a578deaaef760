#include "data/labels/sequences.h"
#include "autograd/base/tables.h"
#include "data/labels/moment.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int64_t sequence, number; /* its place among all rows */
    mla_moment time;
    int64_t begin, length; /* of its text */
} row;

/* A field that outlives its row. */
typedef struct {
    mla_cell cell;
    char *bytes;
    json_t *list;
} kept_cell;

/* What the last row of a sequence, by its time, says of it. */
typedef struct {
    char *key, *place;
    mla_moment time;
    kept_cell label, group;
    int64_t first, count; /* of the sorted rows */
} entry;

struct mla_sequences {
    mla_context *context;
    const mla_sequence_options *options;
    mla_piece_table keys; /* value: the entry's number */
    mla_text_buffer texts, joined;
    row *rows;
    entry *entries;
    int64_t row_count, row_capacity, count, capacity;
    mla_moment_kind kind; /* of all times */
};

static mla_status sequences_refuse(const mla_sequences *s, const mla_table *table, const char *column,
                                   const char *words) {
    return mla_fail(s->context, MLA_ERROR_FORMAT, "%s: \"%s\" %s", mla_table_place(table), column, words);
}

static char *copy_text(mla_context *context, const char *bytes, int64_t length) {
    char *copy = mla_alloc(context, length + 1, 1, "a sequence");
    if (copy) memcpy(copy, bytes, (size_t)length);
    return copy;
}

/* ---- the last row ---- */

static void forget(kept_cell *cell) {
    free(cell->bytes);
    json_decref(cell->list);
    *cell = (kept_cell){0};
}

static mla_status keep(mla_sequences *s, mla_table *table, const char *column, kept_cell *out) {
    mla_cell cell;
    if (!column) return MLA_OK;
    const mla_status status = mla_table_cell(table, column, &cell);
    if (status) return status;
    forget(out);
    out->bytes = copy_text(s->context, cell.bytes, cell.length);
    out->list = json_incref((json_t *)(uintptr_t)cell.list);
    out->cell = (mla_cell){cell.kind, out->bytes, cell.length, out->list};
    return out->bytes ? MLA_OK : MLA_ERROR_MEMORY;
}

/* One of two groups would be on both sides, in training and held out. */
static mla_status check_group(const mla_sequences *s, mla_table *table, const entry *e) {
    mla_cell cell;
    if (!s->options->group_field || !e->place) return MLA_OK;
    const mla_status status = mla_table_cell(table, s->options->group_field, &cell);
    if (status || !strcmp(cell.bytes, e->group.bytes)) return status;
    return mla_fail(
        s->context, MLA_ERROR_FORMAT, "%s: \"%s\" is %.60s, but %.60s in another row of the same sequence (%s: %.60s)",
        mla_table_place(table), s->options->group_field, cell.bytes, e->group.bytes, s->options->key_field, e->key);
}

static mla_status keep_last(mla_sequences *s, mla_table *table, entry *e, mla_moment time) {
    const char *place = mla_table_place(table);
    if (e->place && mla_moment_compare(&time, &e->time) < 0) return MLA_OK;
    free(e->place);
    e->place = copy_text(s->context, place, (int64_t)strlen(place));
    e->time = time;
    mla_status status = e->place ? keep(s, table, s->options->label_field, &e->label) : MLA_ERROR_MEMORY;
    return status ? status : keep(s, table, s->options->group_field, &e->group);
}

/* ---- a row ---- */

static mla_status read_time(mla_sequences *s, mla_table *table, mla_moment *out) {
    static const char *const kinds[] = {"", "is no number", "is no time without a time zone",
                                        "is no time with a time zone"};
    const char *column = s->options->order_field;
    mla_cell cell;
    const mla_status status = mla_table_cell(table, column, &cell);
    if (status) return status;
    if (!cell.length) return sequences_refuse(s, table, column, "is empty: it says when the row was");
    *out = mla_moment_read(cell.bytes);
    if (!out->kind)
        return sequences_refuse(s, table, column,
                                "is neither a number nor a time as 2024-05-31 or 2024-05-31T10:30:00");
    if (!s->kind) s->kind = out->kind;
    if (s->kind == out->kind) return MLA_OK;
    return mla_fail(s->context, MLA_ERROR_FORMAT, "%s: \"%s\": %.60s %s, as those of the rows before are",
                    mla_table_place(table), column, cell.bytes, kinds[s->kind]);
}

static mla_status find_entry(mla_sequences *s, mla_table *table, int64_t *out) {
    const char *column = s->options->key_field;
    mla_cell cell;
    mla_status status = mla_table_cell(table, column, &cell);
    if (status) return status;
    if (cell.kind == MLA_CELL_LIST || !cell.length)
        return sequences_refuse(s, table, column, "does not say which sequence the row belongs to");
    mla_piece *piece = mla_piece_insert(s->context, &s->keys, cell.bytes, cell.length);
    if (!piece) return MLA_ERROR_MEMORY;
    *out = piece - s->keys.pieces;
    if (*out < s->count) return MLA_OK;
    status = mla_grow(s->context, &s->entries, &s->capacity, s->count + 1, sizeof *s->entries, "the sequences");
    if (status) return status;
    s->entries[s->count] = (entry){.key = copy_text(s->context, cell.bytes, cell.length)};
    return s->entries[s->count++].key ? MLA_OK : MLA_ERROR_MEMORY;
}

static mla_status add_row(mla_sequences *s, mla_table *table) {
    row r = {.number = s->row_count, .begin = s->texts.count};
    mla_status status = find_entry(s, table, &r.sequence);
    if (!status) status = read_time(s, table, &r.time);
    if (!status) status = mla_row_text_append(s->context, &s->options->text, table, &s->texts);
    if (!status) status = check_group(s, table, &s->entries[r.sequence]);
    if (!status) status = keep_last(s, table, &s->entries[r.sequence], r.time);
    if (!status) status = mla_grow(s->context, &s->rows, &s->row_capacity, s->row_count + 1, sizeof r, "the rows");
    if (status) return status;
    r.length = s->texts.count - r.begin;
    s->rows[s->row_count++] = r;
    return MLA_OK;
}

/* ---- all of them ---- */

static int by_sequence_and_time(const void *a, const void *b) {
    const row *x = a, *y = b;
    if (x->sequence != y->sequence) return (x->sequence > y->sequence) - (x->sequence < y->sequence);
    const int times = mla_moment_compare(&x->time, &y->time);
    return times ? times : (x->number > y->number) - (x->number < y->number);
}

static void sort(mla_sequences *s) {
    if (s->row_count) qsort(s->rows, (size_t)s->row_count, sizeof *s->rows, by_sequence_and_time);
    for (int64_t i = 0; i < s->row_count; i++) {
        entry *e = &s->entries[s->rows[i].sequence];
        if (!e->count++) e->first = i;
    }
}

mla_status mla_sequences_gather(mla_context *context, mla_sequences **out, mla_table *table,
                                const mla_sequence_options *options) {
    mla_sequences *s = *out = mla_alloc(context, 1, sizeof *s, "the sequences");
    bool more;
    if (!s) return MLA_ERROR_MEMORY;
    s->context = context;
    s->options = options;
    mla_status status;
    while (!(status = mla_table_next(table, &more)) && more)
        if ((status = add_row(s, table))) break;
    if (!status) sort(s);
    return status;
}

void mla_sequences_free(mla_sequences *s) {
    if (!s) return;
    for (int64_t i = 0; i < s->count; i++) {
        free(s->entries[i].key);
        free(s->entries[i].place);
        forget(&s->entries[i].label);
        forget(&s->entries[i].group);
    }
    mla_piece_free(&s->keys);
    free(s->texts.bytes);
    free(s->joined.bytes);
    free(s->rows);
    free(s->entries);
    free(s);
}

int64_t mla_sequences_count(const mla_sequences *s) { return s->count; }

mla_status mla_sequences_at(mla_sequences *s, int64_t i, mla_sequence *out) {
    const entry *e = &s->entries[i];
    mla_status status = MLA_OK;
    s->joined.count = 0;
    for (int64_t k = 0; k < e->count && !status; k++) {
        const row *r = &s->rows[e->first + k];
        if (k) status = mla_text_append(s->context, &s->joined, "\n", 1);
        if (!status) status = mla_text_append(s->context, &s->joined, s->texts.bytes + r->begin, r->length);
    }
    *out = (mla_sequence){.key = e->key,
                          .text = s->joined.bytes,
                          .length = s->joined.count,
                          .place = e->place,
                          .label = e->label.cell,
                          .group = e->group.cell};
    return status;
}
