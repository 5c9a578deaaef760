/* What the attention of each layer gives, which a model learns from another one, the teacher, of as many layers and the
 * same width. A pass of the teacher fills the lesson; then passes of the model are drawn to what is in it, each layer
 * by mla_relative_error over what its own layers before it make of the text. */
#ifndef MLA_LAYERS_PARTS_LESSON_H
#define MLA_LAYERS_PARTS_LESSON_H

#include "layers/parts/pass.h"

typedef struct mla_lesson {
    float weight;          /* of the mean over layers, in what is minimised */
    mla_tensor *targets;   /* i32 (B,T): positions with -1 do not count */
    bool filled;           /* the teacher has been through */
    int64_t layers;        /* outputs */
    mla_tensor *outputs[]; /* (B,T,D) each, which last for the step */
} mla_lesson;

/* Lives as long as the step; NULL after an error, which the tape's context has. */
mla_lesson *mla_lesson_create(mla_tape *tape, int64_t layers, float weight, mla_tensor *targets);

/* For blocks: the output of a layer's attention, as it goes on. The error is noted as "distil_layers". */
mla_tensor *mla_lesson_take(mla_tape *tape, const mla_pass *pass, int64_t layer, mla_tensor *output);

#endif
