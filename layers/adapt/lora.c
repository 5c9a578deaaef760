#include "layers/adapt/lora.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_NAME = 256 };

/* "model.layers.0.self_attn.q_proj", of its weight's name. */
static int stem_length(const mla_linear_layer *layer) { return (int)(strlen(layer->weight->name) - strlen(".weight")); }

static mla_tensor *lora_add(mla_params *params, const mla_linear_layer *layer, const char *part, const char *adapter,
                            mla_param_spec spec) {
    char name[LONGEST_NAME];
    snprintf(name, sizeof name, "%.*s.%s.%s.weight", stem_length(layer), layer->weight->name, part, adapter);
    spec.name = name;
    spec.adapter = true;
    return mla_params_add(params, &spec);
}

static mla_status lora_check(mla_context *context, const mla_linear_layer *layer, int64_t rank) {
    const int64_t out = layer->weight->shape[0], in = layer->weight->shape[1], most = in < out ? in : out;
    if (rank >= 1 && rank <= most) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "an adapter of rank %lld on %.*s: the rank must be at least 1 and at most %lld, the width of this "
                    "projection (%lld to %lld)",
                    (long long)rank, stem_length(layer), layer->weight->name, (long long)most, (long long)in,
                    (long long)out);
}

static void lora_append(mla_linear_layer *layer, mla_lora_layer *lora) {
    mla_lora_layer **end = &layer->lora;
    while (*end) end = &(*end)->next;
    *end = lora;
}

mla_status mla_lora_add(mla_context *context, mla_params *params, mla_linear_layer *layer, const mla_lora_spec *spec) {
    const int64_t out = layer->weight->shape[0], in = layer->weight->shape[1], r = spec->rank;
    const mla_status status = lora_check(context, layer, r);
    if (status) return status;
    mla_lora_layer *lora = mla_alloc(context, 1, sizeof *lora, "an adapter");
    if (!lora) return MLA_ERROR_MEMORY;
    *lora = (mla_lora_layer){.rank = r,
                             .alpha = spec->alpha,
                             .share = spec->share,
                             .dropout = spec->dropout,
                             .scale = (float)(spec->alpha / (spec->rslora ? sqrt((double)r) : (double)r))};
    lora->a = lora_add(params, layer, "lora_A", spec->name,
                       (mla_param_spec){.ndim = 2,
                                        .shape = {r, in},
                                        .decay = true,
                                        .frozen = spec->frozen,
                                        .init = spec->deviation > 0 ? MLA_INIT_NORMAL : MLA_INIT_UNIFORM,
                                        .scale = spec->deviation > 0 ? spec->deviation : 1 / sqrtf((float)in)});
    lora->b = lora_add(params, layer, "lora_B", spec->name,
                       (mla_param_spec){.ndim = 2, .shape = {out, r}, .decay = true, .frozen = spec->frozen});
    if (spec->dora)
        lora->magnitude = lora_add(
            params, layer, "lora_magnitude_vector", spec->name,
            (mla_param_spec){.ndim = 1, .shape = {out}, .init = MLA_INIT_ONE, .frozen = spec->frozen});
    lora_append(layer, lora);
    return mla_error_status(context);
}
