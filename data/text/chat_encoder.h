/* How conversations become tokens of which only the answers are to be learned: rendered by a chat template. */
#ifndef MLA_DATA_TEXT_CHAT_ENCODER_H
#define MLA_DATA_TEXT_CHAT_ENCODER_H

#include "data/text/chat.h"
#include "data/text/chat_template.h"

typedef struct mla_chat_encoder mla_chat_encoder;

typedef struct {
    mla_chat_template template_; /* AUTO: `own`, or the one whose tokens the tokenizer has */
    const char *own;             /* the model's chat_template; NULL: it has none */
    const struct json_t *tokens; /* bos_token, eos_token, ... of its tokenizer_config.json; NULL: none */
    const char *date;            /* of strftime_now, as 2024-07-26; NULL: a template that asks is refused */
} mla_chat_options;

/* The tokenizer outlives the encoder; the options are copied. MLA_ERROR_ARGUMENT where the tokenizer has not the tokens
 * of a template that is named; MLA_ERROR_FORMAT for a template of the model's that is not known here. */
mla_status mla_chat_encoder_create(mla_context *context, mla_chat_encoder **out, const mla_tokenizer *tokenizer,
                                   const mla_chat_options *options);
void mla_chat_encoder_destroy(mla_chat_encoder *encoder);

/* "chatml", or "the model's own". */
const char *mla_chat_encoder_template(const mla_chat_encoder *encoder);

/* Appends the conversation's ids to *ids, without the separator that a token file puts behind them, and to *answers a
 * byte for each and one for that separator: 1 for the tokens of answers, with the one that ends an answer, 0 for
 * others. A token that is an answer's in part is an answer's. Text between special tokens is encoded in one piece, as
 * Hugging Face's do. What is spelled as a special token within a message is text.
 *
 * Answers are where {% generation %} says, or what the template puts for them between what it puts before an answer is
 * given and the last special token behind it (chat_answers.c).
 *
 * MLA_ERROR_ARGUMENT, beginning with `where`: the template refuses the conversation, leaves out a message, its content
 * or its calls, does not read something that the conversation has beside them, or its answers cannot be told apart. */
mla_status mla_chat_encode(mla_context *context, mla_chat_encoder *encoder, const char *where, const mla_chat *chat,
                           mla_id_list *ids, mla_bytes *answers);

/* Appends a prompt: the conversation, and what stands before an answer to it. */
mla_status mla_chat_encode_prompt(mla_context *context, mla_chat_encoder *encoder, const char *where,
                                  const mla_chat *chat, mla_id_list *ids);
/* The token that ends an answer; the separator where the template has none. */
mla_status mla_chat_ending(mla_context *context, mla_chat_encoder *encoder, int32_t *out);

/* Warns of keys of messages that are not known and that the template does not read, with how many there were. */
void mla_chat_encoder_report(mla_context *context, const mla_chat_encoder *encoder);

#endif
