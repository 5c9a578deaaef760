/* What training makes smaller: the loss of the model's head, and what is added to it. The same for the trainer, the
 * prediction of memory and measurements. */
#ifndef MLA_LAYERS_OBJECTIVE_H
#define MLA_LAYERS_OBJECTIVE_H

#include "layers/decoder.h"

/* The zero value is the head's loss alone. */
typedef struct {
    /* Distillation, of language models: (1 - share) of the head's loss, and share T² times KL(teacher || model), both
     * softened by temperature T (Hinton et al. 2015). */
    const mla_decoder *teacher; /* of the same vocabulary, allocated without gradients; NULL: none */
    float share, temperature;
    double *divergence; /* gets the sum of the KLs over the targets added, unscaled; NULL: nobody asks */
    /* Beside it, so many times the mean over layers of mla_relative_error between what their attentions give in the
     * model and in the teacher, each with its own hidden states (layers/parts/lesson.h); 0: none of it. */
    float layer_weight;
} mla_objective;

/* MLA_ERROR_ARGUMENT: these cannot learn layer by layer. */
mla_status mla_objective_check_layers(mla_context *context, const mla_model_config *model,
                                      const mla_model_config *teacher);

/* One element, for mla_backward. Errors: those of the graph; MLA_ERROR_ARGUMENT for a teacher of other heads. */
mla_tensor *mla_objective_loss(mla_tape *tape, const mla_decoder *model, const mla_batch *batch,
                               const mla_objective *objective);

#endif
