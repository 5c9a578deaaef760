/* Chat templates by name, as short texts of Jinja, and which one a tokenizer goes with. */
#ifndef MLA_DATA_TEXT_CHAT_TEMPLATE_H
#define MLA_DATA_TEXT_CHAT_TEMPLATE_H

#include "data/tokenizer/tokenizer.h"

typedef enum {
    MLA_CHAT_AUTO,      /* the model's own, or the one whose tokens the tokenizer has */
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

/* The template's text, of a name other than AUTO. */
const char *mla_chat_template_text(mla_chat_template template_);

/* The one whose tokens the tokenizer has: at least PLAIN. */
mla_chat_template mla_chat_template_of(const mla_tokenizer *tokenizer);

/* A token that the template needs and the tokenizer has not; NULL: it has them all. */
const char *mla_chat_template_missing(const mla_tokenizer *tokenizer, mla_chat_template template_);

#endif
