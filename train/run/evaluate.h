/* The loss of a model on held-out text. */
#ifndef MLA_TRAIN_RUN_EVALUATE_H
#define MLA_TRAIN_RUN_EVALUATE_H

#include "data/tokens/sampler.h"
#include "layers/decoder.h"

typedef struct {
    double loss;    /* nats per token, the mean over all tokens that count */
    int64_t tokens; /* how many */
} mla_evaluation;

/* A stream in windows of `sequence` tokens, or as it is packed into such (data/tokens/packing.h), `batch` at a time. */
typedef struct {
    const mla_token_stream *stream;
    const mla_packing *packing; /* NULL: none */
    int64_t batch, sequence;
    mla_dtype precision; /* of the products */
} mla_evaluation_data;

/* Goes through at most `batches` of the stream (0: all of it), with a tape that is free to be used. Errors: of the
 * graph, or a stream too short for one token. */
mla_status mla_evaluate(mla_tape *tape, const mla_decoder *model, const mla_evaluation_data *data, int64_t batches,
                        mla_evaluation *out);

/* The sum of the losses of windows first ... end - 1, in nats, and how many tokens count in them. */
typedef struct {
    double loss;
    int64_t tokens;
} mla_evaluation_sums;
mla_status mla_evaluate_windows(mla_tape *tape, const mla_decoder *model, const mla_evaluation_data *data,
                                int64_t first, int64_t end, mla_evaluation_sums *out);

/* Bits per byte of text: nats per token over ln 2, times tokens per byte. NaN where the bytes are unknown. */
double mla_bits_per_byte(double loss, const mla_token_stream *stream);

#endif
