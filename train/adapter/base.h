/* The model that an adapter was trained on: which it was, and whether another is the same. */
#ifndef MLA_TRAIN_ADAPTER_BASE_H
#define MLA_TRAIN_ADAPTER_BASE_H

#include "layers/decoder.h"

/* A hash over names and values of all parameters but those of adapters. Matrices count by their values rounded to bf16,
 * so that a model that is kept in bf16 has the same. */
enum { MLA_BASE_HASH = 17 };
void mla_base_hash(const mla_decoder *model, char out[MLA_BASE_HASH]);

/* What a checkpoint keeps of it: {"path": ..., "hash": ...}. free() it; NULL after an error. */
char *mla_base_text(mla_context *context, const char *path, const mla_decoder *model);

/* MLA_ERROR_ARGUMENT where the model is not the one of the text; `where` begins the message. */
mla_status mla_base_check(mla_context *context, const char *where, const char *text, const mla_decoder *model);

/* The same for configurations alone, before there are values; the message names the first key that differs. */
mla_status mla_base_check_config(mla_context *context, const char *where, const mla_model_config *wanted,
                                 const mla_model_config *config);

#endif
