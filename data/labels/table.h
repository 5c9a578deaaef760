/* Rows with named columns, from files by their endings: .jsonl, an object a line; .csv and .tsv (.tab), a header and
 * records, quoted as RFC 4180 has it: fields that hold separators, quotes (doubled) or line ends stand in quotes. All
 * text is UTF-8. Files, folders and globs are found as data/text/text_source.h finds them; blank lines are left out. */
#ifndef MLA_DATA_LABELS_TABLE_H
#define MLA_DATA_LABELS_TABLE_H

#include "autograd/base/context.h"

struct json_t; /* of jansson */

typedef struct mla_table mla_table;

typedef enum { MLA_CELL_EMPTY, MLA_CELL_TEXT, MLA_CELL_NUMBER, MLA_CELL_LIST } mla_cell_kind;

/* One field of a row, valid until the next field or row is asked for. A number of a .csv file is TEXT; JSON's null is
 * EMPTY, as is "". */
typedef struct {
    mla_cell_kind kind;
    const char *bytes; /* as text, terminated; of a number as short as it can be */
    int64_t length;
    const struct json_t *list; /* of LIST */
} mla_cell;

/* The paths must outlive it. Errors: those of mla_text_open; MLA_ERROR_ARGUMENT for a file with another ending. */
mla_status mla_table_open(mla_context *context, mla_table **out, const char *const *paths, int64_t count);
void mla_table_close(mla_table *table);

/* Goes to the next row; *more is false behind the last. MLA_ERROR_FORMAT, with file and line, for what is no row: no
 * JSON object, a quote that is not closed, more or fewer fields than the header, bytes that are not UTF-8. */
mla_status mla_table_next(mla_table *table, bool *more);
void mla_table_rewind(mla_table *table);

/* Where the row begins: "a.csv:17". */
const char *mla_table_place(const mla_table *table);
/* The row itself, where it is an object of a .jsonl file, until the next row; NULL elsewhere. */
const struct json_t *mla_table_object(const mla_table *table);
/* The field of that name. MLA_ERROR_FORMAT where there is none, with the names that there are, where two have
 * that name, or where it holds an object. */
mla_status mla_table_cell(mla_table *table, const char *column, mla_cell *out);

#endif
