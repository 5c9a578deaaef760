/* One layer's attention step by step: what each gives, what it costs and, measured, how long it takes and how far bf16
 * is from f32.
 *
 * Sizes and costs are those of a pass on shapes alone. To measure, the whole model runs on random ids, in f32 and bf16
 * in turns, and the clock is read where the layer shows its steps (layers/parts/pass.h). */
#ifndef MLA_TRAIN_DRAW_LAYER_STEPS_H
#define MLA_TRAIN_DRAW_LAYER_STEPS_H

#include "layers/decoder.h"

typedef struct {
    bool seen; /* the attention has this step */
    int ndim;
    int64_t shape[MLA_MAX_DIMS]; /* of what it gives */
    int64_t second_width;        /* of the second tensor that it gives; 0: there is none */
    double flops, bytes;
    double seconds[2]; /* in f32 and bf16, the middle of several runs; NaN where nothing was measured */
    double error;      /* of bf16 up to here, relative to the size of the values; NaN likewise */
} mla_layer_step;

typedef struct {
    mla_layer_step of[MLA_ATTENTION_STEPS];
} mla_layer_steps;

typedef struct {
    int64_t layer, tokens; /* tokens: at most max_position_embeddings */
    bool measure;
    const mla_decoder *model; /* with weights, to measure; NULL: initial ones are drawn */
} mla_layer_steps_options;

/* Errors: those of the model, memory. */
mla_status mla_layer_steps_find(mla_context *context, const mla_model_config *config,
                                const mla_layer_steps_options *options, mla_layer_steps *out);

#endif
