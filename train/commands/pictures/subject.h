/* The model that pictures are drawn of: a checkpoint, a run folder, or a recipe, which has no weights. */
#ifndef MLA_TRAIN_COMMANDS_PICTURES_SUBJECT_H
#define MLA_TRAIN_COMMANDS_PICTURES_SUBJECT_H

#include "train/commands/load.h"
#include "train/draw/picture.h"
#include "train/recipe/recipe.h"

typedef struct {
    mla_picture_subject subject; /* points into the rest */
    mla_model_config config;
    mla_loaded loaded;
    mla_id_list ids; /* of the text */
} mla_opened_subject;

/* path: as `mla info` takes it, or the name of a recipe that comes with mla. adapters, unsealed: of a checkpoint. The
 * caller calls mla_subject_close in any case. Errors: those of recipes, of checkpoints and of what is put on them. */
mla_status mla_subject_open(mla_context *context, mla_opened_subject *out, const char *path,
                            const mla_load_options *options);
/* Reads the text that a picture is made of, where it is made of one. TEXTS: files, or one token file, or without any
 * what the model's run held out; SENTENCE: the text itself, after what the tokenizer puts before texts.
 * MLA_ERROR_ARGUMENT: no text, a text for a picture without, a model without tokenizer; errors of files. */
mla_status mla_subject_read_text(mla_opened_subject *opened, mla_picture_text kind, const mla_list *text,
                                 const char *field);
void mla_subject_close(mla_opened_subject *opened);

#endif
