#include "optim/adamw.h"
#include "autograd/base/vecmath.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 14 };

typedef struct {
    float beta1, beta2, eps, shrink, rate, v_scale, grad_scale;
} constants;

MLA_VECTOR static void update_chunk(const constants c, int64_t count, float *restrict value, const float *restrict grad,
                                    float *restrict m, float *restrict v) {
    MLA_SIMD
    for (int64_t i = 0; i < count; i++) {
        const float g = grad[i] * c.grad_scale;
        m[i] = c.beta1 * m[i] + (1 - c.beta1) * g;
        v[i] = c.beta2 * v[i] + (1 - c.beta2) * g * g;
        value[i] = value[i] * c.shrink - c.rate * m[i] / (sqrtf(v[i]) * c.v_scale + c.eps);
    }
}

static int64_t adamw_smaller(int64_t a, int64_t b) { return a < b ? a : b; }

void mla_adamw_update(const mla_context *context, const mla_adamw_options *options, const mla_adamw_pace *pace,
                      float decay, const mla_adamw_range *r) {
    const double correction1 = 1 - pow((double)options->beta1, (double)pace->step);
    const double correction2 = 1 - pow((double)options->beta2, (double)pace->step);
    const constants c = {.beta1 = options->beta1,
                         .beta2 = options->beta2,
                         .eps = options->eps,
                         .shrink = (float)(1 - (double)pace->lr * (double)decay),
                         .rate = (float)((double)pace->lr / correction1),
                         .v_scale = (float)(1 / sqrt(correction2)),
                         .grad_scale = pace->grad_scale};
    #pragma omp parallel for num_threads(mla_context_threads(context)) schedule(static)
    for (int64_t i = 0; i < r->count; i += CHUNK)
        update_chunk(c, adamw_smaller(r->count - i, CHUNK), r->value + i, r->grad + i, r->m + i, r->v + i);
}

void mla_adamw_update_part(const mla_adamw_options *options, const mla_adamw_pace *pace, mla_params *params,
                           int64_t begin, int64_t count, const mla_adamw_state *moments) {
    for (int64_t i = 0; i < mla_params_count(params); i++) {
        const mla_param *p = mla_params_at(params, i);
        const int64_t from = p->grad_offset > begin ? p->grad_offset : begin;
        const int64_t to = adamw_smaller(p->grad_offset + p->count, begin + count), at = from - p->grad_offset;
        if (p->spec.frozen || from >= to) continue;
        const mla_adamw_range range = {to - from, (float *)p->tensor.data + at, (const float *)p->tensor.grad + at,
                                       moments->m + (from - begin), moments->v + (from - begin)};
        mla_adamw_update(mla_params_context(params), options, pace, p->spec.decay ? options->weight_decay : 0, &range);
    }
}

mla_status mla_adamw_state_allocate(mla_context *context, mla_adamw_state *state, const mla_params *params) {
    return mla_adamw_state_allocate_part(context, state, mla_params_gradients_length(params));
}

mla_status mla_adamw_state_allocate_part(mla_context *context, mla_adamw_state *state, int64_t length) {
    const size_t bytes = (size_t)(length + 16) * sizeof(float);
    *state = (mla_adamw_state){0};
    if (posix_memalign((void **)&state->m, 64, bytes)) state->m = NULL;
    if (posix_memalign((void **)&state->v, 64, bytes)) state->v = NULL;
    if (!state->m || !state->v) {
        mla_adamw_state_free(state);
        return mla_fail(context, MLA_ERROR_MEMORY, "no memory for the optimizer's moments (2 x %zu MiB)", bytes >> 20);
    }
    memset(state->m, 0, bytes);
    memset(state->v, 0, bytes);
    return MLA_OK;
}

void mla_adamw_state_free(mla_adamw_state *state) {
    free(state->m);
    free(state->v);
    *state = (mla_adamw_state){0};
}

void mla_adamw_step(mla_adamw_state *state, mla_params *params, const mla_adamw_options *options, float lr,
                    float grad_scale) {
    const mla_adamw_pace pace = {lr, grad_scale, ++state->steps};
    for (int64_t i = 0; i < mla_params_count(params); i++) {
        mla_param *p = mla_params_at(params, i);
        if (p->spec.frozen) continue;
        if (!p->tensor.has_grad) memset(p->tensor.grad, 0, (size_t)p->count * sizeof(float));
        const mla_adamw_range range = {p->count, p->tensor.data, p->tensor.grad, state->m + p->grad_offset,
                                       state->v + p->grad_offset};
        mla_adamw_update(mla_params_context(params), options, &pace, p->spec.decay ? options->weight_decay : 0, &range);
    }
    mla_params_stepped(params);
}
