/* The JSON that commands print with --json. */
#ifndef MLA_TRAIN_COMMANDS_OUTPUT_H
#define MLA_TRAIN_COMMANDS_OUTPUT_H

#include "data/tokenizer/tokenizer.h"
#include "train/run/label_evaluation.h"

#include <jansson.h>
#include <stdio.h>

/* Sets a number; one that is not finite becomes null. */
void mla_output_number(json_t *json, const char *key, double value);

/* A text with U+FFFD in the place of bytes that are no characters: JSON takes only those. NULL without memory. */
json_t *mla_output_text(mla_context *context, const mla_bytes *text);

/* Accuracy and F1, or the error of numbers, a line each. */
void mla_output_scores(FILE *out, const mla_label_scores *scores);

/* Prints the object on one line and frees it. */
void mla_output_print(FILE *out, json_t *json);

#endif
