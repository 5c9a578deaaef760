#include "data/text/chat.h"
#include "autograd/json/tree.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mla_status wrong(mla_context *context, const char *where, const char *what) {
    return mla_fail(context, MLA_ERROR_FORMAT, "%s: %s", where, what);
}

static mla_status chat_add(mla_context *context, mla_chat *chat, mla_chat_role role, const json_t *content) {
    const mla_status status = mla_grow(context, &chat->messages, &chat->capacity, chat->count + 1,
                                       sizeof *chat->messages, "the messages of a conversation");
    if (status) return status;
    chat->messages[chat->count++] = (mla_chat_message){role, json_string_value(content),
                                                       (int64_t)json_string_length(content)};
    return MLA_OK;
}

static mla_status read_message(mla_context *context, const char *where, const json_t *message, mla_chat *chat) {
    static const char *const roles[] = {"system", "user", "assistant"};
    const char *role = json_string_value(json_object_get(message, "role"));
    const json_t *content = json_object_get(message, "content");
    if (!role) return wrong(context, where, "a message has no \"role\"");
    if (!json_is_string(content)) return wrong(context, where, "a message has no \"content\" that is text");
    for (mla_chat_role r = MLA_CHAT_SYSTEM; r <= MLA_CHAT_ASSISTANT; r++)
        if (!strcmp(role, roles[r])) return chat_add(context, chat, r, content);
    return mla_fail(context, MLA_ERROR_FORMAT, "%s: \"%.40s\" is no role: expected system, user or assistant", where,
                    role);
}

static mla_status read_messages(mla_context *context, const char *where, const json_t *messages, mla_chat *chat) {
    mla_status status = MLA_OK;
    for (size_t i = 0; i < json_array_size(messages) && !status; i++)
        status = read_message(context, where, json_array_get(messages, i), chat);
    return status;
}

static mla_status read_pair(mla_context *context, const char *where, const json_t *prompt, const json_t *completion,
                            mla_chat *chat) {
    if (!json_is_string(prompt) || !json_is_string(completion))
        return wrong(context, where, "\"prompt\" and \"completion\" must both be text");
    const mla_status status = chat_add(context, chat, MLA_CHAT_USER, prompt);
    return status ? status : chat_add(context, chat, MLA_CHAT_ASSISTANT, completion);
}

static mla_status parse_json(mla_context *context, const char *where, const char *bytes, int64_t length, json_t **out) {
    char place[PATH_MAX + 32];
    snprintf(place, sizeof place, "%s: ", where);
    return mla_json_read(context, place, bytes, length, MLA_JSON_LINE | MLA_JSON_QUIET | MLA_JSON_ZEROS, out);
}

mla_status mla_chat_parse(mla_context *context, const char *where, const char *bytes, int64_t length, mla_chat *chat) {
    json_decref(chat->json);
    chat->count = 0;
    const mla_status status = parse_json(context, where, bytes, length, &chat->json);
    if (status) return status;
    const json_t *messages = json_object_get(chat->json, "messages");
    const json_t *prompt = json_object_get(chat->json, "prompt"),
                 *completion = json_object_get(chat->json, "completion");
    if (messages && (prompt || completion)) return wrong(context, where, "has both \"messages\" and a \"prompt\"");
    if (json_is_array(messages)) return read_messages(context, where, messages, chat);
    if (messages) return wrong(context, where, "\"messages\" is no list");
    if (prompt || completion) return read_pair(context, where, prompt, completion, chat);
    return wrong(context, where, "is no conversation: expected \"messages\", or \"prompt\" and \"completion\"");
}

void mla_chat_free(mla_chat *chat) {
    json_decref(chat->json);
    free(chat->messages);
    *chat = (mla_chat){0};
}
