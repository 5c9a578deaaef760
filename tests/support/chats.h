/* Conversations as tests look at them. */
#ifndef MLA_TESTS_SUPPORT_CHATS_H
#define MLA_TESTS_SUPPORT_CHATS_H

#include "data/text/chat_template.h"

/* The byte tokenizer with more tokens, which get the ids from 257 on; NULL behind the last. The caller's. */
mla_tokenizer *chat_tokenizer(mla_context *context, const char *const *tokens);

/* What a line becomes: tokens as they are spelled, answers in [brackets], with the separator's mark behind them as "|"
 * or
 * "[|]". `own`: the model's chat_template, or NULL. free() it. */
char *chat_text(mla_context *context, const mla_tokenizer *tokenizer, mla_chat_template template_, const char *own,
                const char *line);
/* Fails the test unless that is `expected`. */
void check_render(mla_context *context, const mla_tokenizer *tokenizer, mla_chat_template template_, const char *line,
                  const char *expected);

/* A conversation of two turns after a system message, and the tokens of ChatML. */
extern const char chat_two_turns[];
extern const char *const chatml_tokens[];

#endif
