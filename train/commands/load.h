/* What the commands that use a model have in common: the checkpoint, its model, its tokenizer. */
#ifndef MLA_TRAIN_COMMANDS_LOAD_H
#define MLA_TRAIN_COMMANDS_LOAD_H

#include "data/token_file.h"
#include "data/tokenizer.h"
#include "train/checkpoint.h"

typedef struct {
    mla_checkpoint *checkpoint;
    mla_decoder *model;
    mla_tokenizer *tokenizer; /* NULL where the checkpoint has none */
} mla_loaded;

enum { MLA_MOST_ADAPTERS = 16 };

/* Loads a file, or the newest good checkpoint of a run folder; `unsealed` accepts files of other programs.
 * The caller calls mla_loaded_close in any case. Each of `adapters` (NULL: none) is "PATH" or "PATH:SHARE", an adapter
 * to put on the model, of which SHARE (1) counts. MLA_ERROR_ARGUMENT where no path is given. */
mla_status mla_load_model(mla_context *context, mla_loaded *out, const char *path, bool unsealed,
                          const mla_list *adapters);
void mla_loaded_close(mla_loaded *loaded);

/* MLA_ERROR_ARGUMENT where there is no tokenizer, or none with a separator. */
mla_status mla_loaded_expect_tokenizer(mla_context *context, const mla_loaded *loaded);

/* The ids of texts (data/text_source.h; field: of .jsonl files), each document with a separator before it and
 * behind it, as in training; the caller frees out->ids in any case. */
mla_status mla_loaded_encode(mla_context *context, const mla_loaded *loaded, const mla_list *paths,
                             const char *field, mla_id_list *out, int64_t *bytes);

/* Opens a token file, which must be made with the tokenizer of the model, or have no more tokens than it. The
 * caller closes *out in any case. */
mla_status mla_loaded_open_tokens(mla_context *context, const mla_loaded *loaded, const char *path,
                                  mla_token_file **out);

#endif
