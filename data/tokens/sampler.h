/* Sequences for training and evaluation, from a stream of tokens (data/tokens/token_file.h). Either cut from it: length
 * + 1 tokens in a row, the first `length` of them inputs, the last `length` targets; a sequence may span several
 * documents, with the separators between them. Or, with a packing (data/tokens/packing.h), documents whole and kept
 * apart.
 *
 * The sequence with index i of a run is a pure function of the stream, the seed and i. An epoch is `samples`
 * sequences, each piece of the stream once, in an order of its own; index i belongs to epoch i / samples, so
 * a batch may take its last sequences from the next epoch. The position in the data is one integer: the index
 * of the next sequence. */
#ifndef MLA_DATA_TOKENS_SAMPLER_H
#define MLA_DATA_TOKENS_SAMPLER_H

#include "autograd/base/context.h"
#include "data/tokens/packing.h"
#include "data/tokens/token_file.h"

typedef struct {
    const mla_token_stream *stream; /* the caller's */
    const mla_packing *packing;     /* of it; NULL: cut */
    int64_t length;                 /* tokens of a sequence */
    int64_t samples;                /* sequences in an epoch */
    uint64_t seed;
} mla_sampler;

/* MLA_ERROR_ARGUMENT if there is not enough for one sequence. The stream, and its packing into sequences of that length
 * (or NULL), must outlive the sampler. */
mla_status mla_sampler_init(mla_context *context, mla_sampler *out, const mla_token_stream *stream,
                            const mla_packing *packing, int64_t length, uint64_t seed);

/* Sequence `index` >= 0 of the run: inputs and targets have room for `length` ids each, and so have starts with a
 * packing; without one they are left alone. Targets that do not count are -1. */
void mla_sampler_get(const mla_sampler *sampler, int64_t index, int32_t *inputs, int32_t *targets, int32_t *starts);

/* For evaluation: the packed sequences, or the stream from its start in sequences of `length`, each token but the first
 * once a target. In the last one the targets that do not exist are -1, their inputs 0. */
int64_t mla_window_count(const mla_token_stream *stream, const mla_packing *packing, int64_t length);
void mla_window_get(const mla_token_stream *stream, const mla_packing *packing, int64_t length, int64_t index,
                    int32_t *inputs, int32_t *targets, int32_t *starts);

#endif
