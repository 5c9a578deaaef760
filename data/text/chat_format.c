/* The forms in which conversations are written: which one a line has, and its messages. */
#include "data/text/chat_internal.h"

#include <stdio.h>
#include <string.h>

static json_t *get(const chat_reader *r, const char *key) {
    json_t *value = json_object_get(r->line, key);
    return json_is_null(value) ? NULL : value;
}

/* ---- ShareGPT ---- */

/* {"name": ..., "arguments": ...} as text, or a list of them, as tool_calls. */
static mla_status calls_of(const chat_reader *r, const json_t *value, json_t *message) {
    json_t *parsed = NULL;
    const mla_status status = mla_chat_read_text(r, "a function_call", value, &parsed);
    if (status) return status;
    json_t *calls = json_array(), *list = json_is_array(parsed) ? json_incref(parsed) : json_pack("[O]", parsed);
    bool right = json_array_size(list) > 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *call = json_array_get(list, i);
        right &= json_is_string(json_object_get(call, "name"));
        json_array_append_new(calls, json_pack("{s:s, s:O}", "type", "function", "function", call));
    }
    json_object_set_new(message, "tool_calls", calls);
    json_decref(list);
    json_decref(parsed);
    if (right) return MLA_OK;
    return mla_chat_wrong(r, "message %lld: a function_call is JSON with \"name\" and \"arguments\"",
                          (long long)r->chat->count + 1);
}

static const char *role_from(const char *from) {
    static const char *const roles[][2] = {{"human", "user"},
                                           {"user", "user"},
                                           {"gpt", "assistant"},
                                           {"assistant", "assistant"},
                                           {"system", "system"},
                                           {"tool", "tool"},
                                           {"observation", "tool"},
                                           {"function_response", "tool"},
                                           {"function_call", "assistant"}};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (!strcmp(from, roles[i][0])) return roles[i][1];
    return NULL;
}

static mla_status share_gpt(chat_reader *r, const json_t *from, bool may_learn) {
    const char *name = json_string_value(json_object_get(from, "from"));
    const char *role = name ? role_from(name) : NULL;
    json_t *value = json_object_get(from, "value");
    if (!role)
        return mla_chat_wrong(r,
                              "message %lld: \"%.40s\" is no \"from\": expected human, gpt, system, tool, "
                              "function_call or observation",
                              (long long)r->chat->count + 1, name ? name : "?");
    if (!json_is_string(value))
        return mla_chat_wrong(r, "message %lld: has no \"value\" that is text", (long long)r->chat->count + 1);
    json_t *message = json_copy((json_t *)(uintptr_t)from);
    json_object_del(message, "from");
    json_object_del(message, "value");
    json_object_set_new(message, "role", json_string(role));
    if (!strcmp(name, "function_call")) {
        const mla_status status = calls_of(r, value, message);
        if (status) return json_decref(message), status;
    } else json_object_set(message, "content", value);
    return mla_chat_add(r, message, may_learn);
}

mla_status mla_chat_add_all(chat_reader *r, const char *key, const json_t *messages, bool may_learn) {
    mla_status status = MLA_OK;
    if (!json_is_array(messages)) return mla_chat_wrong(r, "\"%s\" is no list", key);
    for (size_t i = 0; i < json_array_size(messages) && !status; i++) {
        json_t *message = json_array_get(messages, i);
        const bool from = json_object_get(message, "from") && !json_object_get(message, "role");
        if (!json_is_object(message)) status = mla_chat_wrong(r, "message %zu: has no \"role\"", i + 1);
        else status = from ? share_gpt(r, message, may_learn) : mla_chat_add(r, json_copy(message), may_learn);
    }
    return status;
}

/* ---- pairs ---- */

static mla_status pair(chat_reader *r, const char *prompt_key, const char *completion_key) {
    json_t *prompt = get(r, prompt_key), *completion = get(r, completion_key);
    const bool texts = json_is_string(prompt) && json_is_string(completion);
    if (json_is_array(prompt) && json_is_array(completion)) {
        const mla_status status = mla_chat_add_all(r, prompt_key, prompt, false);
        return status ? status : mla_chat_add_all(r, completion_key, completion, true);
    }
    if (!texts)
        return mla_chat_wrong(r, "\"%s\" and \"%s\" must both be text, or both lists of messages", prompt_key,
                              completion_key);
    const mla_status status = mla_chat_say(r, "user", json_incref(prompt));
    return status ? status : mla_chat_say(r, "assistant", json_incref(completion));
}

/* The prompts of Taori et al. 2023, "Stanford Alpaca". */
static mla_status alpaca(chat_reader *r) {
    json_t *instruction = get(r, "instruction"), *input = get(r, "input"), *output = get(r, "output");
    if (!json_is_string(instruction) || !json_is_string(output) || (input && !json_is_string(input)))
        return mla_chat_wrong(r, "\"instruction\", \"input\" and \"output\" must be text");
    json_t *text = json_string(
        json_string_length(input) ? "Below is an instruction that describes a task, paired with an input that provides "
                                    "further context. Write a response that appropriately completes the request.\n\n"
                                    "### Instruction:\n"
                                  : "Below is an instruction that describes a task. Write a response that "
                                    "appropriately completes the request.\n\n### Instruction:\n");
    text = mla_chat_longer(text, json_string_value(instruction), json_string_length(instruction));
    if (json_string_length(input)) {
        text = mla_chat_longer(text, "\n\n### Input:\n", 14);
        text = mla_chat_longer(text, json_string_value(input), json_string_length(input));
    }
    text = mla_chat_longer(text, "\n\n### Response:", 15);
    const mla_status status = mla_chat_say(r, "user", text);
    return status ? status : mla_chat_say(r, "assistant", json_incref(output));
}

/* ---- which form it is ---- */

static mla_status not_recognised(const chat_reader *r) {
    char found[200] = "";
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)r->line, key, value) {
        const size_t length = strlen(found);
        snprintf(found + length, sizeof found - length, "%s\"%.30s\"", length ? ", " : "", key);
    }
    return mla_chat_wrong(
        r,
        "is no conversation: expected \"messages\", \"conversations\", \"prompt\" and \"completion\", or "
        "\"instruction\" and \"output\"; found %s. Other keys are named by data.fields, or --fields, "
        "as in prompt=question,completion=answer",
        *found ? found : "no keys");
}

static mla_status only_one(const chat_reader *r) {
    static const char *const forms[][2] = {{"messages", "messages"},
                                           {"conversations", "conversations"},
                                           {"conversation", "conversation"},
                                           {"prompt", "completion"},
                                           {"instruction", "output"}};
    const char *first = NULL;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (!get(r, forms[i][0]) && !get(r, forms[i][1])) continue;
        if (first)
            return mla_chat_wrong(r, "has both \"%s\" and \"%s\": which of them is the conversation?", first,
                                  get(r, forms[i][0]) ? forms[i][0] : forms[i][1]);
        first = get(r, forms[i][0]) ? forms[i][0] : forms[i][1];
    }
    return MLA_OK;
}

mla_status mla_chat_read_messages(chat_reader *r) {
    static const char *const lists[] = {"messages", "conversations", "conversation"};
    if (r->fields && r->fields->prompt) return pair(r, r->fields->prompt, r->fields->completion);
    const mla_status status = only_one(r);
    if (status) return status;
    for (int i = 0; i < 3; i++)
        if (get(r, lists[i])) return mla_chat_add_all(r, lists[i], get(r, lists[i]), true);
    if (get(r, "prompt") && get(r, "completion")) return pair(r, "prompt", "completion");
    if (get(r, "instruction") && get(r, "output")) return alpaca(r);
    return not_recognised(r);
}
