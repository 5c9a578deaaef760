/* Tables of rotary position embeddings (Su et al. 2021), with the longer contexts of YaRN (Peng et al. 2023),
 * Llama 3, one factor, and LongRoPE (Ding et al. 2024). */
#ifndef MLA_LAYERS_PARTS_ROPE_H
#define MLA_LAYERS_PARTS_ROPE_H

#include "autograd/base/context.h"
#include "autograd/ops.h"
#include "layers/parts/config.h"

typedef struct {
    int64_t rotary;    /* width R, even */
    int64_t positions; /* length of the table */
    double theta;
    bool interleaved;
    mla_rope_scaling scaling;
} mla_rope_options;

/* m(s, k) = 0.1 k ln s + 1 for s > 1, else 1. */
double mla_yarn_mscale(double factor, double k);

/* What YaRN multiplies the scale of the scores by: m(s, mscale_all_dim)² where that is given, else 1, as for all other
 * scalings. */
double mla_rope_score_factor(const mla_rope_scaling *scaling);

/* Radians per position of rotary pair i (with LongRoPE, of texts up to the original length), and what cosines and sines
 * are multiplied by. */
double mla_rope_frequency(const mla_rope_options *options, int64_t i);
double mla_rope_amplitude(const mla_rope_scaling *scaling);

/* Fills the table; the caller frees it with mla_rope_free. With YaRN, cosines and sines are multiplied by
 * attention_factor where it is given, otherwise by m(s, mscale) / m(s, mscale_all_dim) where both are given,
 * otherwise by m(s, 1). With LongRoPE, texts of up to original_max_position_embeddings are turned by theta^(-2i/R) /
 * short_factor_i and longer ones, in all their positions, by theta^(-2i/R) / long_factor_i; both are multiplied by
 * attention_factor, without it by sqrt(1 + ln factor / ln original) for a factor above 1.
 * Only error: MLA_ERROR_MEMORY; mla_rope_free in any case. */
mla_status mla_rope_create(mla_context *context, mla_rope_table *out, const mla_rope_options *options);
void mla_rope_free(mla_rope_table *table);

#endif
