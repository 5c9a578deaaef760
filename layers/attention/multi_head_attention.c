#include "layers/attention/multi_head_attention.h"
#include "autograd/kernels/rows.h"
#include "layers/attention/kv_cache.h"

#include <math.h>

/* ---- configuration ---- */

static mla_status multi_head_attention_check(mla_context *context, const char *where, mla_model_config *c) {
    mla_status status = mla_model_config_head_width(context, where, "head_dim", c, &c->head_dim);
    if (status) return status;
    if (c->kv_lora_ranks.count)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%skv_lora_ranks: attention is multi_head and has no latent; leave "
                        "them out",
                        where);
    if (c->num_key_value_heads == 0) c->num_key_value_heads = c->num_attention_heads;
    if (c->num_attention_heads % c->num_key_value_heads)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%snum_key_value_heads: %lld does not divide num_attention_heads %lld; use a divisor", where,
                        (long long)c->num_key_value_heads, (long long)c->num_attention_heads);
    return c->position == MLA_POSITION_ROPE ? mla_model_config_rotary_width(context, where, "head_dim", c->head_dim)
                                            : MLA_OK;
}

static int64_t head_width(const mla_model_config *c) { return c->head_dim; }

static mla_cache_row cache_row(const mla_model_config *c, int64_t layer) {
    (void)layer; /* all alike */
    return (mla_cache_row){c->num_key_value_heads * c->head_dim, c->num_key_value_heads * c->head_dim};
}

/* ---- building ---- */

static mla_status multi_head_attention_build(const mla_builder *b, void *memory) {
    const mla_model_config *c = b->config;
    const int64_t q = c->num_attention_heads * c->head_dim, kv = c->num_key_value_heads * c->head_dim;
    const bool qkv_bias = c->attention_bias || c->qkv_bias;
    mla_multi_head_layer *layer = memory;
    *layer = (mla_multi_head_layer){.config = c, .index = b->layer, .rope = b->rope};

    mla_linear_build(b, &layer->q_proj, &(mla_linear_spec){"q_proj", c->hidden_size, q, qkv_bias});
    mla_linear_build(b, &layer->k_proj, &(mla_linear_spec){"k_proj", c->hidden_size, kv, qkv_bias});
    mla_linear_build(b, &layer->v_proj, &(mla_linear_spec){"v_proj", c->hidden_size, kv, qkv_bias});
    mla_linear_build_attention_output(b, &layer->o_proj,
                                      &(mla_linear_spec){"o_proj", q, c->hidden_size, c->attention_bias});
    if (!c->qk_norm) return mla_error_status(b->context);
    mla_norm_build(b, &layer->q_norm, &(mla_norm_spec){"q_norm", MLA_NORM_RMSNORM, c->head_dim, c->rms_norm_eps});
    return mla_norm_build(b, &layer->k_norm,
                          &(mla_norm_spec){"k_norm", MLA_NORM_RMSNORM, c->head_dim, c->rms_norm_eps});
}

/* ---- applying ---- */

/* x (B,T,D) -> (B,T,heads,K) */
static mla_tensor *heads_of(mla_tape *tape, const mla_multi_head_layer *layer, const mla_linear_layer *projection,
                            mla_tensor *x, int64_t heads) {
    const int64_t shape[] = {x->shape[0], x->shape[1], heads, layer->config->head_dim};
    return mla_reshape(tape, mla_linear_apply(tape, projection, x), 4, shape);
}

static mla_tensor *norm_if(mla_tape *tape, const mla_norm *norm, mla_tensor *heads) {
    return norm->gain ? mla_norm_apply(tape, norm, heads, mla_tape_step(tape)->precision) : heads;
}

static mla_tensor *rotate_if(mla_tape *tape, const mla_rope_table *rope, mla_tensor *heads,
                             const mla_layer_cache *cache) {
    return rope ? mla_layer_cache_turn(tape, cache, rope, heads) : heads;
}

static mla_tensor *attend_cache(mla_tape *tape, const mla_multi_head_layer *layer, mla_tensor *q,
                                const mla_layer_cache *cache) {
    const mla_model_config *c = layer->config;
    mla_cache_view views[MLA_MOST_SEQUENCES];
    int count = 0;
    for (; cache; cache = cache->next)
        views[count++] = (mla_cache_view){
            .keys = cache->rows,
            .values = mla_beyond((mla_values){cache->rows, cache->type}, cache->first).data,
            .key_row = cache->width,
            .value_row = cache->width,
            .length = cache->length,
            .key_heads = c->num_key_value_heads,
            .value_width = c->head_dim,
            .type = cache->type};
    return mla_cached_attention_each(tape, mla_convert(tape, q, MLA_F32), views, 1 / sqrtf((float)c->head_dim));
}

mla_tensor *mla_multi_head_layer_apply(mla_tape *tape, const mla_multi_head_layer *layer, mla_tensor *x,
                                       const mla_pass *pass, mla_layer_cache *cache) {
    const mla_model_config *c = layer->config;
    const int64_t position = cache ? cache->length : 0;
    const int64_t scope = mla_scope_open(tape);
    mla_tensor *q = heads_of(tape, layer, &layer->q_proj, x, c->num_attention_heads);
    mla_tensor *k = heads_of(tape, layer, &layer->k_proj, x, c->num_key_value_heads);
    mla_tensor *v = heads_of(tape, layer, &layer->v_proj, x, c->num_key_value_heads);
    q = norm_if(tape, &layer->q_norm, q);
    k = norm_if(tape, &layer->k_norm, k);
    if (layer->probe) layer->probe->see(layer->probe->user, tape, layer, x, q, k);
    q = rotate_if(tape, layer->rope, q, cache);
    k = rotate_if(tape, layer->rope, k, cache);
    if (cache && !mla_error_status(mla_tape_context(tape))) mla_layer_cache_append(mla_tape_context(tape), cache, k, v);
    mla_tensor *o = position > 0 ? attend_cache(tape, layer, q, cache)
                                 : mla_attention(
                                       tape, q, k, v,
                                       &(mla_attention_options){.mask.causal = c->causal, .mask.starts = pass->starts});
    return mla_scope_close(tape, scope, mla_linear_apply(tape, &layer->o_proj, o));
}

static mla_tensor *multi_head_attention_apply(mla_tape *tape, const void *layer, mla_tensor *x, const mla_pass *pass,
                                              mla_layer_cache *cache) {
    return mla_multi_head_layer_apply(tape, layer, x, pass, cache);
}

static void show(mla_tape *tape, const mla_multi_head_layer *layer, const mla_pass *pass, mla_attention_step step,
                 const mla_tensor *first, const mla_tensor *second) {
    const float scale = step == MLA_STEP_QUERIES ? 1 / sqrtf((float)layer->config->head_dim) : 0;
    mla_pass_show(tape, pass, &(mla_attention_sight){layer->index, step, first, second, scale});
}

static mla_tensor *multi_head_attention_in_steps(mla_tape *tape, const void *memory, mla_tensor *x,
                                                 const mla_pass *pass) {
    const mla_multi_head_layer *layer = memory;
    const mla_model_config *c = layer->config;
    show(tape, layer, pass, MLA_STEP_INPUT, x, NULL);
    mla_tensor *q = heads_of(tape, layer, &layer->q_proj, x, c->num_attention_heads);
    q = rotate_if(tape, layer->rope, norm_if(tape, &layer->q_norm, q), NULL);
    show(tape, layer, pass, MLA_STEP_QUERIES, q, NULL);
    mla_tensor *k = heads_of(tape, layer, &layer->k_proj, x, c->num_key_value_heads);
    mla_tensor *v = heads_of(tape, layer, &layer->v_proj, x, c->num_key_value_heads);
    k = rotate_if(tape, layer->rope, norm_if(tape, &layer->k_norm, k), NULL);
    show(tape, layer, pass, MLA_STEP_KEYS, k, v);
    mla_tensor *o = mla_attention(tape, q, k, v,
                                  &(mla_attention_options){.mask.causal = c->causal, .mask.starts = pass->starts});
    show(tape, layer, pass, MLA_STEP_ATTENTION, o, NULL);
    mla_tensor *y = mla_linear_apply(tape, &layer->o_proj, o);
    show(tape, layer, pass, MLA_STEP_OUTPUT, y, NULL);
    return y;
}

const mla_attention_kind mla_multi_head_kind = {.name = "multi_head",
                                                .size = sizeof(mla_multi_head_layer),
                                                .check = multi_head_attention_check,
                                                .rotary = head_width,
                                                .cache_row = cache_row,
                                                .head_width = head_width,
                                                .build = multi_head_attention_build,
                                                .apply = multi_head_attention_apply,
                                                .apply_in_steps = multi_head_attention_in_steps};
