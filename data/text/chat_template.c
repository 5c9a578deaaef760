#include "data/text/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the templates ---- */

enum { MOST_TOKENS = 4, MOST_MARKS = 4, ROLES = 3 };

/* A message: before, lead, content, close, after. Of an answer lead, content and close are learned. */
typedef struct {
    const char *before, *lead, *close, *after;
} turn_t;

typedef struct {
    const char *begin; /* of the conversation */
    turn_t turns[ROLES];
    const char *tokens[MOST_TOKENS];                 /* that are one id each where they are spelled out above */
    bool trim;                                       /* white space around contents goes */
    bool system_first;                               /* a system message can only be the first */
    const char *system;                              /* the message that conversations without one begin with */
    bool thinks;                                     /* answers hold reasoning, see put_reasoning */
    bool program_only;                               /* a tokenizer's tokens alone do not tell of it */
    const char *has[MOST_MARKS], *lacks[MOST_MARKS]; /* of a chat_template in Jinja that does the same; none: no such */
} template_t;

const char *const mla_chat_template_names[] = {"auto",     "plain", "chatml",  "llama3",  "deepseek2", "deepseek3",
                                               "llama3.1", "qwen2", "qwen2.5", "smollm2", "qwen3",     NULL};

static const char end_token[] = "<end>"; /* in the table: the tokenizer's separator */

#define CHATML(role) \
    { "<|im_start|>" role "\n", "", "<|im_end|>", "\n" }
#define CHATML_TURNS .begin = "", .turns = {CHATML("system"), CHATML("user"), CHATML("assistant")}
#define CHATML_TEMPLATE                                                                            \
    CHATML_TURNS, .tokens = {"<|im_start|>", "<|im_end|>"}, .has = {"<|im_start|>", "<|im_end|>"}, \
                  .lacks = {"think", "trim", "strip"}
#define LLAMA3(role) \
    { "<|start_header_id|>" role "<|end_header_id|>\n\n", "", "<|eot_id|>", "" }
static const template_t templates[] = {
    [MLA_CHAT_PLAIN] = {.begin = "",
                        .turns = {{"", "", "", "\n\n"}, {"User:", " ", "", "\n\n"}, {"Assistant:", " ", end_token, ""}},
                        .tokens = {end_token}},
    [MLA_CHAT_CHATML] = {CHATML_TEMPLATE},
    [MLA_CHAT_LLAMA3] = {.begin = "<|begin_of_text|>",
                         .turns = {LLAMA3("system"), LLAMA3("user"), LLAMA3("assistant")},
                         .tokens = {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
                         .trim = true,
                         .has = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "trim"},
                         .lacks = {"Cutting Knowledge Date", "You are"}},
    [MLA_CHAT_DEEPSEEK2] = {.begin = "<｜begin▁of▁sentence｜>",
                            .turns = {{"", "", "", "\n\n"},
                                      {"User:", " ", "", "\n\n"},
                                      {"Assistant:", " ", "<｜end▁of▁sentence｜>", ""}},
                            .tokens = {"<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"},
                            .program_only = true,
                            .has = {"'User: ' + message['content'] + '\\n\\n'",
                                    "'Assistant: ' + message['content'] + eos_token", "{{ bos_token }}"},
                            .lacks = {"trim", "strip", "### "}},
    [MLA_CHAT_DEEPSEEK3] =
        {.begin = "<｜begin▁of▁sentence｜>",
         .turns = {{"", "", "", ""}, {"<｜User｜>", "", "", ""}, {"<｜Assistant｜>", "", "<｜end▁of▁sentence｜>", ""}},
         .tokens = {"<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"},
         .system_first = true,
         .has = {"'<｜User｜>' + message['content']", "'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'"},
         .lacks = {"think", "trim"}},
    [MLA_CHAT_LLAMA3_1] = {.begin = "<|begin_of_text|>",
                           .turns = {{"<|start_header_id|>system<|end_header_id|>\n\n"
                                      "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",
                                      "", "<|eot_id|>", ""},
                                     LLAMA3("user"),
                                     LLAMA3("assistant")},
                           .tokens = {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
                           .trim = true,
                           .system_first = true,
                           .system = "",
                           .program_only = true,
                           .has = {"<|start_header_id|>", "trim", "\"Cutting Knowledge Date: December 2023\\n\"",
                                   "set date_string = \"26 Jul 2024\""},
                           .lacks = {"strftime_now"}},
    [MLA_CHAT_QWEN2] = {CHATML_TEMPLATE, .system = "You are a helpful assistant.", .program_only = true},
    [MLA_CHAT_QWEN2_5] = {CHATML_TEMPLATE, .program_only = true,
                          .system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."},
    [MLA_CHAT_SMOLLM2] = {CHATML_TEMPLATE, .program_only = true,
                          .system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"},
    [MLA_CHAT_QWEN3] = {CHATML_TURNS, .tokens = {"<|im_start|>", "<|im_end|>", "<think>", "</think>"}, .thinks = true,
                        .program_only = true,
                        .has = {"<|im_start|>", "last_query_index",
                                "loop.last or (not loop.last and reasoning_content)", "content.lstrip("}},
};
enum { TEMPLATES = sizeof templates / sizeof *templates };

/* ---- recognising one ---- */

/* Whether the program spells out this template's own system message, or none, behind ChatML's beginning of one. */
static bool has_system(const template_t *t, const char *jinja) {
    static const char begin[] = "<|im_start|>system", end[] = "<|im_end|>";
    const size_t length = t->system ? strlen(t->system) : 0;
    while ((jinja = strstr(jinja, begin))) {
        jinja += strlen(begin);
        jinja += *jinja == '\n' ? 1 : !strncmp(jinja, "\\n", 2) ? 2 : 0;
        if (*jinja && strchr("'\"", *jinja)) continue; /* the conversation's own message follows */
        return length && !strncmp(jinja, t->system, length) && !strncmp(jinja + length, end, strlen(end));
    }
    return !length;
}

static bool does_the_same(const template_t *t, const char *jinja) {
    bool same = t->has[0] != NULL && has_system(t, jinja);
    for (int i = 0; i < MOST_MARKS && t->has[i]; i++) same &= strstr(jinja, t->has[i]) != NULL;
    for (int i = 0; i < MOST_MARKS && t->lacks[i]; i++) same &= strstr(jinja, t->lacks[i]) == NULL;
    return same;
}

static int32_t token_of(const mla_tokenizer *tokenizer, const char *text) {
    return text == end_token ? mla_tokenizer_separator(tokenizer) : mla_tokenizer_added(tokenizer, text);
}

static const char *missing_token(const mla_tokenizer *tokenizer, const template_t *t) {
    for (int i = 0; i < MOST_TOKENS && t->tokens[i]; i++)
        if (token_of(tokenizer, t->tokens[i]) < 0) return t->tokens[i];
    return NULL;
}

static void list_names(size_t size, char *out) {
    out[0] = '\0';
    for (int i = MLA_CHAT_PLAIN; i < TEMPLATES; i++)
        snprintf(out + strlen(out), size - strlen(out), "%s%s", i == MLA_CHAT_PLAIN ? "" : ", ",
                 mla_chat_template_names[i]);
}

mla_status mla_chat_recognise(mla_context *context, const mla_tokenizer *tokenizer, const char *jinja,
                              mla_chat_template *out) {
    char names[128];
    for (int i = TEMPLATES - 1; i > MLA_CHAT_AUTO; i--) { /* plain, which every tokenizer has the tokens of, last */
        if (jinja ? !does_the_same(&templates[i], jinja) : missing_token(tokenizer, &templates[i]) != NULL) continue;
        if (!jinja && templates[i].program_only) continue;
        *out = (mla_chat_template)i;
        return MLA_OK;
    }
    list_names(sizeof names, names);
    return mla_fail(
        context, MLA_ERROR_ARGUMENT,
        "the model's chat_template does something that none of the built-in "
        "templates does (it begins: %.60s): choose one of %s by data.template, or --template; mla data show "
        "prints what comes of it",
        jinja ? jinja : "", names);
}

/* ---- encoding ---- */

struct mla_chat_encoder {
    const template_t *template_;
    const mla_tokenizer *tokenizer;
    mla_encoder *encoder;
    int32_t ids[MOST_TOKENS]; /* of the template's tokens */
    mla_bytes text, marks;    /* since the last special token: its bytes, and for each whether it is an answer's */
    mla_context *context;     /* of the call that is running */
    mla_id_list *out;
    mla_bytes *answers;
};

mla_status mla_chat_encoder_create(mla_context *context, mla_chat_encoder **out, const mla_tokenizer *tokenizer,
                                   mla_chat_template template_) {
    const template_t *t = &templates[template_];
    const char *missing = missing_token(tokenizer, t);
    *out = NULL;
    if (missing)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "the template %s needs the token %s, which the tokenizer has not among its "
                        "added_tokens: choose another by data.template, or --template; plain needs none",
                        mla_chat_template_names[template_], missing);
    mla_chat_encoder *e = mla_alloc(context, 1, sizeof *e, "an encoder of conversations");
    if (!e) return MLA_ERROR_MEMORY;
    *e = (mla_chat_encoder){.template_ = t, .tokenizer = tokenizer};
    for (int i = 0; i < MOST_TOKENS && t->tokens[i]; i++) e->ids[i] = token_of(tokenizer, t->tokens[i]);
    const mla_status status = mla_encoder_create(context, &e->encoder, tokenizer, NULL);
    if (status) mla_chat_encoder_destroy(e);
    else *out = e;
    return status;
}

void mla_chat_encoder_destroy(mla_chat_encoder *e) {
    if (!e) return;
    mla_encoder_destroy(e->encoder);
    free(e->text.bytes);
    free(e->marks.bytes);
    free(e);
}

static mla_status chat_template_append(mla_context *context, mla_bytes *out, const char *bytes, int64_t count) {
    const mla_status status = mla_grow(context, &out->bytes, &out->capacity, out->count + count, 1, "a conversation");
    if (status || !count) return status;
    memcpy(out->bytes + out->count, bytes, (size_t)count);
    out->count += count;
    return MLA_OK;
}

static mla_status mark(mla_chat_encoder *e, bool answer) {
    return chat_template_append(e->context, e->answers, &(char){answer}, 1);
}

/* Encodes the text that waits. */
static mla_status flush(mla_chat_encoder *e) {
    const mla_marked_text text = {e->text.bytes, e->marks.bytes, e->text.count};
    if (!e->text.count) return MLA_OK;
    const mla_status status = mla_encoder_encode_marked(e->context, e->encoder, &text, e->out, e->answers);
    e->text.count = e->marks.count = 0;
    return status;
}

static mla_status put_text(mla_chat_encoder *e, const char *bytes, int64_t count, bool answer) {
    if (!count) return MLA_OK;
    mla_status status = chat_template_append(e->context, &e->text, bytes, count);
    if (!status) status = mla_grow(e->context, &e->marks.bytes, &e->marks.capacity, e->text.count, 1, "a conversation");
    if (status) return status;
    memset(e->marks.bytes + e->marks.count, answer, (size_t)count);
    e->marks.count = e->text.count;
    return MLA_OK;
}

static mla_status put_token(mla_chat_encoder *e, int32_t id, bool answer) {
    mla_status status = flush(e);
    if (!status)
        status = mla_grow(e->context, &e->out->ids, &e->out->capacity, e->out->count + 1, sizeof *e->out->ids,
                          "token ids");
    if (status) return status;
    e->out->ids[e->out->count++] = id;
    return mark(e, answer);
}

/* Which of the template's tokens the literal begins with; -1: none. */
static int token_at(const template_t *t, const char *literal) {
    for (int i = 0; i < MOST_TOKENS && t->tokens[i]; i++)
        if (!strncmp(literal, t->tokens[i], strlen(t->tokens[i]))) return i;
    return -1;
}

/* A part of the template: only here are tokens read from what is spelled. */
static mla_status put_literal(mla_chat_encoder *e, const char *literal, bool answer) {
    mla_status status = MLA_OK;
    while (*literal && !status) {
        const int token = token_at(e->template_, literal);
        status = token < 0 ? put_text(e, literal, 1, answer) : put_token(e, e->ids[token], answer);
        literal += token < 0 ? 1 : strlen(e->template_->tokens[token]);
    }
    return status;
}

static const char white_space[] = " \t\n\r\f\v";

static bool is_one_of(char c, const char *set) { return c && strchr(set, c); }

/* A message without what it begins with of the set; and without what it ends with of it, too. */
static mla_chat_message left_trimmed(mla_chat_message m, const char *set) {
    while (m.length && is_one_of(m.content[0], set)) m.content++, m.length--;
    return m;
}

static mla_chat_message trimmed(mla_chat_message m, const char *set) {
    m = left_trimmed(m, set);
    while (m.length && is_one_of(m.content[m.length - 1], set)) m.length--;
    return m;
}

/* ---- reasoning, as Qwen3's template has it ---- */

static bool begins_with(mla_chat_message m, const char *text) {
    return m.length >= (int64_t)strlen(text) && !memcmp(m.content, text, strlen(text));
}

static bool ends_with(mla_chat_message m, const char *text) {
    const int64_t length = (int64_t)strlen(text);
    return m.length >= length && !memcmp(m.content + m.length - length, text, (size_t)length);
}

/* What stands before the first of these in a message, or behind the last; where there is none, all of it. */
static mla_chat_message before_first(mla_chat_message m, const char *text) {
    for (mla_chat_message rest = m; rest.length; rest.content++, rest.length--)
        if (begins_with(rest, text)) return (mla_chat_message){m.role, m.content, m.length - rest.length};
    return m;
}

static mla_chat_message behind_last(mla_chat_message m, const char *text) {
    for (mla_chat_message rest = m; rest.length; rest.length--)
        if (ends_with(rest, text)) return (mla_chat_message){m.role, m.content + rest.length, m.length - rest.length};
    return m;
}

/* The last question of a user, the answer of a tool being none. */
static int64_t last_question(const mla_chat *chat) {
    for (int64_t i = chat->count - 1; i >= 0; i--) {
        const mla_chat_message m = chat->messages[i];
        const bool tool = begins_with(m, "<tool_response>") && ends_with(m, "</tool_response>");
        if (m.role == MLA_CHAT_USER && !tool) return i;
    }
    return chat->count - 1;
}

/* Puts the reasoning of answer i, which begins it, where it is kept: behind the last question. The last answer of all
 * has some, be it empty. *rest is the answer without. */
static mla_status put_reasoning(mla_chat_encoder *e, const mla_chat *chat, int64_t i, mla_chat_message *rest) {
    const mla_chat_message m = chat->messages[i];
    const mla_chat_message thought = before_first(m, "</think>");
    mla_chat_message reasoning = {0};
    if (thought.length < m.length) {
        reasoning = trimmed(behind_last(thought, "<think>"), "\n");
        *rest = left_trimmed(behind_last(m, "</think>"), "\n");
    }
    if (i <= last_question(chat) || (i < chat->count - 1 && !reasoning.length)) return MLA_OK;
    *rest = left_trimmed(*rest, "\n");
    mla_status status = put_literal(e, "<think>\n", m.length);
    if (!status) status = put_text(e, reasoning.content, reasoning.length, m.length);
    return status ? status : put_literal(e, "\n</think>\n\n", m.length);
}

/* ---- conversations ---- */

/* An answer that is empty is none. */
static mla_status put_message(mla_chat_encoder *e, const mla_chat *chat, int64_t i) {
    mla_chat_message m = chat->messages[i];
    if (e->template_->trim) m = trimmed(m, white_space);
    const turn_t *turn = &e->template_->turns[m.role];
    const bool answer = m.role == MLA_CHAT_ASSISTANT && m.length;
    mla_status status = put_literal(e, turn->before, false);
    if (!status) status = put_literal(e, turn->lead, answer);
    if (!status && e->template_->thinks && m.role == MLA_CHAT_ASSISTANT) status = put_reasoning(e, chat, i, &m);
    if (!status) status = put_text(e, m.content, m.length, answer);
    if (!status) status = put_literal(e, turn->close, answer);
    return status ? status : put_literal(e, turn->after, false);
}

static mla_status put_chat(mla_chat_encoder *e, const char *where, const mla_chat *chat) {
    const char *system = e->template_->system;
    mla_status status = put_literal(e, e->template_->begin, false);
    if (!status && system && chat->count && chat->messages[0].role != MLA_CHAT_SYSTEM) {
        mla_chat_message own = {MLA_CHAT_SYSTEM, system, (int64_t)strlen(system)};
        status = put_message(e, &(mla_chat){.messages = &own, .count = 1}, 0);
    }
    for (int64_t i = 0; i < chat->count && !status; i++) {
        if (i && chat->messages[i].role == MLA_CHAT_SYSTEM && e->template_->system_first)
            return mla_fail(e->context, MLA_ERROR_ARGUMENT,
                            "%s: a system message is not the first, where alone the template "
                            "has a place for it",
                            where);
        status = put_message(e, chat, i);
    }
    return status;
}

static void start(mla_context *context, mla_chat_encoder *e, mla_id_list *ids, mla_bytes *answers) {
    e->context = context;
    e->out = ids;
    e->answers = answers;
    e->text.count = e->marks.count = 0;
}

mla_status mla_chat_encode(mla_context *context, mla_chat_encoder *e, const char *where, const mla_chat *chat,
                           mla_id_list *ids, mla_bytes *answers) {
    const int64_t before = ids->count;
    start(context, e, ids, answers);
    mla_status status = put_chat(e, where, chat);
    if (!status) status = flush(e);
    if (status) return status;
    if (ids->count > before && ids->ids[ids->count - 1] == mla_tokenizer_separator(e->tokenizer))
        ids->count--; /* its mark is the separator's */
    else status = mark(e, false);
    return status;
}

mla_status mla_chat_encode_prompt(mla_context *context, mla_chat_encoder *e, const char *where, const mla_chat *chat,
                                  mla_id_list *ids) {
    mla_bytes ignored = {0};
    start(context, e, ids, &ignored);
    mla_status status = put_chat(e, where, chat);
    if (!status) status = put_literal(e, e->template_->turns[MLA_CHAT_ASSISTANT].before, false);
    if (!status) status = flush(e);
    free(ignored.bytes);
    return status;
}

int32_t mla_chat_ending(const mla_chat_encoder *e) {
    return e->ids[token_at(e->template_, e->template_->turns[MLA_CHAT_ASSISTANT].close)];
}
