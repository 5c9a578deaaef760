/* What a kind of attention is, as a model knows it. A new one is a file with its layer and a constant of this type, and
 * a line in the table of layers/kinds.c. */
#ifndef MLA_LAYERS_ATTENTION_ATTENTION_H
#define MLA_LAYERS_ATTENTION_ATTENTION_H

#include "layers/parts/builder.h"
#include "layers/parts/pass.h"

typedef struct mla_layer_cache mla_layer_cache; /* layers/attention/kv_cache.h */

/* What is cached of a position: two parts, beside each other. Elements. */
typedef struct {
    int64_t first, second;
} mla_cache_row;

struct mla_attention_kind {
    const char *name; /* as model.attention has it */
    size_t size;      /* of its layer, in bytes; the block owns the memory, which begins as zeros */

    /* Replaces what is 0 for "follows from the others", and checks that the members fit together. */
    mla_status (*check)(mla_context *context, const char *where, mla_model_config *config);
    /* Elements of a head that RoPE rotates where position is rope. */
    int64_t (*rotary)(const mla_model_config *config);
    mla_cache_row (*cache_row)(const mla_model_config *config, int64_t layer);
    /* Elements of a key and of a value, for what multi-head attention of the same heads would cache. */
    int64_t (*head_width)(const mla_model_config *config);

    /* The builder's prefix is "model.layers.0.self_attn.". Errors: mla_params_add's. */
    mla_status (*build)(const mla_builder *builder, void *layer);
    /* x (B,T,D) -> (B,T,D). cache (of B sequences; NULL in training) gets the new positions; where it has some
     * already, T must be 1. */
    mla_tensor *(*apply)(mla_tape *tape, const void *layer, mla_tensor *x, const mla_pass *pass,
                         mla_layer_cache *cache);
    /* The same without cache, by the definition, for a pass with an onlooker, who sees each step. NULL: this kind
     * cannot be looked into. */
    mla_tensor *(*apply_in_steps)(mla_tape *tape, const void *layer, mla_tensor *x, const mla_pass *pass);
};

#endif
