/* What the commands that use a model have in common: the checkpoint, its model, its tokenizer. */
#ifndef MLA_TRAIN_COMMANDS_LOAD_H
#define MLA_TRAIN_COMMANDS_LOAD_H

#include "data/tokenizer/tokenizer.h"
#include "data/tokens/token_file.h"
#include "train/checkpoint/checkpoint.h"
#include "train/recipe/recipe.h"

#include <limits.h>

struct mla_adapter; /* train/adapter/adapter.h */

typedef struct {
    mla_checkpoint *checkpoint;
    struct mla_adapter *head; /* the adapter that has brought a head of its own; or NULL */
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

/* What a command may be told of the precision of its products: auto is that of the model's training, and f32 for a
 * model that was imported. */
typedef enum { MLA_USE_AS_TRAINED, MLA_USE_F32, MLA_USE_BF16 } mla_use_precision;
extern const char *const mla_use_precisions[]; /* the words: "auto", "f32", "bf16", and NULL */

/* The caller calls mla_loaded_close in any case. MLA_ERROR_ARGUMENT where no checkpoint is named. */
mla_status mla_load_model(mla_context *context, mla_loaded *out, const mla_load_options *options);
void mla_loaded_close(mla_loaded *loaded);

/* What its head was trained in: the file, and what that says of it; NULL where it says nothing. That is the adapter's
 * that has brought the head, otherwise the checkpoint's. */
const char *mla_loaded_path(const mla_loaded *loaded);
const char *mla_loaded_recipe(const mla_loaded *loaded);
const char *mla_loaded_labels(const mla_loaded *loaded);
const char *mla_loaded_thresholds(const mla_loaded *loaded);

/* As train/run/machine.h chooses from. Errors: those of a recipe that cannot be read. */
mla_status mla_loaded_precision(mla_context *context, const mla_loaded *loaded, mla_use_precision wanted,
                                mla_recipe_precision *out);

/* Of a cache: auto is the precision of the products, for what they give is what is cached. */
mla_dtype mla_cache_precision(mla_use_precision wanted, mla_dtype products);

/* The folder that mla_loaded_path lies in. */
void mla_loaded_folder(const mla_loaded *loaded, char out[PATH_MAX]);
/* Where the tokens are that the run of this recipe made the checkpoint from: the file that it names, or tokens.h5
 * beside the checkpoint; "" where there is none. */
void mla_loaded_own_tokens(const mla_loaded *loaded, const mla_recipe *recipe, char out[PATH_MAX]);

/* Writes a checkpoint of `model`, which was made of what is loaded and takes along what goes with that: recipe,
 * tokenizer, labels, thresholds, and what Hugging Face's files had beside it. Errors: mla_checkpoint_save's. */
mla_status mla_loaded_save(mla_context *context, const mla_loaded *loaded, const mla_decoder *model, const char *path);
/* The same of the model itself, with these thresholds (train/scoring/thresholds.h). */
mla_status mla_loaded_save_thresholds(mla_context *context, const mla_loaded *loaded, const char *json,
                                      const char *path);

/* MLA_ERROR_ARGUMENT where there is no tokenizer, or none with a separator. */
mla_status mla_loaded_expect_tokenizer(mla_context *context, const mla_loaded *loaded);

typedef struct {
    const mla_list *paths; /* data/text/text_source.h */
    const char *field;     /* of .jsonl files */
    bool no_bos;           /* leave out what the tokenizer puts before and behind texts */
} mla_texts;

typedef struct {
    mla_id_list ids;
    int64_t *offsets; /* of its documents, which are apart; NULL: they are not */
    int64_t documents, capacity;
    mla_token_stream stream; /* of these */
    int64_t targets;         /* tokens that have one before them */
} mla_text_ids;

/* The ids of texts. Where the tokenizer puts tokens before or behind texts (mla_frame), documents are what it makes of
 * each, to be seen apart from each other: so what is before a text is its context. Otherwise each has a separator
 * before it and behind it, as in training. The caller frees *out, which begins as {0}, in any case. */
mla_status mla_loaded_encode(mla_context *context, const mla_loaded *loaded, const mla_texts *texts, mla_text_ids *out);
void mla_text_ids_free(mla_text_ids *ids);

/* Opens a token file, which must be made with the tokenizer of the model, or have no more tokens than it. The
 * caller closes *out in any case. */
mla_status mla_loaded_open_tokens(mla_context *context, const mla_loaded *loaded, const char *path,
                                  mla_token_file **out);

#endif
