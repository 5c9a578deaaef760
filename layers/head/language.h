/* The head of a language model: logits of the next token, by a projection of its own or the embeddings (tied). */
#ifndef MLA_LAYERS_HEAD_LANGUAGE_H
#define MLA_LAYERS_HEAD_LANGUAGE_H

#include "layers/head/head.h"

typedef struct {
    mla_tensor *weight; /* (V,D): "lm_head.weight", or the embeddings */
} mla_language_head;

extern const mla_head_kind mla_language_kind;

#endif
