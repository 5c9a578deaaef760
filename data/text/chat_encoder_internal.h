/* What the files around the encoder of conversations share. */
#ifndef MLA_DATA_TEXT_CHAT_ENCODER_INTERNAL_H
#define MLA_DATA_TEXT_CHAT_ENCODER_INTERNAL_H

#include "autograd/base/tables.h"
#include "data/jinja/jinja.h"
#include "data/text/chat_encoder.h"

#include <jansson.h>

struct mla_chat_encoder {
    mla_jinja *jinja;
    const char *name; /* of the template */
    const mla_tokenizer *tokenizer;
    mla_encoder *encoder;
    json_t *tokens; /* variables of the template: bos_token, ... */
    char *date;
    mla_jinja_output whole, part; /* the conversation; a beginning of it */
    mla_bytes learned;            /* of each byte of `whole`: 1 where it is an answer's */
    mla_piece_table unread;       /* keys that the template does not read: how many messages have them */
    bool open_end;                /* the last answer has no token that ends it: the separator does */
};

/* Renders the first `count` messages of a conversation. `more`: a message behind them, or NULL. */
mla_status mla_chat_render(mla_context *context, mla_chat_encoder *e, const char *where, const mla_chat *chat,
                           int64_t count, json_t *more, bool add_generation_prompt, mla_jinja_output *out);

/* Renders what stands before an answer to the first `count` messages, into e->part. */
mla_status mla_chat_render_prompt(mla_context *context, mla_chat_encoder *e, const char *where, const mla_chat *chat,
                                  int64_t count);

/* Fills e->learned and e->open_end from e->whole (chat_answers.c). */
mla_status mla_chat_find_answers(mla_context *context, mla_chat_encoder *e, const char *where, const mla_chat *chat);

/* Whether e->whole has all that the conversation has; counts keys that are not read (chat_check.c). */
mla_status mla_chat_check(mla_context *context, mla_chat_encoder *e, const char *where, const mla_chat *chat);

/* The added token that begins at a byte of the text and is the template's alone; -1: none. */
int32_t mla_chat_token_at(const mla_chat_encoder *e, const mla_jinja_output *text, int64_t at, int64_t *length);

#endif
