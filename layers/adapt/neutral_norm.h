/* A norm between two projections that does nothing, in models whose layout has one there.
 *
 * One channel, the last, is a constant B from the first projection's bias, so large that it alone makes the rms: with
 * gains of B/sqrt(n) the n - 1 others come out as they went in, times 1 - |c|²/(2B²). The constant's own gain makes 1
 * of it, so that the second projection can add constants by its column. */
#ifndef MLA_LAYERS_ADAPT_NEUTRAL_NORM_H
#define MLA_LAYERS_ADAPT_NEUTRAL_NORM_H

#include "layers/attention/latent_attention.h"

/* Gains and the constant's bias, for a norm over the first `count` outputs of a projection; its row of weights there
 * must be zero. */
void mla_neutral_norm_fill(const mla_linear_layer *projection, const mla_norm *norm, int64_t count);

/* Whether the latent's norm is such a one: a zero row of kv_a_proj with a bias of B or about. */
bool mla_neutral_norm_of_latent(const mla_latent_layer *layer);

#endif
