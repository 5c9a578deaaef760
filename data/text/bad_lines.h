/* Lines that are broken, or lack what is asked for, where they are left out (data.bad_lines: skip). */
#ifndef MLA_DATA_TEXT_BAD_LINES_H
#define MLA_DATA_TEXT_BAD_LINES_H

#include "autograd/base/context.h"

typedef enum { MLA_BAD_LINES_ERROR, MLA_BAD_LINES_SKIP } mla_bad_lines_choice;
extern const char *const mla_bad_lines_names[]; /* "error", "skip"; NULL behind the last */

enum { MLA_BAD_LINES_TOLD = 5 };

typedef struct {
    int64_t count;
    char first[MLA_BAD_LINES_TOLD][240]; /* what is wrong with the first: "a.jsonl:7: no field ..." */
} mla_bad_lines;

/* Counts the line of which the context has the error, and clears it there. */
void mla_bad_lines_add(mla_context *context, mla_bad_lines *lines);

/* Warns of them, if there are any. */
void mla_bad_lines_warn(mla_context *context, const mla_bad_lines *lines);

#endif
