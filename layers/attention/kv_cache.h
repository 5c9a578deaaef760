/* What a decoder remembers of the positions it has seen, a row per position and layer (mla_cache_row): for latent
 * attention the latent and the rotary key, C + R elements; for multi-head attention keys and values, G (K + V). They
 * are f32, or bf16 in half of the memory: then each is rounded once, when it is appended, and whatever is computed from
 * it is computed in the precision that it would be. */
#ifndef MLA_LAYERS_ATTENTION_KV_CACHE_H
#define MLA_LAYERS_ATTENTION_KV_CACHE_H

#include "layers/attention/attention.h"

/* One layer's share. Rows are positions. */
struct mla_layer_cache {
    void *rows;     /* (capacity, width) */
    mla_dtype type; /* f32 or bf16 */
    int64_t width;  /* C + R, or G (K + V) */
    int64_t first;  /* elements of the first part: C, or G K */
    int64_t length; /* positions filled */
    int64_t capacity;
    bool expanded;         /* see mla_kv_cache_expand */
    mla_layer_cache *next; /* of the next sequence in a batch; NULL: the last */
    void *weight;          /* latent attention: kv_b_proj with the adapters that it has; NULL before it was needed */
    mla_dtype weight_type;
};

typedef struct mla_kv_cache mla_kv_cache;

/* Sequences that are decoded at a time. */
enum { MLA_MOST_SEQUENCES = 64 };

/* For one sequence of up to `capacity` positions, of f32 or bf16; the configuration has been checked. The caller owns
 * it. Errors: a capacity below 1, memory. */
mla_status mla_kv_cache_create(mla_context *context, mla_kv_cache **out, const mla_model_config *config,
                               int64_t capacity, mla_dtype type);
void mla_kv_cache_destroy(mla_kv_cache *cache);

/* Whether the cache was made for a model of this configuration: the same layers, with rows of the same widths.
 * MLA_ERROR_ARGUMENT names the first difference. */
mla_status mla_kv_cache_check(mla_context *context, const mla_kv_cache *cache, const mla_model_config *config);

mla_layer_cache *mla_kv_cache_layer(mla_kv_cache *cache, int64_t layer);
int64_t mla_kv_cache_length(const mla_kv_cache *cache); /* positions that all layers have */

/* Caches of one configuration and type that hold a position each become a batch, for passes that are given the first:
 * row b of their ids (B,1) goes on with the b-th. Forgets the batches that they were in; a batch of one is a cache by
 * itself. At most MLA_MOST_SEQUENCES, which outlive the batch. */
void mla_kv_cache_join(mla_kv_cache *const *caches, int64_t count);
/* The sequences of the batch that begins with this one. */
int64_t mla_kv_cache_sequences(const mla_kv_cache *cache);
/* The positions filled of each of them; the longest is returned. lengths: MLA_MOST_SEQUENCES places, or NULL. */
int64_t mla_layer_cache_lengths(const mla_layer_cache *cache, int64_t *lengths);

/* Forgets all positions, and keeps the memory. */
void mla_kv_cache_clear(mla_kv_cache *cache);

/* From now on latent attention expands the keys and values of all cached latents again for each new position,
 * instead of absorbing the expansion into the query: the definition, and slow; for checks. */
void mla_kv_cache_expand(mla_kv_cache *cache);

/* x (B,T,H,W), turned by the positions that follow those in the cache; from 0 on without one. */
mla_tensor *mla_layer_cache_turn(mla_tape *tape, const mla_layer_cache *cache, const mla_rope_table *rope,
                                 mla_tensor *x);

/* Appends (1,T,first) and (1,T,width-first), f32 or bf16, to a layer's rows; second may be NULL where that part is
 * empty. For a batch (B,1,...), a row to each sequence's.
 * Errors: MLA_ERROR_ARGUMENT where the capacity does not suffice, MLA_ERROR_SHAPE; then nothing was appended. */
mla_status mla_layer_cache_append(mla_context *context, mla_layer_cache *cache, const mla_tensor *first,
                                  const mla_tensor *second);

/* Keeps a copy of a tensor as the layer's `weight`, as long as the cache lives: adapters that change, and steps of
 * another precision, want a new cache. Only error: MLA_ERROR_MEMORY. */
mla_status mla_layer_cache_keep_weight(mla_context *context, mla_layer_cache *cache, const mla_tensor *weight);

/* Bytes a position takes over all layers, in f32 or bf16. */
int64_t mla_kv_cache_bytes_per_token(const mla_model_config *config, mla_dtype type);
/* The same if every head cached keys and values of its own, of the head's width (N for latent attention). */
int64_t mla_kv_cache_multi_head_bytes_per_token(const mla_model_config *config, mla_dtype type);

#endif
