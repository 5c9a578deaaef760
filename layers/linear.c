#include "layers/linear.h"
#include "layers/lora.h"

#include <stdio.h>

enum { LONGEST_NAME = 256 };

mla_status mla_linear_build(mla_context *context, mla_params *params, mla_linear_layer *layer,
                            const mla_linear_spec *spec) {
    char name[LONGEST_NAME];
    snprintf(name, sizeof name, "%s%s.weight", spec->prefix, spec->name);
    layer->bias = NULL;
    layer->lora = NULL;
    layer->weight = mla_params_add(params, &(mla_param_spec){.name = name, .ndim = 2, .shape = {spec->out, spec->in},
                                                             .init = MLA_INIT_NORMAL, .scale = (float)spec->deviation,
                                                             .decay = true, .takes_half = true});
    if (!layer->weight || !spec->bias) return mla_error_status(context);
    snprintf(name, sizeof name, "%s%s.bias", spec->prefix, spec->name);
    layer->bias = mla_params_add(params, &(mla_param_spec){.name = name, .ndim = 1, .shape = {spec->out}});
    return mla_error_status(context);
}

mla_tensor *mla_linear_apply(mla_tape *tape, const mla_linear_layer *layer, mla_tensor *x) {
    return layer->lora ? mla_lora_layer_apply(tape, layer, x) : mla_linear(tape, x, layer->weight, layer->bias);
}

mla_tensor *mla_linear_weight(mla_tape *tape, const mla_linear_layer *layer) {
    return layer->lora ? mla_lora_layer_weight(tape, layer, mla_tape_step(tape)->precision) : layer->weight;
}
