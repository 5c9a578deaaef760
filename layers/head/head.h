/* What a head is: the part after a decoder's hidden states that says what the model is for, with its loss. A new one
 * is a file with its layer and a constant of this type, and a line in the table of layers/kinds.c. */
#ifndef MLA_LAYERS_HEAD_HEAD_H
#define MLA_LAYERS_HEAD_HEAD_H

#include "layers/parts/builder.h"
#include "layers/parts/pass.h"

/* What is to be learned of a batch: ids and targets are i32, the meaning of the latter is the head's. */
typedef struct {
    mla_tensor *ids;     /* (B,T) */
    mla_tensor *targets; /* (B,T); language: the next token; heads that label: a row of `labels`; -1: none */
    float scale;         /* of each target's loss: 1 / (number of targets in the whole step) */
    mla_pass pass;
    /* Of heads that label (classification.h): */
    mla_tensor *labels;        /* i32 (N) of classes, f32 (N,K) of flags and numbers */
    mla_tensor *label_weights; /* f32 (K), of classes; NULL: all count alike */
    float label_smoothing;
} mla_batch;

/* What a head labels. */
typedef enum { MLA_LABELS_NONE, MLA_LABELS_OF_DOCUMENTS, MLA_LABELS_OF_TOKENS } mla_head_labels;

struct mla_head_kind {
    const char *name; /* as model.head has it */
    size_t size;      /* of its layer, in bytes; the model owns the memory, which begins as zeros */
    mla_head_labels labels;

    /* Checks what concerns it alone; NULL: nothing. */
    mla_status (*check)(mla_context *context, const char *where, mla_model_config *config);
    /* embeddings (V,D): the model's, for heads that share them. Errors: mla_params_add's. */
    mla_status (*build)(const mla_builder *builder, void *head, mla_tensor *embeddings);
    /* hidden (B,T,D) -> logits (..., number of classes) */
    mla_tensor *(*logits)(mla_tape *tape, const void *head, mla_tensor *hidden, const mla_pass *pass);
    /* hidden (B,T,D) -> scale * sum of the targets' losses, one element */
    mla_tensor *(*loss)(mla_tape *tape, const void *head, mla_tensor *hidden, const mla_batch *batch);
};

#endif
