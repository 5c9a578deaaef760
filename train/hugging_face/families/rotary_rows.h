/* The order of a head's rows under RoPE. Hugging Face's multi-head attention rotates halves, row i with row i + K/2;
 * a model here may rotate neighbours, row 2i with row 2i+1 (rope_interleave), as latent attention does. Scores are sums
 * over a head and do not depend on the order: reordered in q_proj, k_proj and their norms, it is the same function. */
#ifndef MLA_TRAIN_HUGGING_FACE_FAMILIES_ROTARY_ROWS_H
#define MLA_TRAIN_HUGGING_FACE_FAMILIES_ROTARY_ROWS_H

#include "layers/parts/config.h"

/* Whether a model has neighbours where Hugging Face's files have halves. */
bool mla_rotary_order_differs(const mla_model_config *config);
/* Whether that holds for the rows of this parameter, or of an adapter's tensor for this projection's output. */
bool mla_rotary_rows_differ(const mla_model_config *config, const char *name);

/* Reorders the rows, of `width` numbers each, of heads of `head` rows: from neighbours to halves, or back. Rows behind
 * the last whole head stay. Only error: MLA_ERROR_MEMORY. */
typedef enum { MLA_TO_HALVES, MLA_TO_NEIGHBOURS } mla_rotary_direction;
mla_status mla_rotary_rows_reorder(mla_context *context, int64_t head, int64_t rows, int64_t width,
                                   mla_rotary_direction direction, float *values);

#endif
