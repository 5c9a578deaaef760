/* Small models for the tests of layers. All widths differ, so that a mix-up of two of them shows. */
#ifndef MLA_TESTS_SUPPORT_SMALL_MODEL_H
#define MLA_TESTS_SUPPORT_SMALL_MODEL_H

#include "layers/decoder.h"

enum { SMALL_VOCABULARY = 23, SMALL_WIDTH = 16, SMALL_LENGTH = 16 /* max_position_embeddings */ };

/* A checked configuration; settings are "key=value key=value", on top of: 2 layers, 4 heads, latent 7, nope 5,
 * rope 4 (0 where position is not rope), value 6, feed-forward 20. Fails the test on what does not fit. */
mla_model_config small_config(mla_context *context, const char *settings);

/* A decoder of it with room for its parameters, filled by fill_layer. Destroy it with mla_decoder_destroy. */
mla_decoder *small_decoder(mla_context *context, const char *settings);

/* scale * sum of the cross-entropies of the targets; pass: NULL for an ordinary one. */
mla_tensor *language_loss(mla_tape *tape, const mla_decoder *model, mla_tensor *ids, mla_tensor *targets, float scale,
                          const mla_pass *pass);

/* Fills with ids below SMALL_VOCABULARY, the same for the same count. */
void fill_ids(int64_t count, int32_t *ids);

#endif
