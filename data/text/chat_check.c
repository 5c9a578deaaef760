/* What a template leaves out is an error, not a loss. */
#include "data/text/chat_encoder_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- what the template does not read at all ---- */

static mla_status check_variables(mla_context *context, const mla_chat_encoder *e, const char *where,
                                  const mla_chat *chat) {
    const char *key;
    json_t *value;
    json_object_foreach(chat->variables, key, value) if (!mla_jinja_mentions(e->jinja, key)) return mla_fail(
        context, MLA_ERROR_ARGUMENT,
        "%s: has \"%s\", which the template (%s) does not read: remove it, or choose another template "
        "by data.template, or --template",
        where, key, e->name);
    return MLA_OK;
}

static bool is_known(const char *key) {
    static const char *const known[] = {"role",     "content",    "reasoning_content", "reasoning",
                                        "thinking", "tool_calls", "tool_call_id",      "name"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i], key)) return true;
    return false;
}

static mla_status count_unread(mla_context *context, mla_chat_encoder *e, const json_t *message) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)message, key, value) {
        if (is_known(key) || json_is_null(value) || mla_jinja_mentions(e->jinja, key)) continue;
        mla_piece *piece = mla_piece_insert(context, &e->unread, key, (int64_t)strlen(key));
        if (!piece) return MLA_ERROR_MEMORY;
        piece->value++;
    }
    return MLA_OK;
}

void mla_chat_encoder_report(mla_context *context, const mla_chat_encoder *e) {
    for (int64_t i = 0; i < e->unread.count; i++) {
        const mla_piece *piece = &e->unread.pieces[i];
        mla_warn(context, "%lld messages have a key \"%.*s\", which the template (%s) does not read",
                 (long long)piece->value, (int)piece->length, e->unread.bytes + piece->offset, e->name);
    }
}

/* ---- what it leaves out of one conversation ---- */

/* Whether a value has text that is not blank. */
static bool has_text(const json_t *value, int depth) {
    const char *key, *text = json_string_value(value);
    json_t *part;
    size_t i;
    if (text)
        for (size_t k = 0; k < json_string_length(value); k++)
            if (!strchr(" \t\r\n\v\f", text[k]) || !text[k]) return true;
    if (depth > 100) return false;
    json_array_foreach(value, i, part) if (has_text(part, depth + 1)) return true;
    json_object_foreach((json_t *)(uintptr_t)value, key, part) if (has_text(part, depth + 1)) return true;
    return false;
}

static mla_status left_out(mla_context *context, const mla_chat_encoder *e, const char *where, int64_t i,
                           const json_t *message, const char *what) {
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "%s: message %lld (%s): %s left out by the template (%s): remove it, or choose another template by "
                    "data.template, or --template",
                    where, (long long)i + 1, json_string_value(json_object_get(message, "role")), what, e->name);
}

/* `seen`: whether bytes of a field are in the text. Reasoning of earlier turns is dropped on purpose. */
static mla_status check_message(mla_context *context, const mla_chat_encoder *e, const char *where, int64_t i,
                                const json_t *message, const bool *seen) {
    const json_t *content = json_object_get(message, "content"),
                 *reasoning = json_object_get(message, "reasoning_content");
    const json_t *calls = json_object_get(message, "tool_calls");
    const bool says = has_text(content, 0), calls_out = has_text(calls, 0), thinks = has_text(reasoning, 0);
    const bool any = seen[MLA_JINJA_CONTENT] || seen[MLA_JINJA_TOOL_CALLS] || seen[MLA_JINJA_REASONING];
    const bool begins_with_thought = says && strstr(json_string_value(content), "</think>");
    if ((says || calls_out) && !any && !begins_with_thought) return left_out(context, e, where, i, message, "it is");
    if (says && !seen[MLA_JINJA_CONTENT] && !begins_with_thought)
        return left_out(context, e, where, i, message, "its content is");
    if (calls_out && !seen[MLA_JINJA_TOOL_CALLS]) return left_out(context, e, where, i, message, "its tool_calls are");
    const bool read = mla_jinja_mentions(e->jinja, "reasoning_content") || mla_jinja_mentions(e->jinja, "thinking") ||
                      mla_jinja_mentions(e->jinja, "reasoning");
    return thinks && !read ? left_out(context, e, where, i, message, "its reasoning_content is") : MLA_OK;
}

mla_status mla_chat_check(mla_context *context, mla_chat_encoder *e, const char *where, const mla_chat *chat) {
    mla_status status = check_variables(context, e, where, chat);
    bool(*seen)[MLA_JINJA_FIELDS] = mla_alloc(context, chat->count, sizeof *seen, "the messages of a conversation");
    bool data = false;
    if (!seen) return MLA_ERROR_MEMORY;
    for (int64_t k = 0; k < e->whole.length; k++) {
        const uint16_t mark = e->whole.marks[k];
        const int64_t i = mla_jinja_message(mark);
        if (i >= 0 && i < chat->count) seen[i][(mark - MLA_JINJA_FIRST_MESSAGE) % MLA_JINJA_FIELDS] = true;
        data |= mark == MLA_JINJA_DATA;
    }
    for (int64_t i = 0; i < chat->count && !status; i++) {
        const json_t *message = json_array_get(chat->messages, (size_t)i);
        status = check_message(context, e, where, i, message, seen[i]);
        if (!status) status = count_unread(context, e, message);
    }
    if (!status && !data && has_text(json_object_get(chat->variables, "tools"), 0))
        status = mla_fail(context, MLA_ERROR_ARGUMENT, "%s: its tools are left out by the template (%s)", where,
                          e->name);
    free(seen);
    return status;
}
