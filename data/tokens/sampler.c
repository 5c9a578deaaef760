#include "data/tokens/sampler.h"

#include "autograd/base/random.h"
#include "data/tokens/permutation.h"
#include <inttypes.h>

static mla_status init_packed(mla_context *context, mla_sampler *out, const mla_token_stream *stream,
                              const mla_packing *packing, int64_t length, uint64_t seed) {
    *out = (mla_sampler){stream, packing, length, mla_packing_report_of(packing).sequences, seed};
    if (out->samples) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "none of the %" PRId64 " documents has anything to learn within %" PRId64
                    " tokens: answers, or longer sequences, are needed",
                    mla_packing_report_of(packing).documents, length);
}

mla_status mla_sampler_init(mla_context *context, mla_sampler *out, const mla_token_stream *stream,
                            const mla_packing *packing, int64_t length, uint64_t seed) {
    if (packing) return init_packed(context, out, stream, packing, length, seed);
    if (length < 1 || stream->count <= length)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "sequences of %" PRId64 " tokens cannot be cut from %" PRId64
                        " tokens: more text or shorter sequences are needed",
                        length, stream->count);
    *out = (mla_sampler){stream, NULL, length, (stream->count - 1) / length, seed};
    return MLA_OK;
}

/* Sequences lie end to end; what is left over is shared out before and behind them, anew in each epoch, so
 * that no token is always left out. */
static int64_t epoch_start(const mla_sampler *sampler, uint64_t epoch) {
    int64_t left_over = sampler->stream->count - 1 - sampler->samples * sampler->length;
    mla_stream stream = mla_random_stream(sampler->seed, "epoch start", epoch, 0, 0);
    uint32_t bits[4];
    mla_random_bits(stream, 0, bits);
    return bits[0] % (left_over + 1);
}

void mla_sampler_get(const mla_sampler *sampler, int64_t index, int32_t *inputs, int32_t *targets, int32_t *starts) {
    uint64_t epoch = (uint64_t)(index / sampler->samples);
    int64_t shuffled = mla_permute(sampler->seed, epoch, sampler->samples, index % sampler->samples);
    if (sampler->packing) {
        mla_packing_get(sampler->packing, shuffled, inputs, targets, starts);
        return;
    }
    int64_t first = epoch_start(sampler, epoch) + shuffled * sampler->length;
    mla_tokens_copy(sampler->stream, first, sampler->length, inputs);
    mla_tokens_copy_targets(sampler->stream, first + 1, sampler->length, targets);
}

int64_t mla_window_count(const mla_token_stream *stream, const mla_packing *packing, int64_t length) {
    if (packing) return mla_packing_report_of(packing).sequences;
    return stream->count < 2 ? 0 : (stream->count - 2) / length + 1;
}

void mla_window_get(const mla_token_stream *stream, const mla_packing *packing, int64_t length, int64_t index,
                    int32_t *inputs, int32_t *targets, int32_t *starts) {
    if (packing) {
        mla_packing_get(packing, index, inputs, targets, starts);
        return;
    }
    int64_t first = index * length, left = stream->count - 1 - first, count = left < length ? left : length;
    mla_tokens_copy(stream, first, count, inputs);
    mla_tokens_copy_targets(stream, first + 1, count, targets);
    for (int64_t i = count; i < length; i++) inputs[i] = 0, targets[i] = -1;
}
