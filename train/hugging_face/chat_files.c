#include "train/hugging_face/chat_files.h"
#include "autograd/base/file.h"
#include "autograd/schema/fields.h"
#include "train/hugging_face/tokenizer_files.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGEST_TEXT = 1 << 24 };

void mla_chat_files_free(mla_chat_files *files) {
    free(files->chat_template);
    json_decref(files->tokens);
    *files = (mla_chat_files){0};
}

/* A text, or a list of {"name", "template"}, of which "default" is the one. */
static mla_status copy_template(mla_context *context, const json_t *json, char **out) {
    const json_t *entry;
    size_t i;
    json_array_foreach(json, i, entry) {
        const char *name = json_string_value(json_object_get(entry, "name"));
        const json_t *text = json_object_get(entry, "template");
        if (name && !strcmp(name, "default") && json_is_string(text)) return copy_template(context, text, out);
    }
    if (json_is_array(json) && json_array_size(json))
        return mla_fail(context, MLA_ERROR_FORMAT,
                        "tokenizer_config.json: chat_template is a list without one that is named default: choose a "
                        "template by data.template, or --template");
    if (!json_is_string(json)) return MLA_OK;
    *out = strdup(json_string_value(json));
    return *out ? MLA_OK : mla_fail(context, MLA_ERROR_MEMORY, "no memory for a chat_template");
}

mla_status mla_chat_files_of_checkpoint(mla_context *context, const char *hugging_face, mla_chat_files *out) {
    json_t *json = NULL;
    mla_status status = hugging_face ? mla_json_parse(context, "/config/hugging_face: ", hugging_face, &json) : MLA_OK;
    json_t *config = json_object_get(json, "tokenizer_config.json");
    if (config) out->tokens = json_incref(config);
    if (!status) status = copy_template(context, json_object_get(json, "chat_template.jinja"), &out->chat_template);
    if (!status && !out->chat_template)
        status = copy_template(context, json_object_get(config, "chat_template"), &out->chat_template);
    json_decref(json);
    return status;
}

/* A text of the folder; NULL where it has no such file. */
static mla_status read_beside(mla_context *context, const char *tokenizer, const char *name, char **out) {
    char path[PATH_MAX];
    int64_t length;
    *out = NULL;
    const mla_status status = mla_beside_tokenizer(context, tokenizer, name, path);
    return status || access(path, F_OK) ? status : mla_file_read(context, out, &length, path, LARGEST_TEXT);
}

mla_status mla_chat_files_beside(mla_context *context, const char *tokenizer, mla_chat_files *out) {
    char *text = NULL;
    mla_status status = read_beside(context, tokenizer, "chat_template.jinja", &out->chat_template);
    if (!status) status = read_beside(context, tokenizer, "tokenizer_config.json", &text);
    if (!status && text) status = mla_json_parse(context, "tokenizer_config.json: ", text, &out->tokens);
    if (!status && !out->chat_template)
        status = copy_template(context, json_object_get(out->tokens, "chat_template"), &out->chat_template);
    free(text);
    return status;
}

mla_status mla_chat_files_keep(mla_context *context, const char *tokenizer, const char *chat_template, char **out) {
    char *config = NULL, *program = NULL;
    json_t *all = json_object(), *json = NULL;
    *out = NULL;
    mla_status status = read_beside(context, tokenizer, "tokenizer_config.json", &config);
    if (!status) status = read_beside(context, tokenizer, "chat_template.jinja", &program);
    if (!status && config) status = mla_json_parse(context, "tokenizer_config.json: ", config, &json);
    if (json) json_object_set_new(all, "tokenizer_config.json", json);
    if (chat_template) json_object_set_new(all, "chat_template.jinja", json_string(chat_template));
    else if (program) json_object_set_new(all, "chat_template.jinja", json_string(program));
    if (!status && json_object_size(all) && !(*out = mla_json_text(context, all))) status = mla_error_status(context);
    json_decref(all);
    free(config);
    free(program);
    return status;
}

static mla_status write_to(mla_context *context, const char *folder, const char *name, const char *text) {
    char path[PATH_MAX];
    if (!text) return MLA_OK;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= PATH_MAX)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%.100s...: the path is too long", folder);
    return mla_file_write(context, path, text, (int64_t)strlen(text));
}

mla_status mla_chat_files_write(mla_context *context, const char *hugging_face, const char *folder) {
    json_t *json = NULL;
    char *text = NULL;
    mla_status status = hugging_face ? mla_json_parse(context, "/config/hugging_face: ", hugging_face, &json) : MLA_OK;
    const json_t *config = json_object_get(json, "tokenizer_config.json");
    if (!status)
        status = write_to(context, folder, "chat_template.jinja",
                          json_string_value(json_object_get(json, "chat_template.jinja")));
    if (!status && config && !(text = mla_json_text(context, config))) status = mla_error_status(context);
    if (!status) status = write_to(context, folder, "tokenizer_config.json", text);
    json_decref(json);
    free(text);
    return status;
}
