#include "train/run/evaluate.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    int32_t *ids, *targets, *starts; /* (batch, sequence) */
} window_batch;

/* Fills a batch with windows first ...; rows beyond the last window do not count. Returns how many targets do. */
static int64_t evaluate_load(const mla_evaluation_data *d, int64_t first, int64_t end, const window_batch *b) {
    const int64_t length = d->sequence;
    int64_t valid = 0;
    for (int64_t i = 0; i < d->batch; i++) {
        int32_t *ids = b->ids + i * length, *targets = b->targets + i * length, *starts = b->starts + i * length;
        if (first + i < end) mla_window_get(d->stream, d->packing, length, first + i, ids, targets, starts);
        for (int64_t j = 0; j < length; j++) {
            if (first + i >= end) ids[j] = 0, targets[j] = -1, starts[j] = 0;
            valid += targets[j] >= 0;
        }
    }
    return valid;
}

static mla_tensor *evaluate_loss(mla_tape *tape, const mla_decoder *model, const mla_evaluation_data *d,
                                 const window_batch *b) {
    const int64_t shape[] = {d->batch, d->sequence};
    mla_tape_begin(tape, &(mla_step){.inference = true, .precision = d->precision});
    const mla_batch batch = {.ids = mla_input(tape, MLA_I32, 2, shape, b->ids),
                             .targets = mla_input(tape, MLA_I32, 2, shape, b->targets),
                             .scale = 1,
                             .pass = {.starts = d->packing ? b->starts : NULL}};
    return mla_decoder_loss(tape, model, &batch);
}

mla_status mla_evaluate_windows(mla_tape *tape, const mla_decoder *model, const mla_evaluation_data *d, int64_t first,
                                int64_t end, mla_evaluation_sums *out) {
    mla_context *context = mla_tape_context(tape);
    const int64_t count = d->batch * d->sequence;
    const window_batch b = {mla_alloc(context, count, sizeof *b.ids, "a batch"),
                            mla_alloc(context, count, sizeof *b.targets, "a batch"),
                            mla_alloc(context, count, sizeof *b.starts, "a batch")};
    *out = (mla_evaluation_sums){0};

    for (int64_t i = first; i < end && !mla_error_status(context); i += d->batch) {
        out->tokens += evaluate_load(d, i, end, &b);
        const mla_tensor *loss = evaluate_loss(tape, model, d, &b);
        if (!mla_error_status(context)) out->loss += (double)*(const float *)loss->data;
    }

    free(b.ids);
    free(b.targets);
    free(b.starts);
    return mla_error_status(context);
}

mla_status mla_evaluate(mla_tape *tape, const mla_decoder *model, const mla_evaluation_data *d, int64_t batches,
                        mla_evaluation *out) {
    int64_t windows = mla_window_count(d->stream, d->packing, d->sequence);
    mla_evaluation_sums sums;
    *out = (mla_evaluation){.loss = NAN};
    if (windows < 1)
        return mla_fail(mla_tape_context(tape), MLA_ERROR_ARGUMENT, "there is no held-out text to evaluate on");
    if (batches && batches <= windows / d->batch) windows = batches * d->batch;
    const mla_status status = mla_evaluate_windows(tape, model, d, 0, windows, &sums);
    out->tokens = sums.tokens;
    if (sums.tokens) out->loss = sums.loss / (double)sums.tokens;
    return status;
}

double mla_bits_per_byte(double loss, const mla_token_stream *stream) {
    return stream->bytes ? loss / M_LN2 * (double)stream->count / (double)stream->bytes : NAN;
}
