/* What a model is to continue, as ids: a text, or what stands before the answer in a conversation. */
#ifndef MLA_TRAIN_COMMANDS_INFERENCE_PROMPT_H
#define MLA_TRAIN_COMMANDS_INFERENCE_PROMPT_H

#include "data/text/chat_encoder.h"
#include "train/commands/load.h"

typedef struct {
    char *date;
    mla_chat_template chat_template;
    bool chat, no_bos, special;
} mla_prompt_options;

/* Makes prompts for a model that is loaded; begins as {context, loaded, options}, and all outlive it. */
typedef struct {
    mla_context *context;
    const mla_loaded *loaded;
    mla_prompt_options options;
    mla_chat_encoder *chat; /* NULL before it was needed, and so is the other */
    mla_encoder *encoder;
} mla_prompter;
void mla_prompter_free(mla_prompter *prompter);

/* Begins as {0}. */
typedef struct {
    mla_id_list ids;
    int32_t ending;    /* the token that ends the text */
    bool begins;       /* what comes is a text of its own: an answer, a new document */
    struct json_t *id; /* "id" of its line in JSONL; NULL: none */
} mla_prompt;
void mla_prompt_free(mla_prompt *prompt);

/* A text; NULL: the beginning of a document. With options.chat it is what a user says. `where` begins messages. */
mla_status mla_prompt_of_text(mla_prompter *prompter, const char *where, const char *text, int64_t length,
                              mla_prompt *out);
mla_status mla_prompt_of_file(mla_prompter *prompter, const char *path, mla_prompt *out);

typedef struct {
    mla_prompt *items;
    int64_t count, capacity;
} mla_prompt_list;

/* A prompt of each line of a file (-: the standard input) that is not empty. Lines of JSON, which a file that is called
 * .jsonl or begins with a whole object has, are objects with "prompt", a text, or "messages", a conversation; "id" goes
 * along. MLA_ERROR_FORMAT names the line; MLA_ERROR_ARGUMENT for a file without a line. The caller frees *out, after
 * errors too. */
mla_status mla_prompts_read(mla_prompter *prompter, const char *path, mla_prompt_list *out);
void mla_prompts_free(mla_prompt_list *prompts);

#endif
