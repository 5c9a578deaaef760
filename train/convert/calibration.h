/* Text that a conversion looks at: windows of it, evenly spread. Two of three calibrate; every third is left out, to
 * measure what the conversion does. Several ranks take turns, a batch of windows each, and add up what they have seen,
 * so that all go on with the same sums; with ranks, what is said to measure or sum must be called by all of them. */
#ifndef MLA_TRAIN_CONVERT_CALIBRATION_H
#define MLA_TRAIN_CONVERT_CALIBRATION_H

#include "data/tokens/token_file.h"
#include "layers/decoder.h"
#include "train/distributed/comm.h"

typedef struct {
    const mla_token_stream *text;
    int64_t sequence; /* tokens that are seen together */
    int64_t tokens;   /* of the text at most */
    mla_comm *comm;   /* the ranks that share it; NULL: this process alone */
} mla_calibration_text;

typedef enum { MLA_CALIBRATED, MLA_LEFT_OUT } mla_calibration_part;

typedef struct {
    mla_context *context;
    mla_calibration_text of;
    mla_tape *tape;
    int64_t windows[2], windows_there, batch; /* of each part, in all, at once */
    int64_t first, stride;                    /* this rank's windows: a batch from `first` on, every `stride` */
    int32_t *ids, *targets;                   /* of a batch */
} mla_calibration;

/* MLA_ERROR_ARGUMENT: the text is too short for it, the sequence longer than the model's positions, or the model no
 * language model, which has no loss on text without labels. */
mla_status mla_calibration_check_text(const mla_decoder *model, const mla_calibration_text *text);
/* The same errors. Free it in any case; what the text's stream points to must outlive it. */
mla_status mla_calibration_create(const mla_decoder *model, mla_calibration *out, const mla_calibration_text *text);
void mla_calibration_free(mla_calibration *calibration);

/* Tokens of a part. */
int64_t mla_calibration_tokens(const mla_calibration *calibration, mla_calibration_part part);

/* On the tape, which has begun: the sum of the losses of windows `first` ... of a part, as many as fit; *count is how
 * many. */
mla_tensor *mla_calibration_loss(mla_calibration *calibration, const mla_decoder *model, mla_calibration_part part,
                                 int64_t first, int64_t *count);

/* Sums in place over all ranks, in their order. */
mla_status mla_calibration_sum(mla_calibration *calibration, int64_t count, double *sums);

/* The mean loss of a part, nats per token. MLA_ERROR_ARGUMENT where it is no number. */
mla_status mla_calibration_measure(mla_calibration *calibration, const mla_decoder *model, mla_calibration_part part,
                                   double *loss);

/* The mean KL(of || model) of a part, nats per token. */
mla_status mla_calibration_divergence(mla_calibration *calibration, const mla_decoder *model, const mla_decoder *of,
                                      mla_calibration_part part, double *divergence);

/* How far the outputs of a part of a model are from those of another, over any number of batches. Begins as {0}. */
typedef struct {
    double of_error, of_output; /* squares */
} mla_output_error;
void mla_output_error_add(mla_output_error *error, const mla_tensor *now, const mla_tensor *before);
/* Over all ranks. */
mla_status mla_output_error_sum(mla_calibration *calibration, mla_output_error *error);
/* Relative to the size of the outputs before. */
double mla_output_error_value(const mla_output_error *error);

/* Copies the parameters that both models have in equal number. */
void mla_copy_common_params(const mla_decoder *from, const mla_decoder *to);

/* MLA_ERROR_ARGUMENT where a loss is no number. */
mla_status mla_calibration_check(mla_context *context, double loss);

#endif
