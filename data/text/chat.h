/* Conversations, as they are written out there, brought into one form: a list of messages.
 *
 * A line of JSON is one conversation, recognised by its keys:
 *
 *     messages                         [{"role": "user", "content": "..."}, ...]
 *     conversations                    the same, or ShareGPT's [{"from": "human", "value": "..."}, ...]
 *     prompt, completion               texts, or lists of messages; answers within the prompt are not learned
 *     instruction, input, output       Alpaca's; the user's message is its published prompt
 *     those that mla_chat_fields name
 *
 * Beside them: system (a text), tools, documents, chat_template_kwargs. Other keys are taken for notes about the line.
 *
 * A message's content is a text or a list of parts of type text. An answer is not learned where its message says
 * "weight": 0, "train": false, "loss": false or "masked": true, and none is where the line does. Keys of messages that
 * are not known go to the template.
 */
#ifndef MLA_DATA_TEXT_CHAT_H
#define MLA_DATA_TEXT_CHAT_H

#include "autograd/base/context.h"

struct json_t; /* of jansson */

/* Keys of a line that are read as prompt, completion and system; NULL: none is named. */
typedef struct {
    const char *prompt, *completion, *system;
} mla_chat_fields;

/* Begins as {0} and may be used again. */
typedef struct {
    struct json_t *messages;  /* a list of objects, each with a role that is known */
    struct json_t *variables; /* an object: tools, documents, and what chat_template_kwargs holds */
    bool *learned;            /* of each message: an answer, and to be learned */
    int64_t count, capacity;  /* of messages */
} mla_chat;

/* Reads a conversation. MLA_ERROR_FORMAT names what is wrong; `where` (a file and line) begins the message. `fields`
 * may be NULL. */
mla_status mla_chat_parse(mla_context *context, const char *where, const char *bytes, int64_t length,
                          const mla_chat_fields *fields, mla_chat *chat);

/* One message of a user, of any bytes. */
mla_status mla_chat_ask(mla_context *context, const char *bytes, int64_t length, mla_chat *chat);
void mla_chat_free(mla_chat *chat);

/* The content of message i, not terminated; NULL where it has none. */
const char *mla_chat_content(const mla_chat *chat, int64_t i, int64_t *length);

/* Reads "prompt=question" and its like, as data.fields has them; the texts stay the caller's, which are cut. */
mla_status mla_chat_fields_read(mla_context *context, char *const *items, int64_t count, mla_chat_fields *out);

#endif
