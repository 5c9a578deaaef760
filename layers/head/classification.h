/* Heads that label: `sequence` a document as a whole, at its last token, as Hugging Face's
 * ...ForSequenceClassification; `token` each token, as ...ForTokenClassification. Logits (B,T,K), K = num_labels:
 *
 *     score(dropout(h)),   sequence: h the hidden states, or, with pooling: mean, their mean over the document so far
 *
 * so the logits of a document are those at its last token; where that is, is for the data to say (targets), never for
 * the id of a padding token. Targets (B,T) are rows of the batch's labels, -1 where none counts. */
#ifndef MLA_LAYERS_HEAD_CLASSIFICATION_H
#define MLA_LAYERS_HEAD_CLASSIFICATION_H

#include "layers/head/head.h"

typedef struct {
    const mla_model_config *config;
    mla_tensor *weight; /* (K,D): "score.weight" */
    mla_tensor *bias;   /* (K): "score.bias", of `token` alone */
} mla_classification_head;

extern const mla_head_kind mla_sequence_kind, mla_token_kind;

/* What labels are by config.problem_type. */
mla_labels_kind mla_classification_labels(const mla_model_config *config);

/* The loss of such logits: by problem_type cross-entropy, binary cross-entropy or squared error, as transformers has
 * them; scale * sum over the targets. */
mla_tensor *mla_classification_loss(mla_tape *tape, const mla_model_config *config, mla_tensor *logits,
                                    const mla_batch *batch);

#endif
