/* The loss of a model on held-out text. */
#ifndef MLA_TRAIN_RUN_EVALUATE_H
#define MLA_TRAIN_RUN_EVALUATE_H

#include "data/tokens/sampler.h"
#include "layers/decoder.h"

typedef struct {
    double loss;    /* nats per token, the mean over all tokens that count */
    int64_t tokens; /* how many */
} mla_evaluation;

/* Goes through the stream in windows of `sequence` tokens (or as it is packed into such, data/tokens/packing.h),
 * `batch` at a time, at most `batches` times (0: all of it), in products of `precision`, with a tape that is free to be
 * used. Errors: of the graph, or a stream too short for one token. */
mla_status mla_evaluate(mla_tape *tape, const mla_decoder *model, const mla_token_stream *stream,
                        const mla_packing *packing, int64_t batch, int64_t sequence, int64_t batches,
                        mla_dtype precision, mla_evaluation *out);

/* The sum of the losses of windows first ... end - 1, in nats, and how many tokens count in them. */
mla_status mla_evaluate_windows(mla_tape *tape, const mla_decoder *model, const mla_token_stream *stream,
                                const mla_packing *packing, int64_t batch, int64_t sequence, int64_t first, int64_t end,
                                mla_dtype precision, double *sum, int64_t *tokens);

/* Bits per byte of text: nats per token over ln 2, times tokens per byte. NaN where the bytes are unknown. */
double mla_bits_per_byte(double loss, const mla_token_stream *stream);

#endif
