/* Makes the runs of a comparison that are still to be made, one after the other. */
#ifndef MLA_TRAIN_COMPARE_SCHEDULE_H
#define MLA_TRAIN_COMPARE_SCHEDULE_H

#include "train/compare/comparison.h"

/* What is left when this process has nothing more to do. */
typedef struct {
    int left;  /* runs without a result */
    int busy;  /* of these, that another process is at */
    int other; /* of these, that are the part of others (mla_compare_options.part), or wait for a sweep that is */
} mla_schedule_rest;

/* Calls `after` when a run is done, and so its result is in the comparison. MLA_ERROR_STOPPED, and the errors of runs
 * (mla_trial_run); MLA_ERROR_NUMERIC where an arm diverges at all rates. */
mla_status mla_schedule_run(mla_comparison *comparison, mla_status (*after)(mla_comparison *comparison),
                            mla_schedule_rest *rest);

/* Chooses for each arm whose sweep is over the rate with the lowest held-out loss, and reads the results at it. */
mla_status mla_schedule_choose(mla_comparison *comparison);

#endif
