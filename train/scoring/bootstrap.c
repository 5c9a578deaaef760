#include "train/scoring/bootstrap.h"
#include "autograd/base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void mla_bootstrap_draw(const mla_bootstrap_options *o, int64_t replicate, double *weights) {
    const mla_stream stream = mla_random_stream(o->seed, "bootstrap", (uint64_t)replicate, 0, 0);
    uint32_t bits[4];
    memset(weights, 0, (size_t)o->units * sizeof *weights);
    for (int64_t i = 0; i < o->units; i++) {
        if (i % 2 == 0) mla_random_bits(stream, (uint64_t)i / 2, bits);
        const uint64_t word = (uint64_t)bits[i % 2 * 2] << 32 | bits[i % 2 * 2 + 1];
        weights[(uint64_t)(((unsigned __int128)word * (uint64_t)o->units) >> 64)]++;
    }
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, int64_t count, double share) {
    const double at = share * (double)(count - 1);
    const int64_t low = (int64_t)at;
    return low + 1 < count ? sorted[low] + (at - (double)low) * (sorted[low + 1] - sorted[low]) : sorted[low];
}

static mla_bounds bounds_of(const double *values, int64_t width, int64_t replicates, double *column) {
    int64_t count = 0;
    for (int64_t r = 0; r < replicates; r++)
        if (!isnan(values[r * width])) column[count++] = values[r * width];
    if (!count) return (mla_bounds){NAN, NAN};
    qsort(column, (size_t)count, sizeof *column, by_size);
    return (mla_bounds){quantile(column, count, 0.025), quantile(column, count, 0.975)};
}

mla_status mla_bootstrap(mla_context *context, const mla_bootstrap_options *o, mla_statistic statistic, void *user,
                         int64_t width, mla_bounds *out) {
    double *weights = mla_alloc(context, o->units, sizeof *weights, "bootstrap weights");
    double *column = mla_alloc(context, o->replicates, sizeof *column, "bootstrap values");
    double *values = mla_alloc(context, o->replicates, (size_t)width * sizeof *values, "bootstrap values");
    const mla_status status = weights && column && values ? MLA_OK : MLA_ERROR_MEMORY;
    for (int64_t r = 0; r < o->replicates && !status; r++) {
        mla_bootstrap_draw(o, r, weights);
        statistic(user, weights, values + r * width);
    }
    for (int64_t i = 0; i < width && !status; i++) out[i] = bounds_of(values + i, width, o->replicates, column);
    free(weights);
    free(column);
    free(values);
    return status;
}
