/* One message: its role, its content, and whether it is to be learned. */
#include "data/text/chat_internal.h"

#include <string.h>
#include <strings.h>

static mla_status wrong_message(const chat_reader *r, const char *what) {
    return mla_chat_wrong(r, "message %lld: %s", (long long)r->chat->count + 1, what);
}

/* ---- content ---- */

/* Parts of type text, one after the other, as one text. */
static mla_status join_parts(const chat_reader *r, const json_t *parts, json_t **out) {
    json_t *text = json_stringn("", 0);
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i), *words = json_object_get(part, "text");
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!type || strcmp(type, "text") || !json_is_string(words)) {
            json_decref(text);
            return mla_chat_wrong(r,
                                  "message %lld: its \"content\" has a part of type \"%.40s\": only text is read here",
                                  (long long)r->chat->count + 1, type ? type : "?");
        }
        text = mla_chat_longer(text, json_string_value(words), json_string_length(words));
    }
    *out = text;
    return text ? MLA_OK : mla_fail(r->context, MLA_ERROR_MEMORY, "no memory for a conversation");
}

static mla_status read_content(const chat_reader *r, json_t *message) {
    json_t *content = json_object_get(message, "content"), *joined = NULL;
    const bool none = !content || json_is_null(content),
               says_more = json_object_get(message, "tool_calls") || json_object_get(message, "reasoning_content");
    if (none && says_more) return MLA_OK;
    if (json_is_string(content)) return MLA_OK;
    if (!json_is_array(content)) return wrong_message(r, "has no \"content\" that is text");
    const mla_status status = join_parts(r, content, &joined);
    if (!status) json_object_set_new(message, "content", joined);
    return status;
}

/* ---- what is learned ---- */

/* What a key says: whether to learn the answer; -1: nothing that is known. */
static int says(const char *key, const json_t *value) {
    if (json_is_boolean(value) && strcmp(key, "weight")) return json_is_true(value) != !strcmp(key, "masked");
    if (!json_is_number(value) || !strcmp(key, "masked")) return -1;
    return json_number_value(value) == 1 ? 1 : json_number_value(value) == 0 ? 0 : -1;
}

static const char *const weight_keys[] = {"weight", "train", "loss", "masked"};
enum { WEIGHT_KEYS = sizeof weight_keys / sizeof *weight_keys };

static mla_status read_weight(const chat_reader *r, json_t *message, bool is_answer, bool *learned) {
    const char *const *keys = weight_keys;
    for (int i = 0; i < WEIGHT_KEYS; i++) {
        const json_t *value = json_object_get(message, keys[i]);
        if (!value || json_is_null(value)) continue;
        const int learn = says(keys[i], value);
        if (learn < 0)
            return mla_chat_wrong(r,
                                  "message %lld: \"%s\" is neither yes nor no (weight: 0 or 1; train, loss, masked: "
                                  "true or false): an answer is learned or not",
                                  (long long)r->chat->count + 1, keys[i]);
        if (learn && !is_answer && strcmp(keys[i], "masked"))
            return mla_chat_wrong(
                r,
                "message %lld: \"%s\" asks to learn what is no answer: only messages of the assistant "
                "are learned",
                (long long)r->chat->count + 1, keys[i]);
        *learned &= learn;
        json_object_del(message, keys[i]);
    }
    return MLA_OK;
}

/* What else these keys hold in a line (the name of a split, a measure) says nothing of its answers, but for a weight.
 */
mla_status mla_chat_read_line_weight(chat_reader *r) {
    r->may_learn = true;
    for (int i = 0; i < WEIGHT_KEYS; i++) {
        const json_t *value = json_object_get(r->line, weight_keys[i]);
        const int learn = value ? says(weight_keys[i], value) : -1;
        if (learn < 0 && i == 0 && json_is_number(value))
            return mla_chat_wrong(r, "has a \"weight\" other than 0 and 1: a conversation is learned or not");
        r->may_learn &= learn != 0;
    }
    return MLA_OK;
}

/* Others that would say what is learned, if we knew how, by their words: loss_mask, trainable, compute_loss ... */
static bool seems_to_say(const char *key) {
    static const char *const words[] = {"mask", "train", "loss", "learn", "weight"};
    static const char *const keys[] = {"ignore", "skip", "label", "function_call"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasestr(key, words[i])) return true;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcasecmp(key, keys[i])) return true;
    return false;
}

/* Those that are read are gone by now. */
static mla_status check_keys(const chat_reader *r, json_t *message) {
    const char *key;
    json_t *value;
    json_object_foreach(message, key, value) if (seems_to_say(key) && !json_is_null(value)) return mla_chat_wrong(
        r,
        "message %lld: the key \"%s\" is not read here: what is not to be learned has \"weight\": 0, calls of "
        "functions are \"tool_calls\"",
        (long long)r->chat->count + 1, key);
    return MLA_OK;
}

/* ---- all of it ---- */

static mla_status read_role(const chat_reader *r, const json_t *message, bool *is_answer) {
    static const char *const roles[] = {"system", "user", "assistant", "tool", "developer", "function", "ipython"};
    const char *role = json_string_value(json_object_get(message, "role"));
    if (!role) return wrong_message(r, "has no \"role\"");
    *is_answer = !strcmp(role, "assistant");
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (!strcmp(role, roles[i])) return MLA_OK;
    return mla_chat_wrong(r,
                          "message %lld: \"%.40s\" is no role: expected system, user, assistant, tool, developer, "
                          "function or ipython",
                          (long long)r->chat->count + 1, role);
}

/* Reasoning has the name that most templates read, and gpt-oss' as well, as transformers has it. */
static void name_reasoning(json_t *message) {
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    json_t *found = NULL;
    for (int i = 0; i < 3 && !found; i++)
        if (json_is_string(json_object_get(message, names[i]))) found = json_object_get(message, names[i]);
    if (!found) return;
    json_incref(found);
    if (!json_is_string(json_object_get(message, "thinking"))) json_object_set(message, "thinking", found);
    json_object_set_new(message, "reasoning_content", found);
}

mla_status mla_chat_add(chat_reader *r, json_t *message, bool may_learn) {
    mla_chat *chat = r->chat;
    bool is_answer = false, learned = may_learn && r->may_learn;
    mla_status status = mla_grow(r->context, &chat->learned, &chat->capacity, chat->count + 1, sizeof *chat->learned,
                                 "the messages of a conversation");
    if (!status) status = read_role(r, message, &is_answer);
    if (!status) status = read_weight(r, message, is_answer, &learned);
    if (!status) status = check_keys(r, message);
    if (!status) name_reasoning(message);
    if (!status) status = read_content(r, message);
    if (status) return json_decref(message), status;
    if (json_array_append_new(chat->messages, message))
        return mla_fail(r->context, MLA_ERROR_MEMORY, "no memory for a conversation");
    chat->learned[chat->count++] = is_answer && learned;
    return MLA_OK;
}

mla_status mla_chat_say(chat_reader *r, const char *role, json_t *content) {
    json_t *message = json_pack("{s:s}", "role", role);
    if (!message || json_object_set_new(message, "content", content)) {
        json_decref(message);
        return mla_fail(r->context, MLA_ERROR_MEMORY, "no memory for a conversation");
    }
    return mla_chat_add(r, message, true);
}
