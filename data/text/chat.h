/* Conversations, and how they become tokens of which only the answers are to be learned.
 *
 * A line of JSON is one conversation: {"messages": [{"role": "user", "content": "..."}, ...]} with the roles system,
 * user and assistant, or {"prompt": "...", "completion": "..."}. Other keys are left alone.
 *
 * A template says what stands around the messages. It is built in: templates of models are programs (Jinja), which are
 * not run here; those that do what a built-in one does are recognised. */
#ifndef MLA_DATA_TEXT_CHAT_H
#define MLA_DATA_TEXT_CHAT_H

#include "data/tokenizer/tokenizer.h"

struct json_t; /* of jansson */

typedef enum { MLA_CHAT_SYSTEM, MLA_CHAT_USER, MLA_CHAT_ASSISTANT } mla_chat_role;

typedef struct {
    mla_chat_role role;
    const char *content; /* not terminated; may be empty */
    int64_t length;
} mla_chat_message;

typedef struct {
    mla_chat_message *messages;
    int64_t count, capacity;
    struct json_t *json; /* owns the contents */
} mla_chat;

/* Reads a conversation into `chat`, which begins as {0} and may be used again. MLA_ERROR_FORMAT names what is wrong;
 * `where` (a file and line) begins the message. */
mla_status mla_chat_parse(mla_context *context, const char *where, const char *bytes, int64_t length, mla_chat *chat);
void mla_chat_free(mla_chat *chat);

typedef enum {
    MLA_CHAT_AUTO,      /* to be recognised */
    MLA_CHAT_PLAIN,     /* "User: ...\n\nAssistant: ..." and the separator; needs no tokens of its own */
    MLA_CHAT_CHATML,    /* "<|im_start|>user\n...<|im_end|>\n" */
    MLA_CHAT_LLAMA3,    /* "<|start_header_id|>user<|end_header_id|>\n\n...<|eot_id|>"; contents trimmed */
    MLA_CHAT_DEEPSEEK2, /* as plain, with its own tokens at the beginning and behind answers */
    MLA_CHAT_DEEPSEEK3, /* "<｜User｜>...<｜Assistant｜>...<｜end▁of▁sentence｜>" */
    MLA_CHAT_LLAMA3_1,  /* as llama3, with dates in the system message (not today's), which is always there */
    MLA_CHAT_QWEN2,     /* as chatml, with a system message of its own where a conversation begins with none */
    MLA_CHAT_QWEN2_5,   /* the same, with another */
    MLA_CHAT_SMOLLM2,   /* and another */
    MLA_CHAT_QWEN3      /* as chatml; "<think>...</think>" in answers is kept behind the last question alone */
} mla_chat_template;

/* "auto", "plain", ...; NULL behind the last. */
extern const char *const mla_chat_template_names[];

/* The template that renders as `jinja`, a model's chat_template, does; with NULL, the one whose tokens the tokenizer
 * has. MLA_ERROR_ARGUMENT where the program is none of those that are known. */
mla_status mla_chat_recognise(mla_context *context, const mla_tokenizer *tokenizer, const char *jinja,
                              mla_chat_template *out);

typedef struct mla_chat_encoder mla_chat_encoder;

/* The tokenizer outlives the encoder. MLA_ERROR_ARGUMENT where it has not the tokens of the template, which is not
 * AUTO. */
mla_status mla_chat_encoder_create(mla_context *context, mla_chat_encoder **out, const mla_tokenizer *tokenizer,
                                   mla_chat_template template_);
void mla_chat_encoder_destroy(mla_chat_encoder *encoder);

/* Appends the conversation's ids to *ids, without the separator that a token file puts behind them, and to *answers a
 * byte for each and one for that separator: 1 for the tokens of answers, with the one that ends an answer, 0 for
 * others. A token that is an answer's in part is an answer's. Text between special tokens is encoded in one piece, as
 * Hugging Face's do. What is spelled as a special token within a message is text. MLA_ERROR_ARGUMENT: a system message
 * in a place that the template has none for; `where` begins the message. */
mla_status mla_chat_encode(mla_context *context, mla_chat_encoder *encoder, const char *where, const mla_chat *chat,
                           mla_id_list *ids, mla_bytes *answers);

/* Appends a prompt: the conversation, and what stands before an answer to it. */
mla_status mla_chat_encode_prompt(mla_context *context, mla_chat_encoder *encoder, const char *where,
                                  const mla_chat *chat, mla_id_list *ids);
/* The token that ends an answer. */
int32_t mla_chat_ending(const mla_chat_encoder *encoder);

#endif
