#include "layers/multi_head_attention.h"

#include <math.h>

mla_status mla_multi_head_layer_build(mla_context *context, mla_params *params, mla_multi_head_layer *layer,
                                      const mla_model_config *c, const mla_rope_table *rope, const char *prefix) {
    const int64_t q = c->num_attention_heads * c->head_dim, kv = c->num_key_value_heads * c->head_dim;
    const bool qkv_bias = c->attention_bias || c->qkv_bias;
    const mla_linear_spec specs[] = {
        {prefix, "q_proj", c->hidden_size, q, qkv_bias, c->initializer_range},
        {prefix, "k_proj", c->hidden_size, kv, qkv_bias, c->initializer_range},
        {prefix, "v_proj", c->hidden_size, kv, qkv_bias, c->initializer_range},
        {prefix, "o_proj", q, c->hidden_size, c->attention_bias, c->initializer_range}};
    *layer = (mla_multi_head_layer){.config = c, .rope = c->position == MLA_POSITION_ROPE ? rope : NULL};
    mla_linear_layer *const layers[] = {&layer->q_proj, &layer->k_proj, &layer->v_proj, &layer->o_proj};
    for (int i = 0; i < 4; i++) mla_linear_build(context, params, layers[i], &specs[i]);
    if (!c->qk_norm) return mla_error_status(context);
    mla_norm_build(context, params, &layer->q_norm, MLA_NORM_RMSNORM, prefix, "q_norm", c->head_dim, c->rms_norm_eps);
    mla_norm_build(context, params, &layer->k_norm, MLA_NORM_RMSNORM, prefix, "k_norm", c->head_dim, c->rms_norm_eps);
    return mla_error_status(context);
}

/* x (B,T,D) -> (B,T,heads,K) */
static mla_tensor *heads_of(mla_tape *tape, const mla_multi_head_layer *layer, const mla_linear_layer *projection,
                            mla_tensor *x, int64_t heads) {
    const int64_t shape[] = {x->shape[0], x->shape[1], heads, layer->config->head_dim};
    return mla_reshape(tape, mla_linear_apply(tape, projection, x), 4, shape);
}

/* Queries or keys as they meet: normed where the layer has a norm for them, turned where it has RoPE. */
static mla_tensor *place(mla_tape *tape, const mla_multi_head_layer *layer, mla_tensor *heads, const mla_norm *norm,
                         int64_t position) {
    if (norm->gain) heads = mla_norm_apply(tape, norm, heads, mla_tape_step(tape)->precision);
    return layer->rope ? mla_rope(tape, heads, layer->rope, position) : heads;
}

static mla_tensor *attend_cache(mla_tape *tape, const mla_multi_head_layer *layer, mla_tensor *q,
                                const mla_layer_cache *cache) {
    const mla_model_config *c = layer->config;
    const mla_cache_view view = {.keys = cache->rows, .values = cache->rows + cache->first, .key_row = cache->width,
                                 .value_row = cache->width, .length = cache->length,
                                 .key_heads = c->num_key_value_heads, .value_width = c->head_dim};
    return mla_cached_attention(tape, q, &view, 1 / sqrtf((float)c->head_dim));
}

mla_tensor *mla_multi_head_layer_apply(mla_tape *tape, const mla_multi_head_layer *layer, mla_tensor *x,
                                       mla_layer_cache *cache) {
    const mla_model_config *c = layer->config;
    const int64_t position = cache ? cache->length : 0;
    const int64_t scope = mla_scope_open(tape);
    mla_tensor *q = heads_of(tape, layer, &layer->q_proj, x, c->num_attention_heads);
    mla_tensor *k = heads_of(tape, layer, &layer->k_proj, x, c->num_key_value_heads);
    mla_tensor *v = heads_of(tape, layer, &layer->v_proj, x, c->num_key_value_heads);
    q = place(tape, layer, q, &layer->q_norm, position);
    k = place(tape, layer, k, &layer->k_norm, position);
    if (cache && !mla_error_status(mla_tape_context(tape)))
        mla_layer_cache_append(mla_tape_context(tape), cache, k, v);
    mla_tensor *o = position > 0 ? attend_cache(tape, layer, q, cache)
                                 : mla_attention(tape, q, k, v,
                                                 &(mla_attention_options){.causal = c->causal,
                                                                          .starts = mla_tape_step(tape)->starts});
    return mla_scope_close(tape, scope, mla_linear_apply(tape, &layer->o_proj, o));
}
