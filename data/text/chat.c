#include "autograd/json/tree.h"
#include "data/text/chat_internal.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

mla_status mla_chat_wrong(const chat_reader *r, const char *format, ...) {
    char words[512];
    va_list list;
    va_start(list, format);
    vsnprintf(words, sizeof words, format, list);
    va_end(list);
    return mla_fail(r->context, MLA_ERROR_FORMAT, "%s: %s", r->where, words);
}

json_t *mla_chat_longer(json_t *text, const char *bytes, size_t length) {
    const size_t before = json_string_length(text);
    char *joined = malloc(before + length + 1);
    json_t *out = NULL;
    if (joined && text) {
        memcpy(joined, json_string_value(text), before);
        memcpy(joined + before, bytes, length);
        out = json_stringn_nocheck(joined, before + length);
    }
    json_decref(text);
    free(joined);
    return out;
}

static mla_status parse_json(mla_context *context, const char *where, const char *bytes, int64_t length, json_t **out) {
    char place[PATH_MAX + 96];
    snprintf(place, sizeof place, "%s: ", where);
    return mla_json_read(context, place, bytes, length, MLA_JSON_LINE | MLA_JSON_QUIET | MLA_JSON_ZEROS, out);
}

mla_status mla_chat_read_text(const chat_reader *r, const char *what, const json_t *text, json_t **out) {
    char place[PATH_MAX + 64];
    snprintf(place, sizeof place, "%s: %s", r->where, what);
    return parse_json(r->context, place, json_string_value(text), (int64_t)json_string_length(text), out);
}

/* ---- what stands beside the messages ---- */

/* A list; or, as data sets have it that know no nested types, its JSON as text. */
static mla_status read_list(chat_reader *r, const char *key) {
    json_t *value = json_object_get(r->line, key), *list = NULL;
    if (!value || json_is_null(value)) return MLA_OK;
    if (json_is_string(value)) {
        if (!json_string_length(value)) return MLA_OK;
        const mla_status status = mla_chat_read_text(r, key, value, &list);
        if (status) return status;
    } else list = json_incref(value);
    const bool is_list = json_is_array(list), empty = is_list && !json_array_size(list);
    if (is_list && !empty) json_object_set(r->chat->variables, key, list);
    json_decref(list);
    return is_list ? MLA_OK : mla_chat_wrong(r, "\"%s\" is no list", key);
}

static mla_status read_kwargs(chat_reader *r) {
    static const char *const own[] = {"messages", "add_generation_prompt", "tools", "documents"};
    json_t *kwargs = json_object_get(r->line, "chat_template_kwargs");
    if (!kwargs || json_is_null(kwargs)) return MLA_OK;
    if (!json_is_object(kwargs)) return mla_chat_wrong(r, "\"chat_template_kwargs\" is no object");
    for (int i = 0; i < 4; i++)
        if (json_object_get(kwargs, own[i]))
            return mla_chat_wrong(r, "\"chat_template_kwargs\" holds \"%s\", which belongs into the line itself",
                                  own[i]);
    json_object_update(r->chat->variables, kwargs);
    return MLA_OK;
}

static bool is_empty(const json_t *value) {
    return !value || json_is_null(value) || (json_is_string(value) && !json_string_length(value)) ||
           (json_is_array(value) && !json_array_size(value));
}

/* One answer that is better than another, or marked as good or bad: both would be learned alike. */
static mla_status check_preferences(const chat_reader *r) {
    static const char *const keys[] = {"chosen", "rejected", "label"};
    const char *answer = r->fields ? r->fields->completion : NULL;
    const bool is_named = answer && (!strcmp(answer, "chosen") || !strcmp(answer, "rejected"));
    for (int i = 0; i < 3; i++) {
        const json_t *value = json_object_get(r->line, keys[i]);
        if (is_empty(value) || (i < 2 ? is_named : !json_is_boolean(value))) continue;
        return mla_chat_wrong(
            r,
            "has \"%s\", but preferences are not learned here: leave the better answer alone, or name "
            "it by data.fields, or --fields, as in prompt=prompt,completion=chosen",
            keys[i]);
    }
    return MLA_OK;
}

/* Keys that change what is to be learned, and that we do not read. */
static mla_status check_beside(const chat_reader *r) {
    static const char *const others[] = {"functions", "function_call", "history", "images", "videos", "audios"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (!is_empty(json_object_get(r->line, others[i])))
            return mla_chat_wrong(r, "has \"%s\", which is not read here: remove it", others[i]);
    }
    return MLA_OK;
}

static mla_status read_system(chat_reader *r) {
    const char *key = r->fields && r->fields->system ? r->fields->system : "system";
    json_t *system = json_object_get(r->line, key);
    if (!system || json_is_null(system) || (json_is_string(system) && !json_string_length(system))) return MLA_OK;
    if (!json_is_string(system)) return mla_chat_wrong(r, "\"%s\" is no text", key);
    return mla_chat_say(r, "system", json_incref(system));
}

/* A system message of the line's own would be the second. */
static mla_status check_systems(const chat_reader *r) {
    int64_t systems = 0;
    for (int64_t i = 0; i < r->chat->count && i < 2; i++) {
        const char *role = json_string_value(json_object_get(json_array_get(r->chat->messages, (size_t)i), "role"));
        systems += !strcmp(role, "system");
    }
    if (systems < 2 || !json_object_get(r->line, "system")) return MLA_OK;
    return mla_chat_wrong(r, "has \"system\", and a system message besides: leave one of them");
}

/* ---- a line ---- */

static mla_status clear(mla_context *context, mla_chat *chat) {
    json_decref(chat->messages);
    json_decref(chat->variables);
    chat->count = 0;
    chat->messages = json_array();
    chat->variables = json_object();
    if (chat->messages && chat->variables) return MLA_OK;
    return mla_fail(context, MLA_ERROR_MEMORY, "no memory for a conversation");
}

static mla_status read_line(chat_reader *r) {
    if (!json_is_object(r->line)) return mla_chat_wrong(r, "is no conversation: expected a JSON object");
    mla_status status = check_preferences(r);
    if (!status) status = check_beside(r);
    if (!status) status = mla_chat_read_line_weight(r);
    if (!status) status = read_system(r);
    if (!status) status = mla_chat_read_messages(r);
    if (!status) status = check_systems(r);
    if (!status) status = read_list(r, "tools");
    if (!status) status = read_list(r, "documents");
    return status ? status : read_kwargs(r);
}

mla_status mla_chat_parse(mla_context *context, const char *where, const char *bytes, int64_t length,
                          const mla_chat_fields *fields, mla_chat *chat) {
    json_t *line = NULL;
    mla_status status = clear(context, chat);
    if (!status) status = parse_json(context, where, bytes, length, &line);
    if (status) return status;
    chat_reader reader = {.context = context, .where = where, .line = line, .fields = fields, .chat = chat};
    status = read_line(&reader);
    json_decref(line);
    return status;
}

mla_status mla_chat_ask(mla_context *context, const char *bytes, int64_t length, mla_chat *chat) {
    chat_reader reader = {.context = context, .where = "the prompt", .chat = chat};
    const mla_status status = clear(context, chat);
    return status ? status : mla_chat_say(&reader, "user", json_stringn_nocheck(bytes, (size_t)length));
}

void mla_chat_free(mla_chat *chat) {
    json_decref(chat->messages);
    json_decref(chat->variables);
    free(chat->learned);
    *chat = (mla_chat){0};
}

const char *mla_chat_content(const mla_chat *chat, int64_t i, int64_t *length) {
    const json_t *content = json_object_get(json_array_get(chat->messages, (size_t)i), "content");
    *length = (int64_t)json_string_length(content);
    return json_string_value(content);
}

/* ---- fields ---- */

mla_status mla_chat_fields_read(mla_context *context, char *const *items, int64_t count, mla_chat_fields *out) {
    *out = (mla_chat_fields){0};
    for (int64_t i = 0; i < count; i++) {
        const char *value = strchr(items[i], '=');
        const size_t length = value ? (size_t)(value - items[i]) : 0;
        const char **field = length == 6 && !strncmp(items[i], "prompt", 6)         ? &out->prompt
                             : length == 10 && !strncmp(items[i], "completion", 10) ? &out->completion
                             : length == 6 && !strncmp(items[i], "system", 6)       ? &out->system
                                                                                    : NULL;
        if (!field || !value[1])
            return mla_fail(context, MLA_ERROR_ARGUMENT,
                            "data.fields: \"%s\": expected prompt=KEY, completion=KEY or system=KEY, as in "
                            "prompt=question,completion=answer",
                            items[i]);
        *field = value + 1;
    }
    if (count && (!out->prompt || !out->completion))
        return mla_fail(context, MLA_ERROR_ARGUMENT, "data.fields: name both, as in prompt=question,completion=answer");
    return MLA_OK;
}
