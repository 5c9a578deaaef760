/* A comparison of attentions on one text: README.md is its page.
 *
 * mla_compare makes the runs that are still to be made, and then, when all are done, times decoding; the folder's
 * comparison.json and comparison.csv are kept up with each run that ends. */
#ifndef MLA_TRAIN_COMPARE_COMPARE_H
#define MLA_TRAIN_COMPARE_COMPARE_H

#include "train/compare/comparison.h"
#include "train/compare/schedule.h"

#include <jansson.h>

/* *summary: mla_summary_json, to be released with json_decref; *left: as mla_schedule_run. Errors:
 * mla_comparison_open's and mla_schedule_run's; after any of them the same call goes on where it stopped. */
mla_status mla_compare(mla_context *context, const mla_recipe *base, const mla_compare_options *options,
                       json_t **summary, int *left);

/* What it would do: arms with their shapes, how many runs, memory and time. Trains a few steps of each arm to see how
 * long they take, and writes nothing. */
mla_status mla_compare_plan(mla_context *context, const mla_recipe *base, const mla_compare_options *options,
                            json_t **plan);
void mla_compare_plan_print(FILE *out, const json_t *plan);

#endif
