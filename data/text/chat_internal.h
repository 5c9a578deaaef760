/* What the files that read conversations share. */
#ifndef MLA_DATA_TEXT_CHAT_INTERNAL_H
#define MLA_DATA_TEXT_CHAT_INTERNAL_H

#include "data/text/chat.h"

#include <jansson.h>

typedef struct {
    mla_context *context;
    const char *where;
    const json_t *line;
    const mla_chat_fields *fields; /* or NULL */
    mla_chat *chat;
    bool may_learn; /* any of its answers */
} chat_reader;

mla_status mla_chat_wrong(const chat_reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A text with more behind it, any bytes; takes the reference. NULL: no memory. */
json_t *mla_chat_longer(json_t *text, const char *bytes, size_t length);

/* Reads JSON that is a text of the line; `what` names it. */
mla_status mla_chat_read_text(const chat_reader *r, const char *what, const json_t *text, json_t **out);

/* Appends a message, whose reference is taken, in any case; its keys are read (chat_message.c). */
mla_status mla_chat_add(chat_reader *r, json_t *message, bool may_learn);
/* Reads whether the line's answers are to be learned into may_learn. */
mla_status mla_chat_read_line_weight(chat_reader *r);
/* A message of this role and content. */
mla_status mla_chat_say(chat_reader *r, const char *role, json_t *content);
/* All of a list, as they are written or as ShareGPT has them. */
mla_status mla_chat_add_all(chat_reader *r, const char *key, const json_t *messages, bool may_learn);

/* Reads the messages of the line, whatever their form (chat_format.c). */
mla_status mla_chat_read_messages(chat_reader *r);

#endif
