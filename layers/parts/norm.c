#include "layers/parts/norm.h"

#include <stdio.h>

enum { LONGEST_NAME = 256 };

mla_status mla_norm_build(const mla_builder *b, mla_norm *norm, const mla_norm_spec *spec) {
    char name[LONGEST_NAME];
    *norm = (mla_norm){.kind = spec->kind, .eps = (float)spec->eps};
    snprintf(name, sizeof name, "%s%s.weight", b->prefix, spec->name);
    norm->gain = mla_params_add(
        b->params, &(mla_param_spec){.name = name, .ndim = 1, .shape = {spec->width}, .init = MLA_INIT_ONE});
    if (!norm->gain || spec->kind == MLA_NORM_RMSNORM) return mla_error_status(b->context);
    snprintf(name, sizeof name, "%s%s.bias", b->prefix, spec->name);
    norm->bias = mla_params_add(b->params, &(mla_param_spec){.name = name, .ndim = 1, .shape = {spec->width}});
    return mla_error_status(b->context);
}

mla_tensor *mla_norm_apply(mla_tape *tape, const mla_norm *norm, mla_tensor *x, mla_dtype out) {
    return norm->kind == MLA_NORM_RMSNORM ? mla_rmsnorm(tape, x, norm->gain, norm->eps, out)
                                          : mla_layernorm(tape, x, norm->gain, norm->bias, norm->eps, out);
}
