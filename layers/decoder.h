/* A language model: embedding, blocks, output projection. (With causal: false and mla_decoder_hidden it serves
 * as an encoder.) */
#ifndef MLA_LAYERS_DECODER_H
#define MLA_LAYERS_DECODER_H

#include "layers/block.h"

typedef struct {
    mla_context *context;
    mla_model_config config;
    mla_params *params; /* named as Hugging Face's: model.embed_tokens.weight ... lm_head.weight */
    mla_rope_table rope;
    mla_tensor *embed_tokens, *embed_positions; /* positions: NULL unless learned */
    mla_block *blocks;
    mla_norm norm;
    mla_tensor *lm_head; /* embed_tokens where tied */
} mla_decoder;

/* Builds the model of a configuration, which is checked: parameters are registered, not allocated
 * (mla_params_allocate, then mla_params_initialise or a checkpoint). The caller owns it. Errors: those of
 * mla_model_config_check, memory. */
mla_status mla_decoder_create(mla_context *context, mla_decoder **out, const mla_model_config *config);
void mla_decoder_destroy(mla_decoder *model);

/* The i-th projection of all blocks, NULL behind the last. All have a weight; those that the configuration leaves out
 * are not counted. */
mla_linear_layer *mla_decoder_projection(const mla_decoder *model, int64_t i);
/* Takes all adapters (layers/lora) off. */
void mla_decoder_remove_adapters(mla_decoder *model);

/* ids i32 (B,T) -> (B,T,D) after the last norm; T up to max_position_embeddings. cache or NULL: its length is the
 * first position; then B is 1, T is 1 but for the first time, and the model is causal. */
mla_tensor *mla_decoder_hidden(mla_tape *tape, const mla_decoder *model, mla_tensor *ids, mla_kv_cache *cache);

/* As above -> logits (B,T,V). */
mla_tensor *mla_decoder_logits(mla_tape *tape, const mla_decoder *model, mla_tensor *ids, mla_kv_cache *cache);

/* scale * sum of the cross-entropies of the targets (-1: none), i32 (B,T), in nats; one element. */
mla_tensor *mla_decoder_loss(mla_tape *tape, const mla_decoder *model, mla_tensor *ids, mla_tensor *targets,
                             float scale);

/* What to learn from another model of the same vocabulary, which stays as it is: as in mla_output_loss_options. */
typedef struct {
    const mla_decoder *teacher; /* allocated without gradients; NULL: none */
    float share, temperature;
    double *divergence;
} mla_distillation;
mla_tensor *mla_decoder_distil_loss(mla_tape *tape, const mla_decoder *model, mla_tensor *ids, mla_tensor *targets,
                                    float scale, const mla_distillation *distillation);

#endif
