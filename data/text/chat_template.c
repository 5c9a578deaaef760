#include "data/text/chat_template.h"

enum { MOST_TOKENS = 4 };

const char *const mla_chat_template_names[] = {"auto",     "plain", "chatml",  "llama3",  "deepseek2", "deepseek3",
                                               "llama3.1", "qwen2", "qwen2.5", "smollm2", "qwen3",     NULL};

#define NO_SUCH_ROLE "{% else %}{{ raise_exception('it has no place for a message of role ' ~ m.role) }}{% endif %}"
#define SPOKEN(begin, answer)                                                                                        \
    begin "{% for m in messages %}{% if m.role == 'system' %}{{ m.content ~ '\n\n' }}"                               \
          "{% elif m.role == 'user' %}{{ 'User: ' ~ m.content ~ '\n\n' }}"                                           \
          "{% elif m.role == 'assistant' %}{{ 'Assistant: ' ~ m.content ~ " answer " }}" NO_SUCH_ROLE "{% endfor %}" \
          "{% if add_generation_prompt %}Assistant:{% endif %}"

#define CHATML(begin)                                                                                            \
    begin "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}{% endfor %}" \
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
#define CHATML_WITH(system)                                     \
    CHATML("{% if messages and messages[0].role != 'system' %}" \
           "{{ '<|im_start|>system\n" system "<|im_end|>\n' }}{% endif %}")

#define LLAMA3_HEADER(role) "'<|start_header_id|>' ~ " role " ~ '<|end_header_id|>\n\n'"
#define LLAMA3_MESSAGES                                                                                     \
    "{% for m in messages %}{{ " LLAMA3_HEADER("m.role") " ~ m.content|trim ~ '<|eot_id|>' }}{% endfor %}"  \
                                                         "{% if add_generation_prompt %}{{ " LLAMA3_HEADER( \
                                                             "'assistant'") " }}{% endif %}"
#define SYSTEM_ONLY_FIRST                            \
    "{% if not loop.first and m.role == 'system' %}" \
    "{{ raise_exception('a system message is not the first, where alone the template has a place for it') }}{% endif %}"

static const char llama3_1[] =
    "<|begin_of_text|>{% if messages and messages[0].role == 'system' %}{% set system = messages[0].content|trim %}"
    "{% set messages = messages[1:] %}{% endif %}{{ " LLAMA3_HEADER(
        "'system'") " ~ "
                    "'Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n' ~ system ~ '<|eot_id|>' }}"
                    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('a system message is not the first, where alone "
                    "the template has a place for it') }}{% endif %}{% endfor %}" LLAMA3_MESSAGES;

static const char deepseek3[] =
    "<｜begin▁of▁sentence｜>{% for m in messages %}" SYSTEM_ONLY_FIRST "{% if m.role == 'system' %}{{ m.content }}"
    "{% elif m.role == 'user' %}{{ '<｜User｜>' ~ m.content }}"
    "{% elif m.role == 'assistant' %}{{ '<｜Assistant｜>' ~ m.content ~ '<｜end▁of▁sentence｜>' }}" NO_SUCH_ROLE
    "{% endfor %}{% if add_generation_prompt %}<｜Assistant｜>{% endif %}";

/* Reasoning begins an answer, and is kept behind the last question (the answer of a tool being none); there the last
 * answer of all has some, be it empty. */
static const char qwen3[] =
    "{% set ns = namespace(last=messages|length - 1) %}"
    "{% for m in messages %}{% if m.role == 'user' and not "
    "(m.content.startswith('<tool_response>') and m.content.endswith('</tool_response>')) %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' }}{% set content = m.content %}"
    "{% if m.role == 'assistant' %}{% set reasoning = m.reasoning_content or '' %}"
    "{% if not reasoning and '</think>' in content %}"
    "{% set reasoning = content.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{% if loop.index0 > ns.last and (loop.last or reasoning) %}"
    "{{ '<think>\n' ~ reasoning.strip('\n') ~ '\n</think>\n\n' ~ content.lstrip('\n') }}"
    "{% else %}{{ content }}{% endif %}{% else %}{{ content }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

typedef struct {
    const char *text;
    const char *tokens[MOST_TOKENS]; /* that it spells out */
    bool named_only;                 /* a tokenizer's tokens alone do not tell of it */
} builtin;

static const builtin builtins[] = {
    [MLA_CHAT_PLAIN] = {SPOKEN("", "eos_token"), {0}, false},
    [MLA_CHAT_CHATML] = {CHATML(""), {"<|im_start|>", "<|im_end|>"}, false},
    [MLA_CHAT_LLAMA3] = {"<|begin_of_text|>" LLAMA3_MESSAGES,
                         {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
                         false},
    [MLA_CHAT_DEEPSEEK2] = {SPOKEN("<｜begin▁of▁sentence｜>", "'<｜end▁of▁sentence｜>'"),
                            {"<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"},
                            true},
    [MLA_CHAT_DEEPSEEK3] = {deepseek3,
                            {"<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"},
                            false},
    [MLA_CHAT_LLAMA3_1] = {llama3_1,
                           {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
                           true},
    [MLA_CHAT_QWEN2] = {CHATML_WITH("You are a helpful assistant."), {"<|im_start|>", "<|im_end|>"}, true},
    [MLA_CHAT_QWEN2_5] = {CHATML_WITH("You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
                          {"<|im_start|>", "<|im_end|>"},
                          true},
    [MLA_CHAT_SMOLLM2] = {CHATML_WITH("You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
                          {"<|im_start|>", "<|im_end|>"},
                          true},
    [MLA_CHAT_QWEN3] = {qwen3, {"<|im_start|>", "<|im_end|>", "<think>", "</think>"}, true},
};

const char *mla_chat_template_text(mla_chat_template template_) { return builtins[template_].text; }

const char *mla_chat_template_missing(const mla_tokenizer *tokenizer, mla_chat_template template_) {
    const builtin *b = &builtins[template_];
    for (int i = 0; i < MOST_TOKENS && b->tokens[i]; i++)
        if (mla_tokenizer_added(tokenizer, b->tokens[i]) < 0) return b->tokens[i];
    return NULL;
}

mla_chat_template mla_chat_template_of(const mla_tokenizer *tokenizer) {
    int i = (int)(sizeof builtins / sizeof *builtins) - 1;
    while (i > MLA_CHAT_PLAIN && /* those that a tokenizer seldom has the tokens of stand last */
           (builtins[i].named_only || mla_chat_template_missing(tokenizer, (mla_chat_template)i)))
        i--;
    return (mla_chat_template)i;
}
