/* A projection of a model: weight (out,in), with or without bias, and with any number of adapters (layers/lora). */
#ifndef MLA_LAYERS_LINEAR_H
#define MLA_LAYERS_LINEAR_H

#include "autograd/ops.h"
#include "autograd/params.h"

/* Tensors belong to the registry; zero where a projection is not there. */
typedef struct {
    mla_tensor *weight, *bias;
    struct mla_lora_layer *lora; /* the first adapter; NULL: none */
} mla_linear_layer;

typedef struct {
    const char *prefix; /* "model.layers.0.self_attn." */
    const char *name;   /* "q_proj"; parameters are called prefix + name + ".weight" and ".bias" */
    int64_t in, out;
    bool bias;
    double deviation; /* of the normal initial weights; biases start at 0 */
} mla_linear_spec;

/* Errors: those of mla_params_add. */
mla_status mla_linear_build(mla_context *context, mla_params *params, mla_linear_layer *layer,
                            const mla_linear_spec *spec);

/* x (..., in) -> (..., out), adapters included */
mla_tensor *mla_linear_apply(mla_tape *tape, const mla_linear_layer *layer, mla_tensor *x);
/* The weight with its adapters in it, for products that apply does not make; their dropout does not act here. The
 * weight itself where there are none, otherwise of the step's precision. */
mla_tensor *mla_linear_weight(mla_tape *tape, const mla_linear_layer *layer);

#endif
