/* The norms of a multi-head layer's queries and keys (qk_norm), folded into its projections.
 *
 * A norm gives gain * z / rms(z) for a head z of queries or keys, which no projection can: it is not linear. Where rms
 * varies little from token to token its mean does instead: with m = E[1 / rms(z)] of the head on calibration text,
 * the rows of the projection (and its bias) become gain * m times as long. What is lost by it is to be measured. */
#ifndef MLA_LAYERS_ADAPT_HEAD_NORMS_H
#define MLA_LAYERS_ADAPT_HEAD_NORMS_H

#include "layers/attention/multi_head_attention.h"

/* Sums over the calibration text; heads of queries, then those of keys. */
typedef struct {
    int64_t heads, tokens; /* H + G */
    double *inverse;       /* (H + G): of 1 / rms */
} mla_head_norms;

/* Error: MLA_ERROR_MEMORY; free it in any case. */
mla_status mla_head_norms_create(mla_context *context, mla_head_norms *out, const mla_model_config *config);
void mla_head_norms_free(mla_head_norms *norms);

/* Adds tokens by the layer's input x (B,T,D), on a tape. The errors of its operations. */
mla_status mla_head_norms_add(mla_head_norms *norms, mla_tape *tape, const mla_multi_head_layer *layer, mla_tensor *x);

/* The projections of `to`, the same layer without qk_norm, from those of `from` and what was added. */
void mla_head_norms_fold(const mla_head_norms *norms, const mla_multi_head_layer *from, const mla_multi_head_layer *to);

#endif
