#include "layers/adapt/head_norms.h"

#include <math.h>
#include <stdlib.h>

mla_status mla_head_norms_create(mla_context *context, mla_head_norms *out, const mla_model_config *c) {
    *out = (mla_head_norms){.heads = c->num_attention_heads + c->num_key_value_heads};
    out->inverse = mla_alloc(context, out->heads, sizeof *out->inverse, "norms of heads");
    return out->inverse ? MLA_OK : MLA_ERROR_MEMORY;
}

void mla_head_norms_free(mla_head_norms *norms) {
    free(norms->inverse);
    *norms = (mla_head_norms){0};
}

/* heads (B,T,heads K), before their norm */
static void add_inverses(const mla_tensor *heads, int64_t width, double eps, double *inverse) {
    const float *z = heads->data;
    const int64_t count = heads->shape[2] / width;
    for (int64_t i = 0; i < mla_count(heads) / width; i++, z += width) {
        double sum = 0;
        for (int64_t k = 0; k < width; k++) sum += (double)z[k] * (double)z[k];
        inverse[i % count] += 1 / sqrt(sum / (double)width + eps);
    }
}

mla_status mla_head_norms_add(mla_head_norms *norms, mla_tape *tape, const mla_multi_head_layer *layer, mla_tensor *x) {
    const mla_model_config *c = layer->config;
    const mla_tensor *q = mla_linear_apply(tape, &layer->q_proj, x), *k = mla_linear_apply(tape, &layer->k_proj, x);
    const mla_status status = mla_error_status(mla_tape_context(tape));
    if (status) return status;
    add_inverses(q, c->head_dim, (double)layer->q_norm.eps, norms->inverse);
    add_inverses(k, c->head_dim, (double)layer->k_norm.eps, norms->inverse + c->num_attention_heads);
    norms->tokens += x->shape[0] * x->shape[1];
    return MLA_OK;
}

/* Row i of a head is gain[i] mean times as long. */
static void fold_projection(const mla_linear_layer *from, const mla_norm *norm, const double *inverse, int64_t tokens,
                            const mla_linear_layer *to) {
    const int64_t in = from->weight->shape[1], width = mla_count(norm->gain);
    for (int64_t i = 0; i < from->weight->shape[0]; i++) {
        const double mean = inverse[i / width] / (double)tokens;
        const double factor = mean * (double)((const float *)norm->gain->data)[i % width];
        for (int64_t j = i * in; j < (i + 1) * in; j++)
            ((float *)to->weight->data)[j] = (float)(factor * (double)((const float *)from->weight->data)[j]);
        if (from->bias) ((float *)to->bias->data)[i] = (float)(factor * (double)((const float *)from->bias->data)[i]);
    }
}

void mla_head_norms_fold(const mla_head_norms *norms, const mla_multi_head_layer *from,
                         const mla_multi_head_layer *to) {
    fold_projection(&from->q_proj, &from->q_norm, norms->inverse, norms->tokens, &to->q_proj);
    fold_projection(&from->k_proj, &from->k_norm, norms->inverse + from->config->num_attention_heads, norms->tokens,
                    &to->k_proj);
}
