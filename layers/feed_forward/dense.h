/* The feed-forward of a dense block.
 *
 *     gated:  y = down_proj dropout(act(gate_proj x) * up_proj x)       SwiGLU with silu (Shazeer 2020)
 *     else:   y = down_proj dropout(act(up_proj x)) */
#ifndef MLA_LAYERS_FEED_FORWARD_DENSE_H
#define MLA_LAYERS_FEED_FORWARD_DENSE_H

#include "layers/feed_forward/feed_forward.h"

/* model.feed_forward: dense */
extern const mla_feed_forward_kind mla_dense_kind;

#endif
