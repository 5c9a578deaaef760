#include "layers/norm.h"

#include <stdio.h>

enum { LONGEST_NAME = 256 };

mla_status mla_norm_build(mla_context *context, mla_params *params, mla_norm *norm, mla_norm_kind kind,
                          const char *prefix, const char *name, int64_t width, double eps) {
    char full[LONGEST_NAME];
    *norm = (mla_norm){.kind = kind, .eps = (float)eps};
    snprintf(full, sizeof full, "%s%s.weight", prefix, name);
    norm->gain = mla_params_add(params,
                                &(mla_param_spec){.name = full, .ndim = 1, .shape = {width}, .init = MLA_INIT_ONE});
    if (!norm->gain || kind == MLA_NORM_RMSNORM) return mla_error_status(context);
    snprintf(full, sizeof full, "%s%s.bias", prefix, name);
    norm->bias = mla_params_add(params, &(mla_param_spec){.name = full, .ndim = 1, .shape = {width}});
    return mla_error_status(context);
}

mla_tensor *mla_norm_apply(mla_tape *tape, const mla_norm *norm, mla_tensor *x, mla_dtype out) {
    return norm->kind == MLA_NORM_RMSNORM ? mla_rmsnorm(tape, x, norm->gain, norm->eps, out)
                                          : mla_layernorm(tape, x, norm->gain, norm->bias, norm->eps, out);
}
