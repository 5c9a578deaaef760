/* A model's chat_template and the tokens that it names, in Hugging Face's files. data/text/chat_encoder.h runs it. */
#ifndef MLA_TRAIN_HUGGING_FACE_CHAT_FILES_H
#define MLA_TRAIN_HUGGING_FACE_CHAT_FILES_H

#include "autograd/base/context.h"

struct json_t; /* of jansson */

/* Begins as {0}. */
typedef struct {
    char *chat_template;   /* a program in Jinja; NULL: there is none */
    struct json_t *tokens; /* tokenizer_config.json, with bos_token and its like; NULL: there is none */
} mla_chat_files;
void mla_chat_files_free(mla_chat_files *files);

/* From what a checkpoint keeps of those files (mla_checkpoint_hugging_face; NULL: nothing): chat_template.jinja, or
 * what tokenizer_config.json has under chat_template, a text or a list of which "default" is the one. */
mla_status mla_chat_files_of_checkpoint(mla_context *context, const char *hugging_face, mla_chat_files *out);

/* The same from beside a tokenizer.json, or from a folder that holds one. */
mla_status mla_chat_files_beside(mla_context *context, const char *tokenizer, mla_chat_files *out);

/* What a checkpoint keeps of the files beside a tokenizer.json; free() it. NULL: there are none. `chat_template`: what
 * a model is trained with instead of the template there; NULL: that one. */
mla_status mla_chat_files_keep(mla_context *context, const char *tokenizer, const char *chat_template, char **out);

/* Writes what a checkpoint keeps into a folder, so that mla_chat_files_beside finds it there. */
mla_status mla_chat_files_write(mla_context *context, const char *hugging_face, const char *folder);

#endif
