#include "layers/parts/linear.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { LONGEST_NAME = 256 };

static mla_status enter(const mla_builder *b, mla_linear_layer *layer) {
    mla_projections *all = b->projections;
    if (!all) return MLA_OK;
    const mla_status status = mla_grow(b->context, &all->items, &all->capacity, all->count + 1, sizeof *all->items,
                                       "the projections");
    if (!status) all->items[all->count++] = layer;
    return status;
}

static mla_status build(const mla_builder *b, mla_linear_layer *layer, const mla_linear_spec *spec, double deviation) {
    char name[LONGEST_NAME];
    *layer = (mla_linear_layer){0};
    snprintf(name, sizeof name, "%s%s.weight", b->prefix, spec->name);
    layer->weight = mla_params_add(b->params, &(mla_param_spec){.name = name,
                                                                .ndim = 2,
                                                                .shape = {spec->out, spec->in},
                                                                .init = MLA_INIT_NORMAL,
                                                                .scale = (float)deviation,
                                                                .decay = true,
                                                                .takes_bf16 = true});
    if (!layer->weight || enter(b, layer) || !spec->bias) return mla_error_status(b->context);
    snprintf(name, sizeof name, "%s%s.bias", b->prefix, spec->name);
    layer->bias = mla_params_add(b->params, &(mla_param_spec){.name = name, .ndim = 1, .shape = {spec->out}});
    return mla_error_status(b->context);
}

mla_status mla_linear_build(const mla_builder *b, mla_linear_layer *layer, const mla_linear_spec *spec) {
    return build(b, layer, spec, b->config->initializer_range);
}

mla_status mla_linear_build_residual(const mla_builder *b, mla_linear_layer *layer, const mla_linear_spec *spec) {
    const mla_model_config *c = b->config;
    const double share = c->scaled_residual_init ? 1 / sqrt(2 * (double)c->num_hidden_layers) : 1;
    return build(b, layer, spec, c->initializer_range * share);
}

mla_status mla_linear_build_attention_output(const mla_builder *b, mla_linear_layer *layer,
                                             const mla_linear_spec *spec) {
    return b->config->zero_attention_output ? build(b, layer, spec, 0) : mla_linear_build_residual(b, layer, spec);
}

void mla_linear_remove_adapters(mla_linear_layer *layer) {
    for (mla_lora_layer *lora = layer->lora, *next; lora; lora = next) {
        next = lora->next;
        free(lora);
    }
    layer->lora = NULL;
}

static mla_tensor *norm_of(mla_tape *tape, const mla_linear_layer *layer, const mla_lora_layer *l) {
    return l->magnitude ? mla_lora_norm(tape, layer->weight, l->a, l->b, l->scale) : NULL;
}

mla_tensor *mla_linear_weight(mla_tape *tape, const mla_linear_layer *layer) {
    const mla_dtype out = mla_tape_step(tape)->precision;
    mla_tensor *sum = layer->weight;
    for (const mla_lora_layer *l = layer->lora; l; l = l->next)
        sum = mla_lora_weight(tape, sum, layer->weight, l->a, l->b, l->magnitude, norm_of(tape, layer, l),
                              &(mla_lora_weight_options){l->scale, l->share, l->next ? MLA_F32 : out});
    return sum;
}

/* DoRA scales the whole result, so that it can be applied to it only where no other adapter is. */
static bool needs_weight(const mla_lora_layer *first) {
    if (first->magnitude && first->share == 1 && !first->next) return false;
    for (const mla_lora_layer *l = first; l; l = l->next)
        if (l->magnitude) return true;
    return false;
}

static mla_tensor *apply_adapted(mla_tape *tape, const mla_linear_layer *layer, mla_tensor *x) {
    const mla_lora_layer *first = layer->lora;
    if (needs_weight(first)) return mla_linear(tape, x, mla_linear_weight(tape, layer), layer->bias);
    const int64_t scope = mla_scope_open(tape);
    mla_tensor *y = mla_linear(tape, x, layer->weight, first->magnitude ? NULL : layer->bias);
    for (const mla_lora_layer *l = first; l; l = l->next)
        y = mla_lora(tape, y, mla_dropout(tape, x, l->dropout), l->a, l->b, l->share * l->scale);
    if (first->magnitude) y = mla_dora(tape, y, first->magnitude, norm_of(tape, layer, first), layer->bias);
    return mla_scope_close(tape, scope, y);
}

mla_tensor *mla_linear_apply(mla_tape *tape, const mla_linear_layer *layer, mla_tensor *x) {
    return layer->lora ? apply_adapted(tape, layer, x) : mla_linear(tape, x, layer->weight, layer->bias);
}
