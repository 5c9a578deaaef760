#include "layers/attention/latent_attention.h"
#include "layers/attention/kv_cache.h"
#include "layers/parts/rope.h"

#include <math.h>

/* The published models use this on the latents whatever rms_norm_eps says. */
static const double latent_eps = 1e-6;

/* ---- configuration ---- */

/* Ranks that are all equal are no list; of others, kv_lora_rank is the largest. */
static mla_status check_ranks(mla_context *context, const char *where, mla_model_config *c) {
    mla_ints *ranks = &c->kv_lora_ranks;
    if (!ranks->count) return MLA_OK;
    if (ranks->count != c->num_hidden_layers)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%skv_lora_ranks: %lld ranks for %lld layers; give one for each",
                        where, (long long)ranks->count, (long long)c->num_hidden_layers);
    bool equal = true;
    c->kv_lora_rank = ranks->items[0];
    for (int64_t i = 1; i < ranks->count; i++) {
        equal = equal && ranks->items[i] == ranks->items[0];
        if (ranks->items[i] > c->kv_lora_rank) c->kv_lora_rank = ranks->items[i];
    }
    if (equal) *ranks = (mla_ints){0};
    return MLA_OK;
}

static mla_status check_head_norms(mla_context *context, const char *where, mla_model_config *c) {
    if (!c->qk_norm) return MLA_OK;
    if (c->q_lora_rank)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%sqk_norm: norms of heads take the place of a query rank; set q_lora_rank to 0", where);
    if (!c->num_key_value_heads) c->num_key_value_heads = c->num_attention_heads;
    if (c->num_attention_heads % c->num_key_value_heads)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%snum_key_value_heads: %lld does not divide num_attention_heads %lld; use a divisor", where,
                        (long long)c->num_key_value_heads, (long long)c->num_attention_heads);
    return mla_model_config_head_width(context, where, "head_dim", c, &c->head_dim);
}

static mla_status latent_attention_check(mla_context *context, const char *where, mla_model_config *c) {
    mla_status status = mla_model_config_head_width(context, where, "qk_nope_head_dim", c, &c->qk_nope_head_dim);
    if (!status) status = check_ranks(context, where, c);
    if (!status) status = check_head_norms(context, where, c);
    if (status) return status;
    if (c->v_head_dim == 0) c->v_head_dim = c->qk_nope_head_dim;
    if (c->position == MLA_POSITION_ROPE)
        return mla_model_config_rotary_width(context, where, "qk_rope_head_dim", c->qk_rope_head_dim);
    if (c->qk_rope_head_dim)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%sqk_rope_head_dim: %lld, but position is %s; set one to 0 or the other to rope", where,
                        (long long)c->qk_rope_head_dim, mla_position_names[c->position]);
    return MLA_OK;
}

static int64_t rotary(const mla_model_config *c) { return c->qk_rope_head_dim; }
static int64_t head_width(const mla_model_config *c) { return c->qk_nope_head_dim; }

static mla_cache_row cache_row(const mla_model_config *c, int64_t layer) {
    return (mla_cache_row){mla_model_config_latent_rank(c, layer), c->qk_rope_head_dim};
}

/* ---- building ---- */

/* (N+R)^-1/2, times YaRN's factor. */
static float score_scale(const mla_model_config *c) {
    return (float)(mla_rope_score_factor(&c->rope_scaling) / sqrt((double)(c->qk_nope_head_dim + c->qk_rope_head_dim)));
}

static void build_norm(const mla_builder *b, mla_norm *norm, const char *name, int64_t width) {
    if (b->config->latent_norm) mla_norm_build(b, norm, &(mla_norm_spec){name, MLA_NORM_RMSNORM, width, latent_eps});
}

static void build_head_norm(const mla_builder *b, mla_norm *norm, const char *name) {
    mla_norm_build(b, norm, &(mla_norm_spec){name, MLA_NORM_RMSNORM, b->config->head_dim, b->config->rms_norm_eps});
}

/* Heads of queries, and those of keys and values, all with their norms. */
static void build_normed_heads(const mla_builder *b, mla_latent_layer *layer) {
    const mla_model_config *c = b->config;
    const int64_t d = c->hidden_size, q = c->num_attention_heads * c->head_dim;
    const int64_t kv = c->num_key_value_heads * c->head_dim;
    mla_linear_build(b, &layer->q_proj, &(mla_linear_spec){"q_proj", d, q, c->attention_bias});
    mla_linear_build(b, &layer->k_proj, &(mla_linear_spec){"k_proj", d, kv, c->attention_bias});
    mla_linear_build(b, &layer->v_proj, &(mla_linear_spec){"v_proj", d, kv, c->attention_bias});
    build_head_norm(b, &layer->q_norm, "q_norm");
    build_head_norm(b, &layer->k_norm, "k_norm");
}

static void build_queries(const mla_builder *b, mla_latent_layer *layer) {
    const mla_model_config *c = b->config;
    const int64_t d = c->hidden_size, rank = c->q_lora_rank;
    const int64_t width = c->num_attention_heads * (c->qk_nope_head_dim + c->qk_rope_head_dim);
    if (c->qk_norm) {
        mla_linear_build(b, &layer->q_b_proj,
                         &(mla_linear_spec){"q_b_proj", c->num_attention_heads * c->head_dim, width, false});
        return;
    }
    if (!rank) {
        mla_linear_build(b, &layer->q_proj, &(mla_linear_spec){"q_proj", d, width, false});
        return;
    }
    mla_linear_build(b, &layer->q_a_proj, &(mla_linear_spec){"q_a_proj", d, rank, c->attention_bias});
    build_norm(b, &layer->q_a_norm, "q_a_layernorm", rank);
    mla_linear_build(b, &layer->q_b_proj, &(mla_linear_spec){"q_b_proj", rank, width, false});
}

static mla_status latent_attention_build(const mla_builder *b, void *memory) {
    const mla_model_config *c = b->config;
    const int64_t d = c->hidden_size, rank = mla_model_config_latent_rank(c, b->layer);
    const int64_t seen = c->qk_norm ? 2 * c->num_key_value_heads * c->head_dim : d;
    const int64_t expanded = c->num_attention_heads * (c->qk_nope_head_dim + c->v_head_dim);
    const int64_t values = c->num_attention_heads * c->v_head_dim;
    mla_latent_layer *layer = memory;
    *layer = (mla_latent_layer){.config = c,
                                .index = b->layer,
                                .rank = rank,
                                .rope = c->qk_rope_head_dim ? b->rope : NULL,
                                .scale = score_scale(c)};

    if (c->qk_norm) build_normed_heads(b, layer);
    build_queries(b, layer);
    mla_linear_build(b, &layer->kv_a_proj,
                     &(mla_linear_spec){"kv_a_proj_with_mqa", seen, rank + c->qk_rope_head_dim, c->attention_bias});
    build_norm(b, &layer->kv_a_norm, "kv_a_layernorm", rank);
    mla_linear_build(b, &layer->kv_b_proj, &(mla_linear_spec){"kv_b_proj", rank, expanded, false});
    return mla_linear_build_attention_output(b, &layer->o_proj,
                                             &(mla_linear_spec){"o_proj", values, d, c->attention_bias});
}

/* ---- applying ---- */

static mla_tensor *norm_if(mla_tape *tape, const mla_norm *norm, mla_tensor *x) {
    return norm->gain ? mla_norm_apply(tape, norm, x, mla_tape_step(tape)->precision) : x;
}

/* x (B,T,D) -> (B,T, heads K), each head with its norm. */
static mla_tensor *normed_heads(mla_tape *tape, const mla_linear_layer *projection, const mla_norm *norm, mla_tensor *x,
                                int64_t head_dim) {
    mla_tensor *flat = mla_linear_apply(tape, projection, x);
    const int64_t shape[] = {flat->shape[0], flat->shape[1], flat->shape[2] / head_dim, head_dim};
    return mla_reshape(tape, norm_if(tape, norm, mla_reshape(tape, flat, 4, shape)), 3, flat->shape);
}

/* What kv_a_proj sees: x, or its keys and values with the keys' norm. */
static mla_tensor *before_latent(mla_tape *tape, const mla_latent_layer *layer, mla_tensor *x) {
    if (!layer->k_norm.gain) return x;
    mla_tensor *keys = normed_heads(tape, &layer->k_proj, &layer->k_norm, x, layer->config->head_dim);
    return mla_concat(tape, keys, mla_linear_apply(tape, &layer->v_proj, x), 2);
}

static mla_tensor *unturned_queries(mla_tape *tape, const mla_latent_layer *layer, mla_tensor *x) {
    const mla_model_config *c = layer->config;
    if (layer->q_norm.gain)
        return mla_linear_apply(tape, &layer->q_b_proj,
                                normed_heads(tape, &layer->q_proj, &layer->q_norm, x, c->head_dim));
    if (!c->q_lora_rank) return mla_linear_apply(tape, &layer->q_proj, x);
    mla_tensor *low = norm_if(tape, &layer->q_a_norm, mla_linear_apply(tape, &layer->q_a_proj, x));
    return mla_linear_apply(tape, &layer->q_b_proj, low);
}

/* (B,T,D) -> (B,T,H,N+R), turned. */
static mla_tensor *queries(mla_tape *tape, const mla_latent_layer *layer, mla_tensor *x, const mla_layer_cache *cache) {
    const mla_model_config *c = layer->config;
    const int64_t shape[] = {x->shape[0], x->shape[1], c->num_attention_heads,
                             c->qk_nope_head_dim + c->qk_rope_head_dim};
    mla_tensor *q = mla_reshape(tape, unturned_queries(tape, layer, x), 4, shape);
    return layer->rope ? mla_layer_cache_turn(tape, cache, layer->rope, q) : q;
}

/* (B,T,C+R) -> the rotary key (B,T,R), turned; NULL without. */
static mla_tensor *rotary_key(mla_tape *tape, const mla_latent_layer *layer, mla_tensor *kv_a,
                              const mla_layer_cache *cache) {
    if (!layer->rope) return NULL;
    const int64_t b = kv_a->shape[0], t = kv_a->shape[1], r = layer->config->qk_rope_head_dim;
    mla_tensor *k = mla_slice(tape, kv_a, 2, layer->rank, r);
    k = mla_layer_cache_turn(tape, cache, layer->rope, mla_reshape(tape, k, 4, (int64_t[]){b, t, 1, r}));
    return mla_reshape(tape, k, 3, (int64_t[]){b, t, r});
}

/* kv_b_proj with its adapters in it. For decoding it is made once a sequence and kept with the cache. */
static mla_tensor *expansion(mla_tape *tape, const mla_latent_layer *layer, mla_layer_cache *cache) {
    const mla_linear_layer *kv_b = &layer->kv_b_proj;
    if (!kv_b->lora || !cache) return mla_linear_weight(tape, kv_b);
    if (!cache->weight) {
        const mla_tensor *weight = mla_linear_weight(tape, kv_b);
        if (mla_error_status(mla_tape_context(tape)) ||
            mla_layer_cache_keep_weight(mla_tape_context(tape), cache, weight))
            return mla_inert(tape);
    }
    return mla_input(tape, cache->weight_type, 2, kv_b->weight->shape, cache->weight);
}

/* One new position of each sequence against its cache, which holds it already: the query goes to the latent side. */
static mla_tensor *absorbed(mla_tape *tape, const mla_latent_layer *layer, mla_tensor *q, mla_layer_cache *cache) {
    const mla_model_config *c = layer->config;
    mla_cache_view views[MLA_MOST_SEQUENCES];
    int count = 0;
    for (const mla_layer_cache *one = cache; one; one = one->next)
        views[count++] = (mla_cache_view){.keys = one->rows,
                                          .values = one->rows,
                                          .key_row = one->width,
                                          .value_row = one->width,
                                          .length = one->length,
                                          .key_heads = 1,
                                          .value_width = layer->rank,
                                          .type = one->type};
    mla_tensor *kv_b = expansion(tape, layer, cache),
               *query = mla_absorb_query(tape, mla_convert(tape, q, MLA_F32), kv_b, c->qk_rope_head_dim);
    mla_tensor *summed = mla_cached_attention_each(tape, query, views, layer->scale);
    return mla_expand_values(tape, summed, kv_b, c->num_attention_heads, c->qk_nope_head_dim);
}

/* (B,S,R), one key for all heads -> (B,S,H,R). */
static mla_tensor *for_all_heads(mla_tape *tape, mla_tensor *k_rope, int64_t heads) {
    const int64_t shape[] = {k_rope->shape[0], k_rope->shape[1], 1, k_rope->shape[2]};
    mla_tensor *one = mla_reshape(tape, k_rope, 4, shape), *all = one;
    for (int64_t h = 1; h < heads; h++) all = mla_concat(tape, all, one, 2);
    return all;
}

typedef struct {
    mla_tensor *keys, *values; /* (B,S,H,N+R), (B,S,H,V) */
} expansions;

/* Keys and values of all positions: latent (B,S,C), k_rope (B,S,R) or NULL. */
static expansions expand(mla_tape *tape, const mla_latent_layer *layer, mla_tensor *latent, mla_tensor *k_rope) {
    const mla_model_config *c = layer->config;
    const int64_t h = c->num_attention_heads, n = c->qk_nope_head_dim, v = c->v_head_dim;
    mla_tensor *kv = mla_linear_apply(tape, &layer->kv_b_proj, latent);
    kv = mla_reshape(tape, kv, 4, (int64_t[]){latent->shape[0], latent->shape[1], h, n + v});
    expansions out = {mla_slice(tape, kv, 3, 0, n), mla_slice(tape, kv, 3, n, v)};
    if (k_rope) out.keys = mla_concat(tape, out.keys, for_all_heads(tape, k_rope, h), 3);
    return out;
}

/* By the definition: keys and values are expanded, and then attention is any attention. */
static mla_tensor *expanded(mla_tape *tape, const mla_latent_layer *layer, mla_tensor *q, mla_tensor *latent,
                            mla_tensor *k_rope, const mla_attention_options *options) {
    const expansions e = expand(tape, layer, latent, k_rope);
    return mla_attention(tape, q, e.keys, e.values, options);
}

static mla_tensor *expand_cache(mla_tape *tape, const mla_latent_layer *layer, mla_tensor *q,
                                const mla_layer_cache *cache) {
    const mla_model_config *c = layer->config;
    mla_tensor *rows = mla_input(tape, cache->type, 3, (int64_t[]){1, cache->length, cache->width}, cache->rows);
    rows = mla_convert(tape, rows, mla_tape_step(tape)->precision);
    mla_tensor *latent = mla_slice(tape, rows, 2, 0, layer->rank);
    mla_tensor *k_rope = layer->rope ? mla_slice(tape, rows, 2, layer->rank, c->qk_rope_head_dim) : NULL;
    return expanded(tape, layer, q, latent, k_rope, &(mla_attention_options){.scale = layer->scale});
}

/* Dropout before an adapter of kv_b_proj acts on latents, so that no weight stands for it. */
static bool drops_latents(const mla_tape *tape, const mla_latent_layer *layer) {
    for (const mla_lora_layer *l = layer->kv_b_proj.lora; l && mla_tape_step(tape)->training; l = l->next)
        if (l->dropout > 0) return true;
    return false;
}

static mla_tensor *merged_graph(mla_tape *tape, const void *layer, mla_tensor *x) {
    return (void)x, mla_linear_weight(tape, layer);
}

/* One adapter of the simple kind on a frozen weight: its gradients need not go through that of the whole weight. */
static bool is_simple(const mla_linear_layer *kv_b) {
    return kv_b->lora && !kv_b->lora->next && !kv_b->lora->magnitude && !kv_b->weight->needs_grad;
}

static mla_tensor *attend_adapted(mla_tape *tape, const mla_latent_layer *layer, mla_tensor *q, mla_tensor *latent,
                                  mla_tensor *k_rope, mla_attention_options options) {
    const mla_lora_layer *l = layer->kv_b_proj.lora;
    mla_tensor *kv_b = mla_detached(tape, merged_graph, &layer->kv_b_proj, NULL);
    options.kv_b_a = l->a;
    options.kv_b_b = l->b;
    options.kv_b_scale = l->share * l->scale;
    return mla_latent_attention(tape, q, latent, k_rope, kv_b, layer->config->num_attention_heads, &options);
}

static mla_tensor *attend(mla_tape *tape, const mla_latent_layer *layer, mla_tensor *q, mla_tensor *latent,
                          mla_tensor *k_rope, const mla_pass *pass, mla_layer_cache *cache) {
    const mla_model_config *c = layer->config;
    const bool first = !cache || cache->length == latent->shape[1];
    const mla_attention_options options = {
        .mask.causal = c->causal, .scale = layer->scale, .mask.starts = pass->starts};
    if (!first) return cache->expanded ? expand_cache(tape, layer, q, cache) : absorbed(tape, layer, q, cache);
    if (drops_latents(tape, layer)) return expanded(tape, layer, q, latent, k_rope, &options);
    if (is_simple(&layer->kv_b_proj) && !cache) return attend_adapted(tape, layer, q, latent, k_rope, options);
    return mla_latent_attention(tape, q, latent, k_rope, expansion(tape, layer, cache), c->num_attention_heads,
                                &options);
}

mla_tensor *mla_latent_layer_apply(mla_tape *tape, const mla_latent_layer *layer, mla_tensor *x, const mla_pass *pass,
                                   mla_layer_cache *cache) {
    const int64_t scope = mla_scope_open(tape);
    mla_tensor *q = queries(tape, layer, x, cache);
    mla_tensor *kv_a = mla_linear_apply(tape, &layer->kv_a_proj, before_latent(tape, layer, x));
    mla_tensor *h = layer->rope ? mla_slice(tape, kv_a, 2, 0, layer->rank) : kv_a;
    mla_tensor *latent = norm_if(tape, &layer->kv_a_norm, h);
    if (layer->probe) latent = layer->probe->see(layer->probe->user, tape, layer, x, h, latent);
    mla_tensor *k_rope = rotary_key(tape, layer, kv_a, cache);
    if (cache && !mla_error_status(mla_tape_context(tape)))
        mla_layer_cache_append(mla_tape_context(tape), cache, latent, k_rope);
    mla_tensor *o = attend(tape, layer, q, latent, k_rope, pass, cache);
    return mla_scope_close(tape, scope, mla_linear_apply(tape, &layer->o_proj, o));
}

static mla_tensor *latent_attention_apply(mla_tape *tape, const void *layer, mla_tensor *x, const mla_pass *pass,
                                          mla_layer_cache *cache) {
    return mla_latent_layer_apply(tape, layer, x, pass, cache);
}

static void show(mla_tape *tape, const mla_latent_layer *layer, const mla_pass *pass, mla_attention_step step,
                 const mla_tensor *first, const mla_tensor *second) {
    const float scale = step == MLA_STEP_QUERIES ? layer->scale : 0;
    mla_pass_show(tape, pass, &(mla_attention_sight){layer->index, step, first, second, scale});
}

static mla_tensor *latent_attention_in_steps(mla_tape *tape, const void *memory, mla_tensor *x, const mla_pass *pass) {
    const mla_latent_layer *layer = memory;
    const mla_attention_options options = {
        .mask.causal = layer->config->causal, .scale = layer->scale, .mask.starts = pass->starts};
    show(tape, layer, pass, MLA_STEP_INPUT, x, NULL);
    mla_tensor *q = queries(tape, layer, x, NULL);
    show(tape, layer, pass, MLA_STEP_QUERIES, q, NULL);
    mla_tensor *kv_a = mla_linear_apply(tape, &layer->kv_a_proj, before_latent(tape, layer, x));
    mla_tensor *latent = norm_if(tape, &layer->kv_a_norm,
                                 layer->rope ? mla_slice(tape, kv_a, 2, 0, layer->rank) : kv_a);
    mla_tensor *k_rope = rotary_key(tape, layer, kv_a, NULL);
    show(tape, layer, pass, MLA_STEP_LATENT, latent, k_rope);
    const expansions e = expand(tape, layer, latent, k_rope);
    show(tape, layer, pass, MLA_STEP_KEYS, e.keys, e.values);
    mla_tensor *o = mla_attention(tape, q, e.keys, e.values, &options);
    show(tape, layer, pass, MLA_STEP_ATTENTION, o, NULL);
    mla_tensor *y = mla_linear_apply(tape, &layer->o_proj, o);
    show(tape, layer, pass, MLA_STEP_OUTPUT, y, NULL);
    return y;
}

const mla_attention_kind mla_latent_kind = {.name = "latent",
                                            .size = sizeof(mla_latent_layer),
                                            .check = latent_attention_check,
                                            .rotary = rotary,
                                            .cache_row = cache_row,
                                            .head_width = head_width,
                                            .build = latent_attention_build,
                                            .apply = latent_attention_apply,
                                            .apply_in_steps = latent_attention_in_steps};
