#include "train/inference/sampling.h"
#include "autograd/base/random.h"

#include <math.h>
#include <stdlib.h>

mla_status mla_sampling_check(mla_context *context, const mla_sampling *s) {
    if (!(s->temperature >= 0) || !isfinite(s->temperature))
        return mla_fail(context, MLA_ERROR_ARGUMENT, "the temperature is %g; it must be 0 (greedy) or above",
                        s->temperature);
    if (s->top_k < 0)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "top-k is %lld; it must be 0 (all) or above", (long long)s->top_k);
    if (!(s->top_p >= 0 && s->top_p <= 1))
        return mla_fail(context, MLA_ERROR_ARGUMENT, "top-p is %g; it must be from 0 (all) to 1", s->top_p);
    return MLA_OK;
}

static int32_t largest(const float *logits, int64_t count) {
    int64_t best = 0;
    for (int64_t i = 1; i < count; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

static int most_probable_first(const void *a, const void *b) {
    const mla_candidate *x = a, *y = b;
    if (x->weight != y->weight) return x->weight < y->weight ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

static double total(const mla_candidate *candidates, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += candidates[i].weight;
    return sum;
}

/* How many of the sorted candidates stay. */
static int64_t cut(const mla_sampling *s, const mla_candidate *candidates, int64_t count) {
    if (s->top_k && s->top_k < count) count = s->top_k;
    if (!(s->top_p > 0 && s->top_p < 1)) return count;
    const double enough = s->top_p * total(candidates, count);
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        if ((sum += candidates[i].weight) >= enough) return i + 1;
    return count;
}

/* In [0, 1), with 53 random bits: 24 would not reach the rare ids of a large vocabulary. */
static double uniform(const mla_sampling *s, int64_t position) {
    uint32_t bits[4];
    mla_random_bits(mla_random_stream(s->seed, "sample", (uint64_t)position, s->sequence, 0), 0, bits);
    return (double)(((uint64_t)bits[0] << 32 | bits[1]) >> 11) * 0x1p-53;
}

static int32_t sampling_draw(const mla_candidate *candidates, int64_t count, double share) {
    double left = share * total(candidates, count);
    int64_t last = 0; /* of those with a weight, should rounding leave something over */
    for (int64_t i = 0; i < count; i++) {
        if (candidates[i].weight <= 0) continue;
        last = i;
        if ((left -= candidates[i].weight) < 0) break;
    }
    return candidates[last].id;
}

mla_status mla_sample(mla_context *context, const mla_sampling *s, const float *logits, int64_t count, int64_t position,
                      mla_candidate *candidates, int32_t *id) {
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(logits[i]))
            return mla_fail(context, MLA_ERROR_NUMERIC,
                            "the logit of token %lld at position %lld is not a finite number", (long long)i,
                            (long long)position);
    *id = largest(logits, count);
    if (s->temperature <= 0) return MLA_OK;
    const double top = (double)logits[*id];
    for (int64_t i = 0; i < count; i++)
        candidates[i] = (mla_candidate){exp(((double)logits[i] - top) / s->temperature), (int32_t)i};
    if (s->top_k || s->top_p > 0) {
        qsort(candidates, (size_t)count, sizeof *candidates, most_probable_first);
        count = cut(s, candidates, count);
    }
    *id = sampling_draw(candidates, count, uniform(s, position));
    return MLA_OK;
}
