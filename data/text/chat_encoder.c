#include "data/text/chat_encoder_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- the template ---- */

static mla_status parse_template(mla_context *context, mla_chat_encoder *e, const mla_chat_options *o) {
    const bool own = o->template_ == MLA_CHAT_AUTO && o->own;
    const mla_chat_template template_ = o->template_ == MLA_CHAT_AUTO ? mla_chat_template_of(e->tokenizer)
                                                                      : o->template_;
    const char *text = own ? o->own : mla_chat_template_text(template_);
    const char *missing = own ? NULL : mla_chat_template_missing(e->tokenizer, template_);
    e->name = own ? "the model's own" : mla_chat_template_names[template_];
    if (missing)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "the template %s needs the token %s, which the tokenizer has not among its "
                        "added_tokens: choose another by data.template, or --template; plain needs none",
                        e->name, missing);
    return mla_jinja_parse(context, &e->jinja, own ? "the model's chat_template" : e->name, text,
                           (int64_t)strlen(text));
}

/* bos_token and its like, each a text or an object that holds it; eos_token is the separator, where nothing else is. */
static mla_status take_tokens(mla_context *context, mla_chat_encoder *e, const mla_chat_options *o) {
    static const char *const names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
    const int32_t separator = mla_tokenizer_separator(e->tokenizer);
    const char *bytes = "";
    int64_t length = 0;
    e->tokens = json_object();
    for (int i = 0; o->tokens && e->name && i < 7; i++) {
        json_t *value = json_object_get(o->tokens, names[i]);
        if (json_is_object(value)) value = json_object_get(value, "content");
        if (json_is_string(value)) json_object_set(e->tokens, names[i], value);
    }
    const mla_status status = separator < 0 ? MLA_OK
                                            : mla_tokenizer_spelling(context, e->tokenizer, separator, &bytes, &length);
    const bool own = o->template_ == MLA_CHAT_AUTO && o->own;
    if (!status && (!own || !json_object_get(e->tokens, "eos_token")))
        json_object_set_new(e->tokens, "eos_token", json_stringn_nocheck(bytes, (size_t)length));
    return status;
}

mla_status mla_chat_encoder_create(mla_context *context, mla_chat_encoder **out, const mla_tokenizer *tokenizer,
                                   const mla_chat_options *options) {
    mla_chat_encoder *e = mla_alloc(context, 1, sizeof *e, "an encoder of conversations");
    *out = NULL;
    if (!e) return MLA_ERROR_MEMORY;
    e->tokenizer = tokenizer;
    e->date = options->date && *options->date ? strdup(options->date) : NULL;
    mla_status status = parse_template(context, e, options);
    if (!status) status = take_tokens(context, e, options);
    if (!status) status = mla_encoder_create(context, &e->encoder, tokenizer, NULL);
    if (status) mla_chat_encoder_destroy(e);
    else *out = e;
    return status;
}

void mla_chat_encoder_destroy(mla_chat_encoder *e) {
    if (!e) return;
    mla_jinja_destroy(e->jinja);
    mla_encoder_destroy(e->encoder);
    json_decref(e->tokens);
    mla_jinja_output_free(&e->whole);
    mla_jinja_output_free(&e->part);
    mla_piece_free(&e->unread);
    free(e->learned.bytes);
    free(e->date);
    free(e);
}

const char *mla_chat_encoder_template(const mla_chat_encoder *e) { return e->name; }

/* ---- rendering ---- */

enum { MOST_VARIABLES = 64 };

static int add_all(const json_t *object, int kind, mla_jinja_variable *out, int count) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) if (count < MOST_VARIABLES) {
        out[count] = (mla_jinja_variable){.name = key, .value = value};
        out[count++].kind = kind;
    }
    return count;
}

mla_status mla_chat_render(mla_context *context, mla_chat_encoder *e, const char *where, const mla_chat *chat,
                           int64_t count, json_t *more, bool add_generation_prompt, mla_jinja_output *out) {
    mla_jinja_variable variables[MOST_VARIABLES];
    json_t *messages = json_array(), *absent = json_null();
    for (int64_t i = 0; i < count; i++) json_array_append(messages, json_array_get(chat->messages, (size_t)i));
    if (more) json_array_append(messages, more);
    variables[0] = (mla_jinja_variable){"messages", messages, MLA_JINJA_OF_MESSAGES};
    variables[1] = (mla_jinja_variable){"tools", absent, MLA_JINJA_OF_DATA};
    variables[2] = (mla_jinja_variable){"documents", absent, MLA_JINJA_OF_DATA};
    variables[3] = (mla_jinja_variable){"add_generation_prompt", json_boolean(add_generation_prompt),
                                        MLA_JINJA_OF_DATA};
    int known = add_all(e->tokens, MLA_JINJA_OF_TEMPLATE, variables, 4);
    if (json_object_size(chat->variables) + (size_t)known > MOST_VARIABLES) {
        json_decref(messages);
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%s: \"chat_template_kwargs\" has more than %d keys", where,
                        MOST_VARIABLES - known);
    }
    known = add_all(chat->variables, MLA_JINJA_OF_DATA, variables, known);
    const mla_status status = mla_jinja_render(context, e->jinja, where, variables, known, e->date, out);
    json_decref(messages);
    return status;
}

/* Cut where the message begins that stands behind `count` others. */
static void cut(mla_jinja_output *text, int64_t count) {
    for (int64_t k = 0; k < text->length; k++)
        if (mla_jinja_message(text->marks[k]) == count) text->length = k;
}

/* What stands before a plain answer. */
static mla_status render_before_answer(mla_context *context, mla_chat_encoder *e, const char *where,
                                       const mla_chat *chat, int64_t count) {
    json_t *answer = json_pack("{s:s, s:s}", "role", "assistant", "content", "x");
    const mla_status status = mla_chat_render(context, e, where, chat, count, answer, false, &e->part);
    json_decref(answer);
    if (!status) cut(&e->part, count);
    return status;
}

mla_status mla_chat_render_prompt(mla_context *context, mla_chat_encoder *e, const char *where, const mla_chat *chat,
                                  int64_t count) {
    if (!mla_jinja_mentions(e->jinja, "add_generation_prompt") || !count)
        return render_before_answer(context, e, where, chat, count);
    return mla_chat_render(context, e, where, chat, count, NULL, true, &e->part);
}

/* ---- tokens ---- */

int32_t mla_chat_token_at(const mla_chat_encoder *e, const mla_jinja_output *text, int64_t at, int64_t *length) {
    int64_t own = 0;
    if (text->marks[at] != MLA_JINJA_TEMPLATE) return -1;
    while (own < 256 && at + own < text->length && text->marks[at + own] == MLA_JINJA_TEMPLATE) own++;
    return mla_encoder_added_at(e->encoder, text->bytes + at, own, length);
}

/* What is being encoded. */
typedef struct {
    mla_context *context;
    mla_chat_encoder *e;
    const mla_jinja_output *text;
    const char *learned; /* of each byte; NULL: none is asked for */
    mla_id_list *ids;
    mla_bytes *answers;
} encoding;

static mla_status mark(const encoding *c, bool answer) {
    mla_bytes *out = c->answers;
    if (!c->learned) return MLA_OK;
    const mla_status status = mla_grow(c->context, &out->bytes, &out->capacity, out->count + 1, 1, "a conversation");
    if (!status) out->bytes[out->count++] = answer;
    return status;
}

static mla_status put_text(const encoding *c, int64_t begin, int64_t end) {
    if (begin == end) return MLA_OK;
    const mla_marked_text text = {.bytes = c->text->bytes + begin,
                                  .marks = c->learned ? c->learned + begin : NULL,
                                  .length = end - begin,
                                  .inside = begin > 0};
    return mla_encoder_encode_marked(c->context, c->e->encoder, &text, c->ids, c->learned ? c->answers : NULL);
}

static mla_status put_token(const encoding *c, int32_t id, int64_t at, int64_t length) {
    const mla_status status = mla_grow(c->context, &c->ids->ids, &c->ids->capacity, c->ids->count + 1,
                                       sizeof *c->ids->ids, "token ids");
    if (status) return status;
    c->ids->ids[c->ids->count++] = id;
    return mark(c, c->learned && memchr(c->learned + at, 1, (size_t)length));
}

static mla_status put_all(const encoding *c) {
    mla_status status = MLA_OK;
    int64_t plain = 0, length = 0; /* where the text begins that is not encoded yet */
    for (int64_t at = 0; at < c->text->length && !status;) {
        const int32_t id = mla_chat_token_at(c->e, c->text, at, &length);
        if (id < 0) {
            at++;
            continue;
        }
        status = put_text(c, plain, at);
        if (!status) status = put_token(c, id, at, length);
        plain = at += length;
    }
    return status ? status : put_text(c, plain, c->text->length);
}

/* ---- conversations ---- */

mla_status mla_chat_encode(mla_context *context, mla_chat_encoder *e, const char *where, const mla_chat *chat,
                           mla_id_list *ids, mla_bytes *answers) {
    const int64_t before = ids->count;
    mla_status status = mla_chat_render(context, e, where, chat, chat->count, NULL, false, &e->whole);
    if (!status) status = mla_chat_check(context, e, where, chat);
    if (!status) status = mla_chat_find_answers(context, e, where, chat);
    const encoding c = {context, e, &e->whole, e->learned.bytes ? e->learned.bytes : "", ids, answers};
    if (!status) status = put_all(&c);
    if (status) return status;
    if (ids->count > before && ids->ids[ids->count - 1] == mla_tokenizer_separator(e->tokenizer)) {
        ids->count--; /* its mark is the separator's */
        return MLA_OK;
    }
    return mark(&c, e->open_end);
}

mla_status mla_chat_encode_prompt(mla_context *context, mla_chat_encoder *e, const char *where, const mla_chat *chat,
                                  mla_id_list *ids) {
    const mla_status status = mla_chat_render_prompt(context, e, where, chat, chat->count);
    const encoding c = {.context = context, .e = e, .text = &e->part, .ids = ids};
    return status ? status : put_all(&c);
}

mla_status mla_chat_ending(mla_context *context, mla_chat_encoder *e, int32_t *out) {
    mla_chat probe = {0};
    json_t *answer = json_pack("{s:s, s:s}", "role", "assistant", "content", "x");
    int64_t length, at;
    mla_status status = mla_chat_ask(context, "x", 1, &probe);
    if (!status) status = mla_chat_render(context, e, "a question", &probe, 1, answer, false, &e->part);
    *out = mla_tokenizer_separator(e->tokenizer);
    for (at = e->part.length - 1; !status && at >= 0 && e->part.marks[at] == MLA_JINJA_TEMPLATE; at--) {
        const int32_t id = mla_chat_token_at(e, &e->part, at, &length);
        if (id < 0) continue;
        *out = id;
        break;
    }
    json_decref(answer);
    mla_chat_free(&probe);
    return status;
}
