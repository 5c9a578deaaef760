#include "layers/attention/kv_cache.h"
#include "autograd/kernels/rows.h"

#include <stdlib.h>
#include <string.h>

struct mla_kv_cache {
    int64_t layers;
    void *rows;
    mla_layer_cache layer[];
};

static int64_t row_width(const mla_model_config *c, int64_t layer) {
    const mla_cache_row row = c->attention->cache_row(c, layer);
    return row.first + row.second;
}

int64_t mla_kv_cache_bytes_per_token(const mla_model_config *config, mla_dtype type) {
    int64_t width = 0;
    for (int64_t i = 0; i < config->num_hidden_layers; i++) width += row_width(config, i);
    return width * (int64_t)mla_dtype_size(type);
}

int64_t mla_kv_cache_multi_head_bytes_per_token(const mla_model_config *c, mla_dtype type) {
    const int64_t width = c->num_hidden_layers * 2 * c->num_attention_heads * c->attention->head_width(c);
    return width * (int64_t)mla_dtype_size(type);
}

mla_status mla_kv_cache_create(mla_context *context, mla_kv_cache **out, const mla_model_config *config,
                               int64_t capacity, mla_dtype type) {
    const int64_t layers = config->num_hidden_layers;
    *out = NULL;
    if (capacity < 1)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "a cache must hold at least 1 position, not %lld",
                        (long long)capacity);
    mla_kv_cache *cache = *out = mla_alloc(context, 1, sizeof *cache + (size_t)layers * sizeof *cache->layer,
                                           "the cache");
    if (!cache) return MLA_ERROR_MEMORY;
    cache->layers = layers;
    cache->rows = mla_alloc(context, capacity, (size_t)mla_kv_cache_bytes_per_token(config, type), "the cache");
    if (!cache->rows) {
        mla_kv_cache_destroy(cache);
        *out = NULL;
        return MLA_ERROR_MEMORY;
    }
    mla_values rows = {cache->rows, type};
    for (int64_t i = 0; i < layers; i++) {
        const int64_t width = row_width(config, i), first = config->attention->cache_row(config, i).first;
        cache->layer[i] = (mla_layer_cache){
            .rows = rows.data, .type = type, .width = width, .first = first, .capacity = capacity};
        rows = mla_beyond(rows, capacity * width);
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
            return mla_fail(
                context, MLA_ERROR_ARGUMENT,
                "the cache has rows of %lld + %lld elements in layer %lld, and this model's are %lld + %lld: "
                "make a cache for this model",
                (long long)layer->first, (long long)(layer->width - layer->first), (long long)i, (long long)row.first,
                (long long)row.second);
    }
    return MLA_OK;
}

void mla_kv_cache_join(mla_kv_cache *const *caches, int64_t count) {
    for (int64_t b = 0; b < count; b++)
        for (int64_t i = 0; i < caches[b]->layers; i++)
            caches[b]->layer[i].next = b + 1 < count ? &caches[b + 1]->layer[i] : NULL;
}

int64_t mla_kv_cache_sequences(const mla_kv_cache *cache) {
    int64_t count = 0;
    for (const mla_layer_cache *layer = cache->layer; layer; layer = layer->next) count++;
    return count;
}

int64_t mla_layer_cache_lengths(const mla_layer_cache *cache, int64_t *lengths) {
    int64_t longest = 0;
    for (int64_t b = 0; cache; cache = cache->next, b++) {
        if (lengths) lengths[b] = cache->length;
        if (cache->length > longest) longest = cache->length;
    }
    return longest;
}

mla_tensor *mla_layer_cache_turn(mla_tape *tape, const mla_layer_cache *cache, const mla_rope_table *rope,
                                 mla_tensor *x) {
    int64_t lengths[MLA_MOST_SEQUENCES];
    if (!cache || !cache->next) return mla_rope(tape, x, rope, cache ? cache->length : 0);
    mla_layer_cache_lengths(cache, lengths);
    return mla_rope_each(tape, x, rope, lengths);
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
    return mla_fail(context, MLA_ERROR_SHAPE, "the cache takes (1,T,%lld) and (1,T,%lld) of f32 or bf16; got %s and %s",
                    (long long)cache->first, (long long)(cache->width - cache->first), mla_shape_text(first, text[0]),
                    second ? mla_shape_text(second, text[1]) : "none");
}

static mla_status check_rows(mla_context *context, const mla_layer_cache *cache, const mla_tensor *first,
                             const mla_tensor *second) {
    const int64_t rows = mla_count(first) / cache->first, rest = cache->width - cache->first;
    const bool is_real = first->dtype != MLA_I32 && (!second || second->dtype != MLA_I32);
    int64_t sequences = 0;
    for (const mla_layer_cache *c = cache; c; c = c->next) sequences++;
    if (!is_real || first->shape[0] != sequences || mla_count(first) != rows * cache->first ||
        (second ? mla_count(second) : 0) != rows * rest)
        return kv_cache_misfit(context, cache, first, second);
    for (const mla_layer_cache *c = cache; c; c = c->next)
        if (c->length + rows / sequences > c->capacity)
            return mla_fail(context, MLA_ERROR_ARGUMENT, "the cache holds %lld positions, and %lld are needed",
                            (long long)c->capacity, (long long)(c->length + rows / sequences));
    return MLA_OK;
}

/* Rows from the `from`-th on of one part, to the end of a sequence's rows, from column `column` on. */
static void append_part(const mla_context *context, const mla_layer_cache *cache, const mla_tensor *part, int64_t from,
                        int64_t count, int64_t column) {
    const int64_t width = column ? cache->width - cache->first : cache->first;
    const mla_block_move move = {.blocks = count, .length = width, .from_stride = width, .to_stride = cache->width};
    const mla_values rows = {cache->rows, cache->type}, values = {part->data, part->dtype};
    mla_move_blocks(context, MLA_SET, &move, mla_beyond(values, from * width),
                    mla_beyond(rows, cache->length * cache->width + column));
}

mla_status mla_layer_cache_append(mla_context *context, mla_layer_cache *cache, const mla_tensor *first,
                                  const mla_tensor *second) {
    const mla_status status = check_rows(context, cache, first, second);
    if (status) return status;
    const int64_t count = mla_count(first) / cache->first / first->shape[0];
    for (int64_t from = 0; cache; cache = cache->next, from += count) {
        if (first->data) append_part(context, cache, first, from, count, 0);
        if (first->data && second) append_part(context, cache, second, from, count, cache->first);
        cache->length += count;
    }
    return MLA_OK;
}

mla_status mla_layer_cache_keep_weight(mla_context *context, mla_layer_cache *cache, const mla_tensor *weight) {
    cache->weight = mla_alloc(context, mla_count(weight), mla_dtype_size(weight->dtype), "a weight with its adapters");
    if (!cache->weight) return MLA_ERROR_MEMORY;
    cache->weight_type = weight->dtype;
    memcpy(cache->weight, weight->data, (size_t)mla_size(weight));
    return MLA_OK;
}
