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
} mla_objective;

/* One element, for mla_backward. Errors: those of the graph; MLA_ERROR_ARGUMENT for a teacher of other heads. */
mla_tensor *mla_objective_loss(mla_tape *tape, const mla_decoder *model, const mla_batch *batch,
                               const mla_objective *objective);

#endif
