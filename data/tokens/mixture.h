/* Which part of a mix a sequence comes from: a pure function of the weights, the seed and the sequence's index.
 *
 * Of any stretch of sequences each part has its share to within one or two, evenly spread; and the sequences that a
 * part gives are its own 0, 1, 2, ... without a gap. Both hold exactly, for shares are whole 2^-32ths:
 *
 *     part 0 has given f(i) = floor(i q + phase) of the first i sequences, and gives sequence i if f(i + 1) > f(i);
 *     what it does not give are sequences i - f(i) of a mix of the others. */
#ifndef MLA_DATA_TOKENS_MIXTURE_H
#define MLA_DATA_TOKENS_MIXTURE_H

#include <stdint.h>

enum { MLA_MOST_PARTS = 16 };

typedef struct {
    int count;
    uint64_t quotas[MLA_MOST_PARTS]; /* of what the parts before leave, in 2^-32ths */
    uint64_t phases[MLA_MOST_PARTS];
} mla_mixture;

/* Weights above 0, of 1 to MLA_MOST_PARTS parts; only their ratios matter. */
void mla_mixture_init(mla_mixture *out, int count, const double *weights, uint64_t seed);

/* The part that gives sequence `index`, and which of its own that is. */
int mla_mixture_at(const mla_mixture *mixture, int64_t index, int64_t *own);

/* How many of the first `index` sequences a part gives. */
int64_t mla_mixture_given(const mla_mixture *mixture, int part, int64_t index);

#endif
