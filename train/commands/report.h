/* The JSON that commands print with --json. */
#ifndef MLA_TRAIN_COMMANDS_REPORT_H
#define MLA_TRAIN_COMMANDS_REPORT_H

#include <jansson.h>
#include <stdio.h>

/* Sets a number; one that is not finite becomes null. */
void mla_report_number(json_t *json, const char *key, double value);

/* Prints the object on one line and frees it. */
void mla_report_print(FILE *out, json_t *json);

#endif
