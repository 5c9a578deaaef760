/* Intervals by the bootstrap: a statistic of the units (texts) drawn again with replacement, many times. Which unit is
 * drawn depends on the seed, the replicate and the draw alone. */
#ifndef MLA_TRAIN_SCORING_BOOTSTRAP_H
#define MLA_TRAIN_SCORING_BOOTSTRAP_H

#include "autograd/base/context.h"

typedef struct {
    int64_t replicates, units;
    uint64_t seed;
} mla_bootstrap_options;

typedef struct {
    double low, high;
} mla_bounds;

/* Computes some values of units that count weights[unit] times each, all together as many as there are. */
typedef void (*mla_statistic)(void *user, const double *weights, double *values);

/* The quantiles 0.025 and 0.975 of each of `width` values over the replicates, interpolated as numpy does; a replicate
 * where the value is NaN is left out, NaN where all are. Only error: MLA_ERROR_MEMORY. */
mla_status mla_bootstrap(mla_context *context, const mla_bootstrap_options *options, mla_statistic statistic,
                         void *user, int64_t width, mla_bounds *out);

/* How often each of the units (units) is drawn in a replicate. */
void mla_bootstrap_draw(const mla_bootstrap_options *options, int64_t replicate, double *weights);

#endif
