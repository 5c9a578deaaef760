/* Labelled text, one example a row of a table (data/labels/table.h). */
#ifndef MLA_DATA_LABELS_EXAMPLES_H
#define MLA_DATA_LABELS_EXAMPLES_H

#include "data/labels/table.h"

/* What the column of labels holds: one name; a list of names (in .csv and .tsv: joined by |); a number, or a list of
 * such; a list of spans of the text, {"start": 0, "end": 4, "label": "PER"} or [0, 4, "PER"], counted in characters. */
typedef enum { MLA_LABEL_NAME, MLA_LABEL_NAMES, MLA_LABEL_NUMBERS, MLA_LABEL_SPANS } mla_label_column;

typedef struct {
    const char *const *paths;
    int64_t count;
    const char *field;         /* the column of text */
    const char *text_template; /* instead of field: text with {COLUMN} in it, {{ and }} for braces; NULL: none */
    const char *label_field;   /* NULL: there are no labels */
    const char *group_field;   /* rows with the same content there belong together; NULL: none do */
    /* Rows with the same content of the one, in the order of the other, are one example (data/labels/sequences.h): the
     * texts of all, a line each, with the labels of the last. NULL: each row is one. */
    const char *sequence_field, *order_field;
    mla_label_column labels;
} mla_example_options;

typedef struct {
    int64_t begin, end; /* bytes of the text */
    const char *label;
} mla_text_span;

/* Valid until the next one. */
typedef struct {
    const char *text; /* terminated, never empty */
    int64_t length;
    const char *place; /* "a.csv:17" */
    const char *const *names;
    const float *numbers;
    const mla_text_span *spans;
    int64_t count; /* of names, numbers or spans */
    const char *group;
    const char *key; /* of a sequence of rows; NULL */
} mla_example;

typedef struct mla_examples mla_examples;

/* What the options point to must outlive it. Errors: those of mla_table_open; MLA_ERROR_ARGUMENT for a template with
 * braces that do not match, sequences without an order or with spans. */
mla_status mla_examples_open(mla_context *context, mla_examples **out, const mla_example_options *options);
void mla_examples_close(mla_examples *examples);

/* NULL behind the last. MLA_ERROR_FORMAT, with file and line: those of mla_table_next, mla_table_cell and
 * mla_sequences_gather; empty text,
 * an empty label, a number that is none (NaN, infinity), a span outside of the text or with its end before its start.
 */
mla_status mla_examples_next(mla_examples *examples, const mla_example **out);
void mla_examples_rewind(mla_examples *examples);

#endif
