#include "data/jinja/jinja.h"
#include "data/jinja/string.h"

#include <jansson.h>
#include <string.h>

static jinja_value from_list(jinja_machine *m, const json_t *json, uint16_t mark) {
    const size_t count = json_array_size(json);
    jinja_value list = mla_jinja_list(m, JINJA_A_LIST, (int64_t)count);
    for (size_t i = 0; i < count && !m->status; i++)
        mla_jinja_append(m, list.list, mla_jinja_from_json(m, json_array_get(json, i), mark));
    return list;
}

/* A key's bytes; keys of our kind hold no NUL. */
static jinja_value key_of(jinja_machine *m, const char *key, uint16_t mark) {
    return mla_jinja_string(m, key, (int64_t)strlen(key), mark);
}

static jinja_value from_object(jinja_machine *m, const json_t *json, uint16_t mark) {
    const char *key;
    json_t *value;
    jinja_value dict = mla_jinja_dict(m);
    json_object_foreach((json_t *)(uintptr_t)json, key, value) {
        if (m->status) break;
        mla_jinja_dict_set(m, dict.dict, key_of(m, key, mark), mla_jinja_from_json(m, value, mark));
    }
    return dict;
}

jinja_value mla_jinja_from_json(jinja_machine *m, const json_t *json, uint16_t mark) {
    jinja_value value = mla_jinja_none();
    if (!mla_jinja_enter(m)) json = NULL;
    if (json_is_array(json)) value = from_list(m, json, mark);
    else if (json_is_object(json)) value = from_object(m, json, mark);
    else if (json_is_string(json))
        value = mla_jinja_string(m, json_string_value(json), (int64_t)json_string_length(json), mark);
    else if (json_is_integer(json)) value = mla_jinja_int(json_integer_value(json));
    else if (json_is_real(json)) value = mla_jinja_float(json_real_value(json));
    else if (json_is_boolean(json)) value = mla_jinja_bool(json_is_true(json));
    m->depth--;
    return value;
}

/* ---- messages ---- */

static mla_jinja_field field_of(const char *key) {
    if (!strcmp(key, "content")) return MLA_JINJA_CONTENT;
    if (!strcmp(key, "reasoning_content") || !strcmp(key, "reasoning") || !strcmp(key, "thinking"))
        return MLA_JINJA_REASONING;
    return strcmp(key, "tool_calls") ? MLA_JINJA_OTHER : MLA_JINJA_TOOL_CALLS;
}

/* Names of roles may be spelled out within special tokens. */
static bool is_role(const char *key, const json_t *value) {
    static const char *const roles[] = {"system", "user", "assistant", "tool", "developer", "function", "ipython"};
    const char *role = json_string_value(value);
    for (size_t i = 0; role && !strcmp(key, "role") && i < sizeof roles / sizeof *roles; i++)
        if (!strcmp(role, roles[i])) return true;
    return false;
}

static jinja_value from_message(jinja_machine *m, const json_t *json, int64_t i) {
    const char *key;
    json_t *value;
    jinja_value dict = mla_jinja_dict(m);
    if (!json_is_object(json)) mla_jinja_fail(m, "message %lld is no object", (long long)i);
    json_object_foreach((json_t *)(uintptr_t)json, key, value) {
        if (m->status) break;
        const uint16_t mark = is_role(key, value) ? MLA_JINJA_TEMPLATE : mla_jinja_mark(i, field_of(key));
        if (!json_is_null(value))
            mla_jinja_dict_set(m, dict.dict, key_of(m, key, MLA_JINJA_DATA), mla_jinja_from_json(m, value, mark));
    }
    return dict;
}

jinja_value mla_jinja_messages(jinja_machine *m, const json_t *json) {
    const size_t count = json_array_size(json);
    jinja_value list = mla_jinja_list(m, JINJA_A_LIST, (int64_t)count);
    if (count > MLA_JINJA_MOST_MESSAGES)
        mla_jinja_fail(m, "a conversation has more than %d messages", MLA_JINJA_MOST_MESSAGES);
    for (size_t i = 0; i < count && !m->status; i++)
        mla_jinja_append(m, list.list, from_message(m, json_array_get(json, i), (int64_t)i));
    return list;
}
