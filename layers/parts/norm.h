/* RMSNorm or LayerNorm with its gain (and bias). */
#ifndef MLA_LAYERS_PARTS_NORM_H
#define MLA_LAYERS_PARTS_NORM_H

#include "layers/parts/builder.h"

typedef struct {
    mla_norm_kind kind;
    float eps;
    mla_tensor *gain, *bias; /* bias: LayerNorm only */
} mla_norm;

typedef struct {
    const char *name;   /* "input_layernorm"; parameters are called prefix + name + ".weight" (begins as ones) ... */
    mla_norm_kind kind; /* ... and, for LayerNorm, ".bias" (zeros) */
    int64_t width;
    double eps;
} mla_norm_spec;

/* Errors: mla_params_add's. */
mla_status mla_norm_build(const mla_builder *builder, mla_norm *norm, const mla_norm_spec *spec);

/* x f32 or bf16; the result is of type `out`: the step's precision where it goes into products. */
mla_tensor *mla_norm_apply(mla_tape *tape, const mla_norm *norm, mla_tensor *x, mla_dtype out);

#endif
