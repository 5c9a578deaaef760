/* How fast the arms of a comparison decode: kept in its folder as decoding.json, so that it is measured once. */
#ifndef MLA_TRAIN_COMPARE_SPEED_H
#define MLA_TRAIN_COMPARE_SPEED_H

#include "train/compare/comparison.h"

#include <jansson.h>

/* *out: {"contexts": [{"context": 1024, "tokens_per_second": {"mha": ...}} or {"context": ..., "skipped": "why"}]}, to
 * be released with json_decref. The arms take turns behind each context. Those that the machine has no memory for are
 * skipped. Errors: of the models, and of the file. */
mla_status mla_speed_measure(mla_comparison *comparison, json_t **out);

/* What was measured so far; *out is NULL where that was of other arms or contexts, or nothing. */
mla_status mla_speed_read(mla_comparison *comparison, json_t **out);

#endif
