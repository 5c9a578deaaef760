#include "autograd/params.h"
#include "autograd/base/random.h"
#include "autograd/kernels/rows.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 16 }; /* floats: 64 bytes */

struct mla_params {
    mla_context *context;
    mla_param **items;
    int64_t count, capacity;
    int64_t values_length, gradients_length, bf16_length;
    float *values, *gradients;
    void *bf16;                     /* copies */
    uint64_t version, bf16_version; /* now, and when the copies were made */
    uint64_t frozen_version;        /* when frozen values last changed */
};

mla_status mla_params_create(mla_context *context, mla_params **out) {
    *out = mla_alloc(context, 1, sizeof **out, "the parameter registry");
    if (!*out) return MLA_ERROR_MEMORY;
    (*out)->context = context;
    return MLA_OK;
}

void mla_params_destroy(mla_params *params) {
    if (!params) return;
    for (int64_t i = 0; i < params->count; i++) {
        mla_packed_free(params->items[i]->packed);
        free((char *)(uintptr_t)params->items[i]->spec.name);
        free(params->items[i]);
    }
    free(params->items);
    free(params->values);
    free(params->gradients);
    free(params->bf16);
    free(params);
}

static mla_param *make_param(mla_params *params, const mla_param_spec *spec) {
    mla_param *param = mla_alloc(params->context, 1, sizeof *param, spec->name);
    if (!param) return NULL;
    param->spec = *spec;
    param->spec.name = strdup(spec->name);
    param->count = mla_shape_count(spec->ndim, spec->shape);
    param->tensor = (mla_tensor){.dtype = MLA_F32,
                                 .ndim = spec->ndim,
                                 .name = param->spec.name,
                                 .is_parameter = true,
                                 .needs_grad = !spec->frozen};
    memcpy(param->tensor.shape, spec->shape, sizeof spec->shape);
    if (spec->ndim == 2) param->tensor.packed = param->packed;
    if (!param->spec.name) {
        mla_fail(params->context, MLA_ERROR_MEMORY, "no memory for the name of parameter %s", spec->name);
        free(param);
        return NULL;
    }
    return param;
}

static bool may_be(mla_params *params, const char *done) {
    if (!params->values) return true;
    mla_fail(params->context, MLA_ERROR_ARGUMENT,
             "parameters must be %s before mla_params_allocate, which gives them their places", done);
    return false;
}

mla_tensor *mla_params_add(mla_params *params, const mla_param_spec *spec) {
    if (mla_params_find(params, spec->name)) {
        mla_fail(params->context, MLA_ERROR_ARGUMENT, "parameter %s already exists", spec->name);
        return NULL;
    }
    if (mla_shape_count(spec->ndim, spec->shape) < 0) {
        mla_fail(params->context, MLA_ERROR_SHAPE, "parameter %s: every dimension must be at least 1", spec->name);
        return NULL;
    }
    if (!may_be(params, "added")) return NULL;
    if (mla_grow(params->context, &params->items, &params->capacity, params->count + 1, sizeof *params->items,
                 "the parameter registry"))
        return NULL;
    mla_param *param = make_param(params, spec);
    if (!param) return NULL;
    params->items[params->count++] = param;
    return &param->tensor;
}

void mla_params_freeze(mla_params *params) {
    if (!may_be(params, "frozen")) return;
    for (int64_t i = 0; i < params->count; i++) {
        params->items[i]->spec.frozen = true;
        params->items[i]->tensor.needs_grad = false;
    }
}

void mla_params_keep_bf16(mla_params *params) {
    if (!may_be(params, "kept in bf16")) return;
    for (int64_t i = 0; i < params->count; i++)
        if (params->items[i]->spec.frozen && params->items[i]->spec.takes_bf16)
            params->items[i]->tensor.dtype = MLA_BF16;
}

static int64_t aligned(int64_t count) { return (count + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

/* Gives `count` elements the next place in a block, or -1 where it has none in it. */
static int64_t allot(bool has_one, int64_t count, int64_t *length) {
    const int64_t offset = *length;
    if (has_one) *length += aligned(count);
    return has_one ? offset : -1;
}

void mla_params_lay_out(mla_params *params) {
    params->values_length = params->gradients_length = params->bf16_length = 0;
    for (int64_t i = 0; i < params->count; i++) {
        mla_param *param = params->items[i];
        const bool is_bf16 = param->tensor.dtype == MLA_BF16;
        param->offset = allot(true, is_bf16 ? (param->count + 1) / 2 : param->count, &params->values_length);
        param->grad_offset = allot(!param->spec.frozen, param->count, &params->gradients_length);
        param->bf16_offset = allot(!is_bf16 && param->spec.ndim > 1, param->count, &params->bf16_length);
    }
}

static float *zeroed_block(mla_context *context, int64_t length, const char *what) {
    void *block = NULL;
    const size_t bytes = (size_t)(length ? length : ALIGNMENT) * sizeof(float);
    if (posix_memalign(&block, 64, bytes)) {
        mla_fail(context, MLA_ERROR_MEMORY, "no memory for %s (%zu MiB)", what, bytes >> 20);
        return NULL;
    }
    return memset(block, 0, bytes);
}

mla_status mla_params_allocate(mla_params *params, bool gradients) {
    mla_params_lay_out(params);
    params->values = zeroed_block(params->context, params->values_length, "the parameters");
    if (!params->values) return MLA_ERROR_MEMORY;
    if (gradients && !(params->gradients = zeroed_block(params->context, params->gradients_length, "the gradients")))
        return MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < params->count; i++) {
        mla_param *param = params->items[i];
        param->tensor.data = params->values + param->offset;
        param->tensor.needs_grad = gradients && !param->spec.frozen;
        if (param->tensor.needs_grad) param->tensor.grad = params->gradients + param->grad_offset;
    }
    return MLA_OK;
}

/* Initial values of elements first ... */
static void params_draw(const mla_param_spec *spec, mla_stream stream, int64_t first, int64_t count, float *value) {
    switch (spec->init) {
    case MLA_INIT_ZERO: memset(value, 0, (size_t)count * sizeof *value); break;
    case MLA_INIT_ONE:
        for (int64_t i = 0; i < count; i++) value[i] = 1;
        break;
    case MLA_INIT_NORMAL:
        mla_random_normal(stream, (uint64_t)first, count, value);
        for (int64_t i = 0; i < count; i++) value[i] *= spec->scale;
        break;
    case MLA_INIT_UNIFORM:
        mla_random_uniform(stream, (uint64_t)first, count, value);
        for (int64_t i = 0; i < count; i++) value[i] = spec->scale * (2 * value[i] - 1);
        break;
    }
}

static void initialise(const mla_param *param, uint64_t seed) {
    const mla_stream stream = mla_random_stream(seed, param->spec.name, 0, 0, 0);
    const mla_values values = {param->tensor.data, param->tensor.dtype};
    for (int64_t i = 0; i < param->count; i += MLA_PIECE) {
        float buffer[MLA_PIECE], *piece = mla_target(values, MLA_SET, i, buffer);
        params_draw(&param->spec, stream, i, mla_piece(param->count, i), piece);
        mla_store(values, MLA_SET, i, mla_piece(param->count, i), piece);
    }
}

void mla_params_initialise(mla_params *params, uint64_t seed) {
    #pragma omp parallel for num_threads(mla_context_threads(params->context)) schedule(dynamic)
    for (int64_t i = 0; i < params->count; i++) initialise(params->items[i], seed);
    mla_params_changed(params);
}

void mla_params_clear_gradients(mla_params *params) {
    for (int64_t i = 0; i < params->count; i++) params->items[i]->tensor.has_grad = false;
}

const mla_context *mla_params_context(const mla_params *params) { return params->context; }
int64_t mla_params_count(const mla_params *params) { return params->count; }
mla_param *mla_params_at(const mla_params *params, int64_t i) { return params->items[i]; }

mla_param *mla_params_find(const mla_params *params, const char *name) {
    for (int64_t i = 0; i < params->count; i++)
        if (!strcmp(params->items[i]->spec.name, name)) return params->items[i];
    return NULL;
}

float *mla_params_values(const mla_params *params) { return params->values; }
float *mla_params_gradients(const mla_params *params) { return params->gradients; }
int64_t mla_params_values_length(const mla_params *params) { return params->values_length; }
int64_t mla_params_gradients_length(const mla_params *params) { return params->gradients_length; }
int64_t mla_params_bf16_length(const mla_params *params) { return params->bf16_length; }

int64_t mla_params_elements(const mla_params *params, bool trainable_only) {
    int64_t sum = 0;
    for (int64_t i = 0; i < params->count; i++)
        if (!trainable_only || !params->items[i]->spec.frozen) sum += params->items[i]->count;
    return sum;
}

uint64_t mla_params_version(const mla_params *params) { return params->version; }
void mla_params_changed(mla_params *params) { params->frozen_version = ++params->version; }
void mla_params_stepped(mla_params *params) { params->version++; }

static mla_status make_bf16(mla_params *params) {
    const int64_t length = params->bf16_length ? params->bf16_length : ALIGNMENT;
    if (posix_memalign(&params->bf16, 64, (size_t)length * sizeof(uint16_t))) {
        params->bf16 = NULL;
        return mla_fail(params->context, MLA_ERROR_MEMORY, "no memory for the bf16 copies of the parameters (%lld MiB)",
                        (long long)(length * (int64_t)sizeof(uint16_t) >> 20));
    }
    for (int64_t i = 0; i < params->count; i++)
        if (params->items[i]->bf16_offset >= 0)
            params->items[i]->tensor.bf16 = (uint16_t *)params->bf16 + params->items[i]->bf16_offset;
    return MLA_OK;
}

mla_status mla_params_refresh_bf16(mla_params *params) {
    if (params->bf16 && params->bf16_version == params->version) return MLA_OK;
    const bool all = !params->bf16 || params->bf16_version < params->frozen_version;
    const mla_status status = params->bf16 ? MLA_OK : make_bf16(params);
    for (int64_t i = 0; i < params->count && !status; i++) {
        mla_tensor *x = &params->items[i]->tensor;
        if ((!x->bf16 && x->dtype == MLA_F32) || (!all && params->items[i]->spec.frozen)) continue;
        if (x->bf16) mla_narrow_all(params->context, params->items[i]->count, x->data, (void *)(uintptr_t)x->bf16);
        x->bf16_version++;
    }
    params->bf16_version = params->version;
    return status;
}
