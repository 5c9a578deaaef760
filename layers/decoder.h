/* A model: a backbone (embedding, blocks, last norm), which makes hidden states of ids, and a head, which says what
 * they are for. (With causal: false and mla_decoder_hidden it serves as an encoder.) */
#ifndef MLA_LAYERS_DECODER_H
#define MLA_LAYERS_DECODER_H

#include "layers/attention/kv_cache.h"
#include "layers/block.h"
#include "layers/parts/linear.h"

typedef struct {
    mla_context *context;
    mla_model_config config;
    mla_params *params; /* named as Hugging Face's: model.embed_tokens.weight ... lm_head.weight */
    mla_rope_table rope;
    mla_projections projections;                /* of all blocks and the head; all have a weight */
    mla_tensor *embed_tokens, *embed_positions; /* positions: NULL unless learned */
    mla_block *blocks;
    mla_norm norm;
    void *head; /* layer of config.head */
} mla_decoder;

/* Builds the model of a configuration, which is checked: parameters are registered, not allocated
 * (mla_params_allocate, then mla_params_initialise or a checkpoint). The caller owns it. Errors: those of
 * mla_model_config_check, memory. */
mla_status mla_decoder_create(mla_context *context, mla_decoder **out, const mla_model_config *config);
void mla_decoder_destroy(mla_decoder *model);

/* The i-th of its projections; NULL after the last. */
mla_linear_layer *mla_decoder_projection(const mla_decoder *model, int64_t i);
/* Takes all adapters (layers/parts/linear.h) off. */
void mla_decoder_remove_adapters(mla_decoder *model);

/* ids i32 (B,T) -> (B,T,D) after the last norm; T up to max_position_embeddings. pass: NULL is its zero value. With a
 * cache, its length is the first position; then B is 1, or the sequences of a batch (mla_kv_cache_join), T is 1 but
 * for the first time, and the model is causal. */
/* With LongRoPE, a cache that holds original_max_position_embeddings positions must be cleared before the next one
 * (mla_kv_cache_clear), and the whole text read again: it is turned by other angles then. */
mla_tensor *mla_decoder_hidden(mla_tape *tape, const mla_decoder *model, mla_tensor *ids, const mla_pass *pass);

/* As above, with the head's logits; of a language model (B,T,V). */
mla_tensor *mla_decoder_logits(mla_tape *tape, const mla_decoder *model, mla_tensor *ids, const mla_pass *pass);

/* The head's loss over the batch's targets (mla_head_kind), one element. Training with more than that is
 * layers/objective.h. */
mla_tensor *mla_decoder_loss(mla_tape *tape, const mla_decoder *model, const mla_batch *batch);

#endif
