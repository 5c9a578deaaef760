/* A comparison as a table, from what mla_summary_json says. */
#ifndef MLA_TRAIN_COMPARE_TABLE_H
#define MLA_TRAIN_COMPARE_TABLE_H

#include "autograd/base/context.h"

#include <jansson.h>
#include <stdio.h>

/* Two tables, of what the models know and of what they cost, an arm a line. */
void mla_table_print(FILE *out, const json_t *summary);

/* One table, an arm a line, with commas; free() it. NULL without memory. */
char *mla_table_csv(mla_context *context, const json_t *summary);

#endif
