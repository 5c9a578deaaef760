/* Tables of rotary position embeddings (Su et al. 2021), with YaRN's longer contexts (Peng et al. 2023). */
#ifndef MLA_LAYERS_ROPE_H
#define MLA_LAYERS_ROPE_H

#include "autograd/context.h"
#include "autograd/ops.h"

typedef struct {
    int64_t rotary;    /* width R, even */
    int64_t positions; /* length of the table */
    double theta;
    bool interleaved;
    /* YaRN; factor 0 or 1: none. Names and meaning as in Hugging Face's rope_scaling. */
    double factor, beta_fast, beta_slow, mscale, mscale_all_dim;
    int64_t original_positions;
} mla_rope_options;

/* m(s, k) = 0.1 k ln s + 1 for s > 1, else 1. */
double mla_yarn_mscale(double factor, double k);

/* Fills the table; the caller frees it with mla_rope_free. Cosines and sines are multiplied by
 * m(s, mscale) / m(s, mscale_all_dim) (m(s, 1) where neither is given). Only error: MLA_ERROR_MEMORY. */
mla_status mla_rope_create(mla_context *context, mla_rope_table *out, const mla_rope_options *options);
void mla_rope_free(mla_rope_table *table);

#endif
