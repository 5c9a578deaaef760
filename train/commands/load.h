/* What the commands that use a model have in common: the checkpoint, its model, its tokenizer. */
#ifndef MLA_TRAIN_COMMANDS_LOAD_H
#define MLA_TRAIN_COMMANDS_LOAD_H

#include "data/tokenizer/tokenizer.h"
#include "data/tokens/token_file.h"
#include "train/checkpoint/checkpoint.h"

typedef struct {
    mla_checkpoint *checkpoint;
    mla_decoder *model;
    mla_tokenizer *tokenizer; /* NULL where the checkpoint has none */
} mla_loaded;

enum { MLA_MOST_ADAPTERS = 16 };

typedef struct {
    char *checkpoint; /* a file, or a run folder: the newest good one in it */
    mla_list adapter; /* to put on the model: each "PATH", or "PATH:SHARE" where a share of it counts */
    bool unsealed;    /* accept files of other programs */
} mla_load_options;

/* Their fields, for the table of a command whose options have them `at` this offset. */
#define MLA_LOAD_FIELDS(at)                                                                           \
    {"checkpoint", MLA_FIELD_STRING, (at) + offsetof(mla_load_options, checkpoint),                   \
     .help = "a checkpoint, or a run folder: its newest good one; needed"},                           \
        {"adapter", MLA_FIELD_LIST, (at) + offsetof(mla_load_options, adapter),                       \
         .help = "an adapter to put on the model, or PATH:SHARE for a share of it; may be repeated"}, \
    {                                                                                                 \
        "unsealed", MLA_FIELD_BOOL, (at) + offsetof(mla_load_options, unsealed),                      \
            .help = "accept a checkpoint that another program wrote, without a seal"                  \
    }

/* The caller calls mla_loaded_close in any case. MLA_ERROR_ARGUMENT where no checkpoint is named. */
mla_status mla_load_model(mla_context *context, mla_loaded *out, const mla_load_options *options);
void mla_loaded_close(mla_loaded *loaded);

/* MLA_ERROR_ARGUMENT where there is no tokenizer, or none with a separator. */
mla_status mla_loaded_expect_tokenizer(mla_context *context, const mla_loaded *loaded);

/* The ids of texts (data/text/text_source.h; field: of .jsonl files), each document with a separator before it and
 * behind it, as in training; the caller frees out->ids in any case. */
mla_status mla_loaded_encode(mla_context *context, const mla_loaded *loaded, const mla_list *paths, const char *field,
                             mla_id_list *out, int64_t *bytes);

/* Opens a token file, which must be made with the tokenizer of the model, or have no more tokens than it. The
 * caller closes *out in any case. */
mla_status mla_loaded_open_tokens(mla_context *context, const mla_loaded *loaded, const char *path,
                                  mla_token_file **out);

#endif
