#include "layers/attention/kv_cache.h"

#include <stdlib.h>
#include <string.h>

struct mla_kv_cache {
    int64_t layers;
    float *rows;
    mla_layer_cache layer[];
};

static int64_t row_width(const mla_model_config *c, int64_t layer) {
    const mla_cache_row row = c->attention->cache_row(c, layer);
    return row.first + row.second;
}

int64_t mla_kv_cache_bytes_per_token(const mla_model_config *config) {
    int64_t width = 0;
    for (int64_t i = 0; i < config->num_hidden_layers; i++) width += row_width(config, i);
    return width * (int64_t)sizeof(float);
}

int64_t mla_kv_cache_multi_head_bytes_per_token(const mla_model_config *c) {
    return c->num_hidden_layers * 2 * c->num_attention_heads * c->attention->head_width(c) * (int64_t)sizeof(float);
}

mla_status mla_kv_cache_create(mla_context *context, mla_kv_cache **out, const mla_model_config *config,
                               int64_t capacity) {
    const int64_t layers = config->num_hidden_layers;
    *out = NULL;
    if (capacity < 1)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "a cache must hold at least 1 position, not %lld",
                        (long long)capacity);
    mla_kv_cache *cache = *out = mla_alloc(context, 1, sizeof *cache + (size_t)layers * sizeof *cache->layer,
                                           "the cache");
    if (!cache) return MLA_ERROR_MEMORY;
    cache->layers = layers;
    cache->rows = mla_alloc(context, capacity, (size_t)mla_kv_cache_bytes_per_token(config), "the cache");
    if (!cache->rows) {
        mla_kv_cache_destroy(cache);
        *out = NULL;
        return MLA_ERROR_MEMORY;
    }
    float *rows = cache->rows;
    for (int64_t i = 0; i < layers; i++) {
        const int64_t width = row_width(config, i), first = config->attention->cache_row(config, i).first;
        cache->layer[i] = (mla_layer_cache){.rows = rows, .width = width, .first = first, .capacity = capacity};
        rows += capacity * width;
    }
    return MLA_OK;
}

void mla_kv_cache_destroy(mla_kv_cache *cache) {
    if (!cache) return;
    for (int64_t i = 0; i < cache->layers; i++) free(cache->layer[i].weight);
    free(cache->rows);
    free(cache);
}

mla_status mla_kv_cache_check(mla_context *context, const mla_kv_cache *cache, const mla_model_config *config) {
    if (cache->layers != config->num_hidden_layers)
        return mla_fail(
            context, MLA_ERROR_ARGUMENT,
            "the cache was made for a model with num_hidden_layers %lld, and this one has %lld: make one for it",
            (long long)cache->layers, (long long)config->num_hidden_layers);
    for (int64_t i = 0; i < cache->layers; i++) {
        const mla_cache_row row = config->attention->cache_row(config, i);
        const mla_layer_cache *layer = &cache->layer[i];
        if (layer->first != row.first || layer->width != row.first + row.second)
            return mla_fail(context, MLA_ERROR_ARGUMENT,
                            "the cache has rows of %lld + %lld floats in layer %lld, and this model's are %lld + %lld: "
                            "make a cache for this model",
                            (long long)layer->first, (long long)(layer->width - layer->first), (long long)i,
                            (long long)row.first, (long long)row.second);
    }
    return MLA_OK;
}

mla_layer_cache *mla_kv_cache_layer(mla_kv_cache *cache, int64_t layer) { return &cache->layer[layer]; }

void mla_kv_cache_expand(mla_kv_cache *cache) {
    for (int64_t i = 0; i < cache->layers; i++) cache->layer[i].expanded = true;
}

void mla_kv_cache_clear(mla_kv_cache *cache) {
    for (int64_t i = 0; i < cache->layers; i++) cache->layer[i].length = 0;
}

int64_t mla_kv_cache_length(const mla_kv_cache *cache) { return cache->layer[cache->layers - 1].length; }

static mla_status kv_cache_misfit(mla_context *context, const mla_layer_cache *cache, const mla_tensor *first,
                                  const mla_tensor *second) {
    char text[2][MLA_SHAPE_TEXT];
    return mla_fail(context, MLA_ERROR_SHAPE, "the cache takes (1,T,%lld) and (1,T,%lld) f32; got %s and %s",
                    (long long)cache->first, (long long)(cache->width - cache->first), mla_shape_text(first, text[0]),
                    second ? mla_shape_text(second, text[1]) : "none");
}

mla_status mla_layer_cache_append(mla_context *context, mla_layer_cache *cache, const mla_tensor *first,
                                  const mla_tensor *second) {
    const int64_t count = mla_count(first) / cache->first, rest = cache->width - cache->first;
    const bool is_f32 = first->dtype == MLA_F32 && (!second || second->dtype == MLA_F32);
    if (!is_f32 || first->shape[0] != 1 || mla_count(first) != count * cache->first ||
        (second ? mla_count(second) : 0) != count * rest)
        return kv_cache_misfit(context, cache, first, second);
    if (cache->length + count > cache->capacity)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "the cache holds %lld positions, and %lld are needed",
                        (long long)cache->capacity, (long long)(cache->length + count));
    for (int64_t i = 0; i < count && first->data; i++) {
        float *row = cache->rows + (cache->length + i) * cache->width;
        memcpy(row, (const float *)first->data + i * cache->first, (size_t)cache->first * sizeof *row);
        if (rest) memcpy(row + cache->first, (const float *)second->data + i * rest, (size_t)rest * sizeof *row);
    }
    cache->length += count;
    return MLA_OK;
}

mla_status mla_layer_cache_keep_weight(mla_context *context, mla_layer_cache *cache, const mla_tensor *weight) {
    cache->weight = mla_alloc(context, mla_count(weight), sizeof *cache->weight, "a weight with its adapters");
    if (!cache->weight) return MLA_ERROR_MEMORY;
    memcpy(cache->weight, weight->data, (size_t)mla_size(weight));
    return MLA_OK;
}
