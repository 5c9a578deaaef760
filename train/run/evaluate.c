#include "train/run/evaluate.h"

#include <math.h>
#include <stdlib.h>

/* Fills a batch with windows first ...; rows beyond the last window do not count. */
static int64_t load(const mla_token_stream *stream, const mla_packing *packing, int64_t first, int64_t windows,
                    int64_t batch, int64_t length, int32_t *ids, int32_t *targets, int32_t *starts) {
    int64_t valid = 0;
    for (int64_t i = 0; i < batch; i++) {
        int32_t *row_ids = ids + i * length, *row_targets = targets + i * length, *row_starts = starts + i * length;
        if (first + i < windows) mla_window_get(stream, packing, length, first + i, row_ids, row_targets, row_starts);
        for (int64_t j = 0; j < length; j++) {
            if (first + i >= windows) row_ids[j] = 0, row_targets[j] = -1, row_starts[j] = 0;
            valid += row_targets[j] >= 0;
        }
    }
    return valid;
}

mla_status mla_evaluate_windows(mla_tape *tape, const mla_decoder *model, const mla_token_stream *stream,
                                const mla_packing *packing, int64_t batch, int64_t length, int64_t first, int64_t end,
                                mla_dtype precision, double *sum, int64_t *tokens) {
    mla_context *context = mla_tape_context(tape);
    const int64_t shape[] = {batch, length};
    int32_t *ids = mla_alloc(context, batch * length, sizeof *ids, "a batch");
    int32_t *targets = mla_alloc(context, batch * length, sizeof *targets, "a batch");
    int32_t *starts = mla_alloc(context, batch * length, sizeof *starts, "a batch");
    *sum = 0;
    *tokens = 0;
    for (int64_t i = first; i < end && !mla_error_status(context); i += batch) {
        *tokens += load(stream, packing, i, end, batch, length, ids, targets, starts);
        mla_tape_begin(tape, &(mla_step){.inference = true, .precision = precision});
        const mla_batch batch_of_ids = {.ids = mla_input(tape, MLA_I32, 2, shape, ids),
                                        .scale = 1,
                                        .targets = mla_input(tape, MLA_I32, 2, shape, targets),
                                        .pass = {.starts = packing ? starts : NULL}};
        const mla_tensor *loss = mla_decoder_loss(tape, model, &batch_of_ids);
        if (!mla_error_status(context)) *sum += (double)*(const float *)loss->data;
    }
    free(ids);
    free(targets);
    free(starts);
    return mla_error_status(context);
}

mla_status mla_evaluate(mla_tape *tape, const mla_decoder *model, const mla_token_stream *stream,
                        const mla_packing *packing, int64_t batch, int64_t length, int64_t batches, mla_dtype precision,
                        mla_evaluation *out) {
    int64_t windows = mla_window_count(stream, packing, length);
    double sum;
    *out = (mla_evaluation){.loss = NAN};
    if (windows < 1)
        return mla_fail(mla_tape_context(tape), MLA_ERROR_ARGUMENT, "there is no held-out text to evaluate on");
    if (batches && batches <= windows / batch) windows = batches * batch;
    const mla_status status = mla_evaluate_windows(tape, model, stream, packing, batch, length, 0, windows, precision,
                                                   &sum, &out->tokens);
    if (out->tokens) out->loss = sum / (double)out->tokens;
    return status;
}

double mla_bits_per_byte(double loss, const mla_token_stream *stream) {
    return stream->bytes ? loss / M_LN2 * (double)stream->count / (double)stream->bytes : NAN;
}
