/* Makes the runs of a comparison that are still to be made, one after the other. */
#ifndef MLA_TRAIN_COMPARE_SCHEDULE_H
#define MLA_TRAIN_COMPARE_SCHEDULE_H

#include "train/compare/comparison.h"

/* Calls `after` when a run is done, and so its result is in the comparison. *left: runs without a result, which other
 * processes are at, or which are the part of others (mla_compare_options.part), or wait for such. MLA_ERROR_STOPPED,
 * and the errors of runs (mla_trial_run); MLA_ERROR_NUMERIC where an arm diverges at all rates. */
mla_status mla_schedule_run(mla_comparison *comparison, mla_status (*after)(mla_comparison *comparison), int *left);

/* Chooses for each arm whose sweep is over the rate with the lowest held-out loss, and reads the results at it. */
mla_status mla_schedule_choose(mla_comparison *comparison);

#endif
