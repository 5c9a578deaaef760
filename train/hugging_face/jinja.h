/* The chat_template of a model, a program in Jinja, in Hugging Face's files: found, not run (data/text/chat.h). */
#ifndef MLA_TRAIN_HUGGING_FACE_JINJA_H
#define MLA_TRAIN_HUGGING_FACE_JINJA_H

#include "autograd/base/context.h"

/* From what a checkpoint keeps of those files (mla_checkpoint_hugging_face; NULL: nothing). *out is the caller's, to be
 * freed; NULL where there is none. */
mla_status mla_jinja_of_checkpoint(mla_context *context, const char *hugging_face, char **out);

/* From chat_template.jinja or tokenizer_config.json in the folder of a tokenizer.json. */
mla_status mla_jinja_beside(mla_context *context, const char *tokenizer, char **out);

#endif
