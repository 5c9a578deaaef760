/* Another attention for a configuration: the same heads, of the same width. All else stays; the configuration is to be
 * checked again. */
#ifndef MLA_LAYERS_ATTENTION_REPLACE_H
#define MLA_LAYERS_ATTENTION_REPLACE_H

#include "layers/parts/config.h"

/* Groups of heads that share keys and values, as many as divide the heads and come nearest to a quarter of them; 0:
 * none is between one and all. */
int64_t mla_usual_groups(const mla_model_config *config);

/* Multi-head attention with keys and values for each of so many groups of heads. The configuration has been checked. */
void mla_replace_by_multi_head(mla_model_config *config, int64_t groups);

/* Latent attention, unless it is there: of heads of width d, d without position and d / 2 with, and a latent so wide
 * that as much is cached as with one group, 2 d. */
void mla_replace_by_latent(mla_model_config *config);

#endif
