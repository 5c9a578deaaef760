/* Rows of a table gathered into sequences: those with the same key belong together, in the order of their times. Rows
 * of one time keep the order of the files. */
#ifndef MLA_DATA_LABELS_SEQUENCES_H
#define MLA_DATA_LABELS_SEQUENCES_H

#include "data/labels/row_text.h"

typedef struct {
    mla_row_text text;                     /* of each row */
    const char *key_field, *order_field;   /* columns: what is one sequence, and its order */
    const char *label_field, *group_field; /* of which the last row's count; NULL: none */
} mla_sequence_options;

typedef struct {
    const char *key;
    const char *text; /* of its rows, a line each; terminated */
    int64_t length;
    const char *place; /* of its last row */
    mla_cell label, group;
} mla_sequence;

typedef struct mla_sequences mla_sequences;

/* Reads the table to its end, and keeps the texts of all rows: memory about that of the files. Errors: those of the
 * table and of mla_row_text_append; MLA_ERROR_FORMAT, with file and line, for a row without key or time, a time that is
 * neither a number nor ISO 8601, and one that cannot be compared with those before. */
mla_status mla_sequences_gather(mla_context *context, mla_sequences **out, mla_table *table,
                                const mla_sequence_options *options);
void mla_sequences_free(mla_sequences *sequences);

int64_t mla_sequences_count(const mla_sequences *sequences);
/* In the order in which their keys came; valid until the next. MLA_ERROR_MEMORY. */
mla_status mla_sequences_at(mla_sequences *sequences, int64_t i, mla_sequence *out);

#endif
