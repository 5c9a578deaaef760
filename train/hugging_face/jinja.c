#include "train/hugging_face/jinja.h"
#include "autograd/base/file.h"
#include "autograd/schema/fields.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGEST_TEXT = 1 << 24 };

/* A text, or a list of {"name", "template"}, of which "default" is the one. */
static mla_status copy_template(mla_context *context, const json_t *json, char **out) {
    const json_t *entry;
    size_t i;
    *out = NULL;
    json_array_foreach(json, i, entry) {
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (name && !strcmp(name, "default")) return copy_template(context, json_object_get(entry, "template"), out);
    }
    if (!json_is_string(json)) return MLA_OK;
    *out = strdup(json_string_value(json));
    return *out ? MLA_OK : mla_fail(context, MLA_ERROR_MEMORY, "no memory for a chat_template");
}

mla_status mla_jinja_of_checkpoint(mla_context *context, const char *hugging_face, char **out) {
    json_t *json = NULL;
    *out = NULL;
    mla_status status = hugging_face ? mla_json_parse(context, "/config/hugging_face: ", hugging_face, &json) : MLA_OK;
    if (!status) status = copy_template(context, json_object_get(json, "chat_template.jinja"), out);
    if (!status && !*out)
        status = copy_template(context,
                               json_object_get(json_object_get(json, "tokenizer_config.json"), "chat_template"), out);
    json_decref(json);
    return status;
}

/* A text of the folder; NULL where it has no such file. */
static mla_status read_beside(mla_context *context, const char *tokenizer, const char *name, char **out) {
    char path[PATH_MAX];
    const char *slash = strrchr(tokenizer, '/');
    int64_t length;
    *out = NULL;
    snprintf(path, sizeof path, "%.*s%s", slash ? (int)(slash - tokenizer + 1) : 0, tokenizer, name);
    return access(path, F_OK) ? MLA_OK : mla_file_read(context, out, &length, path, LARGEST_TEXT);
}

mla_status mla_jinja_beside(mla_context *context, const char *tokenizer, char **out) {
    char *text;
    json_t *json = NULL;
    mla_status status = read_beside(context, tokenizer, "chat_template.jinja", out);
    if (status || *out) return status;
    status = read_beside(context, tokenizer, "tokenizer_config.json", &text);
    if (!status && text) status = mla_json_parse(context, "tokenizer_config.json: ", text, &json);
    if (!status) status = copy_template(context, json_object_get(json, "chat_template"), out);
    json_decref(json);
    free(text);
    return status;
}
