/* Putting adapters of low rank on a projection; what they compute is in layers/parts/linear.h. */
#ifndef MLA_LAYERS_ADAPT_LORA_H
#define MLA_LAYERS_ADAPT_LORA_H

#include "layers/parts/linear.h"

typedef struct {
    const char *name; /* of the adapter: parameters are called as PEFT's, PROJECTION.lora_A.NAME.weight, ... */
    int64_t rank;
    double alpha;
    bool rslora, dora, frozen;
    float share;     /* in a stack; 1 for one by itself */
    float dropout;   /* in training */
    float deviation; /* of A's normal initial values; 0: uniform in 1/sqrt(in), as PEFT's. B starts at 0 */
} mla_lora_spec;

/* Adds an adapter behind those that the projection has, before mla_params_allocate. Error: MLA_ERROR_ARGUMENT for a
 * rank below 1 or above the width, those of mla_params_add. */
mla_status mla_lora_add(mla_context *context, mla_params *params, mla_linear_layer *layer, const mla_lora_spec *spec);

#endif
