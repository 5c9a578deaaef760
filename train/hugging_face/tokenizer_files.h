/* A tokenizer as the files of a model have it: tokenizer.json, and what tokenizer_config.json says beside it. */
#ifndef MLA_TRAIN_HUGGING_FACE_TOKENIZER_FILES_H
#define MLA_TRAIN_HUGGING_FACE_TOKENIZER_FILES_H

#include "data/tokenizer/tokenizer.h"

#include <limits.h>

/* The path of a file beside a tokenizer.json, or in a folder that holds one. MLA_ERROR_ARGUMENT: it is too long. */
mla_status mla_beside_tokenizer(mla_context *context, const char *tokenizer, const char *name, char out[PATH_MAX]);

/* Reads a tokenizer.json, or that of a folder. Where a tokenizer_config.json in its folder has add_bos_token or
 * add_eos_token, and the post_processor of the tokenizer puts no token there, one that does so is written into the
 * tokenizer: its JSON is all that a checkpoint keeps. A post_processor that puts tokens is followed whatever the
 * configuration says, with a warning where that has add_bos_token false, as transformers 5 does. The caller destroys
 * *out. Errors: those of mla_tokenizer_load; MLA_ERROR_FORMAT where the token that is to be put is not one of the
 * tokenizer's. */
mla_status mla_tokenizer_load_files(mla_context *context, mla_tokenizer **out, const char *path);

#endif
