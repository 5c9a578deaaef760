/* Patterns that name parts of a model, as recipes have them (lora.targets, finetune.train). */
#ifndef MLA_LAYERS_ADAPT_NAMES_H
#define MLA_LAYERS_ADAPT_NAMES_H

#include "layers/decoder.h"

enum { MLA_LONGEST_PATTERN = 200 };

/* Whether a pattern names it: the whole name or what follows a dot in it ("q_proj", "self_attn.q_proj",
 * "model.layers.0.self_attn.q_proj"); *, ? and [...] stand for letters as in the names of files, dots too. One of
 * MLA_LONGEST_PATTERN bytes or more names nothing. */
bool mla_name_matches(const char *pattern, const char *name);

/* Whether a parameter of this name is of the backbone, not of the head ("score.weight", "lm_head.weight"). */
bool mla_name_is_of_backbone(const char *name);

/* Freezes all parameters but those that the patterns name, by their whole name or without its ".weight" or ".bias"; no
 * patterns: freezes none. Before mla_params_allocate. MLA_ERROR_ARGUMENT: a pattern that names no parameter, with the
 * nearest that there is; `key` begins the message. */
mla_status mla_names_train_only(mla_decoder *model, const char *key, const mla_list *patterns);

#endif
