/* What a kind of feed-forward is, as a model knows it. A new one is a file with its layer and a constant of this type,
 * and a line in the table of layers/kinds.c. */
#ifndef MLA_LAYERS_FEED_FORWARD_FEED_FORWARD_H
#define MLA_LAYERS_FEED_FORWARD_FEED_FORWARD_H

#include "layers/parts/builder.h"
#include "layers/parts/pass.h"

struct mla_feed_forward_kind {
    const char *name; /* as model.feed_forward has it */
    size_t size;      /* of its layer, in bytes; the block owns the memory, which begins as zeros */

    /* Checks what concerns it alone; NULL: nothing. */
    mla_status (*check)(mla_context *context, const char *where, mla_model_config *config);
    /* The builder's prefix is "model.layers.0.mlp."; its layer tells which one it is. Errors: mla_params_add's. */
    mla_status (*build)(const mla_builder *builder, void *layer);
    /* x (B,T,D) -> (B,T,D). A loss of its own: mla_pass_add_loss; what is worth knowing: mla_pass_note. */
    mla_tensor *(*apply)(mla_tape *tape, const void *layer, mla_tensor *x, const mla_pass *pass);
};

#endif
