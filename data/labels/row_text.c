#include "data/labels/row_text.h"

#include <stdio.h>
#include <string.h>

mla_status mla_text_append(mla_context *context, mla_text_buffer *b, const char *bytes, int64_t length) {
    const mla_status status = mla_grow(context, &b->bytes, &b->capacity, b->count + length + 1, 1, "an example");
    if (status) return status;
    memcpy(b->bytes + b->count, bytes, (size_t)length);
    b->count += length;
    b->bytes[b->count] = '\0';
    return MLA_OK;
}

static mla_status row_text_refuse(mla_context *context, const mla_table *table, const char *column, const char *words) {
    return mla_fail(context, MLA_ERROR_FORMAT, "%s: \"%s\" %s", mla_table_place(table), column, words);
}

/* ---- templates ---- */

/* The end of the name that begins behind `brace`; NULL where there is none. */
static const char *name_end(const char *brace) {
    const char *end = brace + 1 + strcspn(brace + 1, "{}");
    return *end == '}' && end > brace + 1 ? end : NULL;
}

mla_status mla_row_text_check(mla_context *context, const mla_row_text *from) {
    for (const char *at = from->text_template; at && *at; at++) {
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

static mla_status append_column(mla_context *context, mla_table *table, const char *name, int64_t length,
                                mla_text_buffer *out) {
    char column[256];
    mla_cell cell;
    if (length >= (int64_t)sizeof column)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "data.text_template: the name of a column is too long");
    snprintf(column, sizeof column, "%.*s", (int)length, name);
    const mla_status status = mla_table_cell(table, column, &cell);
    if (status) return status;
    if (cell.kind == MLA_CELL_LIST)
        return row_text_refuse(context, table, column, "is a list; text or a number is wanted");
    if (is_nan(&cell)) return row_text_refuse(context, table, column, "is not a number: fill it in, or leave it empty");
    return mla_text_append(context, out, cell.bytes, cell.length);
}

static mla_status fill_template(mla_context *context, const char *text, mla_table *table, mla_text_buffer *out) {
    mla_status status = MLA_OK;
    for (const char *at = text; *at && !status; at++) {
        const char *end = *at == '{' && at[1] != '{' ? name_end(at) : NULL;
        if (end) status = append_column(context, table, at + 1, end - at - 1, out);
        else status = mla_text_append(context, out, at, 1);
        if (end) at = end;
        else if (*at == '{' || *at == '}') at++;
    }
    return status;
}

/* ---- both ---- */

static mla_status take_column(mla_context *context, const char *column, mla_table *table, mla_text_buffer *out) {
    mla_cell cell;
    const mla_status status = mla_table_cell(table, column, &cell);
    if (status) return status;
    if (cell.kind == MLA_CELL_LIST) return row_text_refuse(context, table, column, "is a list; text is wanted");
    return mla_text_append(context, out, cell.bytes, cell.length);
}

mla_status mla_row_text_append(mla_context *context, const mla_row_text *from, mla_table *table, mla_text_buffer *out) {
    static const char blanks[] = " \t\r\n";
    const int64_t begin = out->count;
    const mla_status status = from->text_template ? fill_template(context, from->text_template, table, out)
                                                  : take_column(context, from->field, table, out);
    if (status) return status;
    if (out->count > begin && strspn(out->bytes + begin, blanks) < (size_t)(out->count - begin)) return MLA_OK;
    return from->text_template
               ? mla_fail(context, MLA_ERROR_FORMAT, "%s: the row gives no text", mla_table_place(table))
               : row_text_refuse(context, table, from->field, "is empty: there is no text to label");
}
