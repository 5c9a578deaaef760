/* RMSNorm or LayerNorm with its gain (and bias). */
#ifndef MLA_LAYERS_NORM_H
#define MLA_LAYERS_NORM_H

#include "autograd/ops.h"
#include "autograd/params.h"
#include "layers/config.h"

typedef struct {
    mla_norm_kind kind;
    float eps;
    mla_tensor *gain, *bias; /* bias: LayerNorm only */
} mla_norm;

/* Parameters prefix + name + ".weight" (ones) and, for LayerNorm, ".bias" (zeros). Errors: mla_params_add's. */
mla_status mla_norm_build(mla_context *context, mla_params *params, mla_norm *norm, mla_norm_kind kind,
                          const char *prefix, const char *name, int64_t width, double eps);

/* x f32 or bf16; the result is of type `out`: the step's precision where it goes into products. */
mla_tensor *mla_norm_apply(mla_tape *tape, const mla_norm *norm, mla_tensor *x, mla_dtype out);

#endif
