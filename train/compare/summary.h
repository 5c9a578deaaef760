/* What a comparison has found so far, as JSON: comparison.json, whose keys README.md tells. */
#ifndef MLA_TRAIN_COMPARE_SUMMARY_H
#define MLA_TRAIN_COMPARE_SUMMARY_H

#include "train/compare/comparison.h"

#include <jansson.h>

/* A new object, to be released with json_decref; NULL without memory. `speeds` is that of mla_speed_measure, or NULL.
 * All but the objects "time" is the same, bit for bit, however often the comparison was stopped. */
json_t *mla_summary_json(mla_comparison *comparison, const json_t *speeds);

#endif
