/* The text of a row: a column's, or a template filled with columns. */
#ifndef MLA_DATA_LABELS_ROW_TEXT_H
#define MLA_DATA_LABELS_ROW_TEXT_H

#include "data/labels/table.h"

/* Bytes of texts, one behind the other, with a zero behind the last; begins as {0}, its bytes are to be freed. */
typedef struct {
    char *bytes;
    int64_t count, capacity;
} mla_text_buffer;

mla_status mla_text_append(mla_context *context, mla_text_buffer *buffer, const char *bytes, int64_t length);

typedef struct {
    const char *field;         /* the column, or */
    const char *text_template; /* text with {COLUMN} in it, {{ and }} for braces */
} mla_row_text;

/* MLA_ERROR_ARGUMENT for a template with braces that do not match. */
mla_status mla_row_text_check(mla_context *context, const mla_row_text *from);

/* Puts the text of the table's row behind the buffer's. MLA_ERROR_FORMAT, with file and line, for no text, a list, or a
 * number of a template that is NaN or infinite. */
mla_status mla_row_text_append(mla_context *context, const mla_row_text *from, mla_table *table, mla_text_buffer *out);

#endif
