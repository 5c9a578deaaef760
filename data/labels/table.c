#include "data/labels/table.h"
#include "autograd/base/file.h"
#include "autograd/base/utf8.h"
#include "autograd/json/tree.h"
#include "autograd/schema/fields.h"
#include "data/labels/csv.h"
#include "data/text/text_source.h"

#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mla_table {
    mla_context *context;
    mla_text_source *source; /* whole files */
    const mla_document *file;
    mla_csv_reader reader;         /* of the file's bytes; .jsonl: its place alone */
    bool lines;                    /* the file is .jsonl */
    mla_csv_record header, record; /* of other files */
    json_t *object;                /* the row of .jsonl */
    char place[PATH_MAX + 32];     /* of the row */
    char number[64];               /* a JSON number as text */
};

mla_status mla_table_open(mla_context *context, mla_table **out, const char *const *paths, int64_t count) {
    mla_table *t = *out = mla_alloc(context, 1, sizeof *t, "a table");
    if (!t) return MLA_ERROR_MEMORY;
    t->context = context;
    const mla_status status = mla_text_open(context, &t->source, &(mla_text_options){.paths = paths, .count = count});
    if (!status) return MLA_OK;
    mla_table_close(t);
    *out = NULL;
    return status;
}

void mla_table_close(mla_table *t) {
    if (!t) return;
    mla_text_close(t->source);
    mla_csv_free(&t->header);
    mla_csv_free(&t->record);
    json_decref(t->object);
    free(t);
}

void mla_table_rewind(mla_table *t) {
    mla_text_rewind(t->source);
    t->file = NULL;
    t->reader = (mla_csv_reader){0};
}

const char *mla_table_place(const mla_table *t) { return t->place; }

const json_t *mla_table_object(const mla_table *t) { return t->object; }

/* ---- files ---- */

static mla_status check_utf8(mla_table *t) {
    const char *bytes = t->file->bytes;
    int64_t line = 1;
    for (int64_t i = 0, length; i < t->file->length; i += length) {
        length = mla_utf8_length(bytes + i, t->file->length - i);
        if (!length || !bytes[i])
            return mla_fail(t->context, MLA_ERROR_FORMAT,
                            "%s:%" PRId64 ": byte 0x%02x is not UTF-8 text; convert the file, for example with iconv",
                            t->file->name, line, (unsigned)(unsigned char)bytes[i]);
        line += bytes[i] == '\n';
    }
    return MLA_OK;
}

static mla_status begin_file(mla_table *t) {
    static const char mark[] = "\xEF\xBB\xBF"; /* that some programs put at the beginning */
    const mla_document *f = t->file;
    const bool comma = mla_ends_with(f->name, ".csv"),
               tab = mla_ends_with(f->name, ".tsv") || mla_ends_with(f->name, ".tab");
    const int64_t skip = f->length >= 3 && !memcmp(f->bytes, mark, 3) ? 3 : 0;
    t->lines = mla_ends_with(f->name, ".jsonl");
    t->reader = (mla_csv_reader){f->bytes + skip, f->bytes + f->length, tab ? '\t' : ',', 1};
    if (!t->lines && !comma && !tab)
        return mla_fail(t->context, MLA_ERROR_ARGUMENT,
                        "%s: rows are read from files named .jsonl, .csv or .tsv (.tab)", f->name);
    const mla_status status = check_utf8(t);
    return status || t->lines ? status : mla_csv_next(t->context, f->name, &t->reader, &t->header);
}

/* ---- rows ---- */

static mla_status take_object(mla_table *t) {
    char where[sizeof t->place + 2];
    while (t->reader.at < t->reader.end && strchr(" \t\r\n", *t->reader.at)) t->reader.line += *t->reader.at++ == '\n';
    if (t->reader.at >= t->reader.end) return MLA_OK;
    const char *line = t->reader.at, *newline = memchr(line, '\n', (size_t)(t->reader.end - line));
    const char *end = newline ? newline : t->reader.end;
    snprintf(t->place, sizeof t->place, "%s:%" PRId64, t->file->name, t->reader.line);
    snprintf(where, sizeof where, "%s: ", t->place);
    const mla_status status = mla_json_read(t->context, where, line, end - line, MLA_JSON_UNIQUE | MLA_JSON_LINE,
                                            &t->object);
    if (status) return status;
    if (!json_is_object(t->object)) return mla_fail(t->context, MLA_ERROR_FORMAT, "%s: not a JSON object", t->place);
    t->reader.at = newline ? newline + 1 : end;
    t->reader.line++;
    return MLA_OK;
}

static mla_status take_record(mla_table *t) {
    while (t->reader.at < t->reader.end && (*t->reader.at == '\n' || *t->reader.at == '\r'))
        t->reader.line += *t->reader.at++ == '\n';
    snprintf(t->place, sizeof t->place, "%s:%" PRId64, t->file->name, t->reader.line);
    const mla_status status = mla_csv_next(t->context, t->file->name, &t->reader, &t->record);
    if (status || !t->record.count || t->record.count == t->header.count) return status;
    return mla_fail(t->context, MLA_ERROR_FORMAT, "%s: %" PRId64 " fields, but the header has %" PRId64, t->place,
                    t->record.count, t->header.count);
}

mla_status mla_table_next(mla_table *t, bool *more) {
    mla_status status = MLA_OK;
    *more = false;
    while (!status && !*more) {
        json_decref(t->object);
        t->object = NULL;
        t->record.count = 0;
        if (t->file) status = t->lines ? take_object(t) : take_record(t);
        *more = !status && (t->object || t->record.count);
        if (status || *more) break;
        status = mla_text_next(t->source, &t->file);
        if (status || !t->file) break;
        status = begin_file(t);
    }
    return status;
}

/* ---- fields ---- */

static void add_name(size_t size, char *names, const char *name) {
    const size_t used = strlen(names);
    snprintf(names + used, size - used, "%s%.60s", used ? ", " : "", name);
}

static mla_status no_column(mla_table *t, const char *column) {
    char names[512] = "";
    const char *key;
    json_t *value;
    json_object_foreach(t->object, key, value) add_name(sizeof names, names, key);
    for (int64_t i = 0; !t->object && i < t->header.count; i++)
        add_name(sizeof names, names, t->header.bytes + t->header.offsets[i]);
    return mla_fail(t->context, MLA_ERROR_FORMAT, "%s: there is no column \"%s\"; it has %s", t->place, column,
                    names[0] ? names : "none");
}

static mla_status object_cell(mla_table *t, const char *column, mla_cell *out) {
    const json_t *value = json_object_get(t->object, column);
    if (!value) return no_column(t, column);
    if (json_is_object(value))
        return mla_fail(t->context, MLA_ERROR_FORMAT, "%s: \"%s\" is an object; text, a number or a list is read",
                        t->place, column);
    *out = (mla_cell){MLA_CELL_EMPTY, "", 0, NULL};
    if (json_is_array(value)) *out = (mla_cell){MLA_CELL_LIST, "", 0, value};
    if (json_string_length(value))
        *out = (mla_cell){MLA_CELL_TEXT, json_string_value(value), (int64_t)json_string_length(value), NULL};
    if (json_is_integer(value)) snprintf(t->number, sizeof t->number, "%lld", (long long)json_integer_value(value));
    if (json_is_real(value)) mla_float_text(json_real_value(value), sizeof t->number, t->number);
    if (json_is_boolean(value)) snprintf(t->number, sizeof t->number, "%s", json_is_true(value) ? "true" : "false");
    if (json_is_number(value) || json_is_boolean(value))
        *out = (mla_cell){json_is_number(value) ? MLA_CELL_NUMBER : MLA_CELL_TEXT, t->number,
                          (int64_t)strlen(t->number), NULL};
    return MLA_OK;
}

/* The first from `from` on; -1: none. */
static int64_t find_column(const mla_table *t, const char *column, int64_t from) {
    for (int64_t i = from; i < t->header.count; i++)
        if (!strcmp(t->header.bytes + t->header.offsets[i], column)) return i;
    return -1;
}

mla_status mla_table_cell(mla_table *t, const char *column, mla_cell *out) {
    if (t->object) return object_cell(t, column, out);
    const int64_t i = find_column(t, column, 0);
    if (i < 0) return no_column(t, column);
    if (find_column(t, column, i + 1) >= 0)
        return mla_fail(t->context, MLA_ERROR_FORMAT, "%s: two columns are called \"%s\"", t->file->name, column);
    const int64_t begin = t->record.offsets[i], length = t->record.offsets[i + 1] - begin - 1;
    *out = (mla_cell){length ? MLA_CELL_TEXT : MLA_CELL_EMPTY, t->record.bytes + begin, length, NULL};
    return MLA_OK;
}
