#include "train/hugging_face/tokenizer_files.h"
#include "autograd/base/file.h"
#include "autograd/schema/fields.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LARGEST_CONFIG_FILE = 1 << 24 };

typedef struct {
    mla_context *context;
    char path[PATH_MAX]; /* of tokenizer_config.json */
    json_t *config;      /* what is in it; NULL where there is none */
} tokenizer_config;

mla_status mla_beside_tokenizer(mla_context *context, const char *tokenizer, const char *name, char out[PATH_MAX]) {
    const char *slash = strrchr(tokenizer, '/');
    struct stat info;
    const bool folder = !stat(tokenizer, &info) && S_ISDIR(info.st_mode);
    const int length = folder ? (int)strnlen(tokenizer, PATH_MAX) : slash ? (int)(slash - tokenizer + 1) : 0;
    if (snprintf(out, PATH_MAX, "%.*s%s%s", length, tokenizer, folder ? "/" : "", name) < PATH_MAX) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT, "%.100s...: the path is too long", tokenizer);
}

static mla_status open_config(tokenizer_config *c, const char *tokenizer) {
    char *text = NULL, where[PATH_MAX + 4];
    int64_t length;
    mla_status status = mla_beside_tokenizer(c->context, tokenizer, "tokenizer_config.json", c->path);
    if (status || access(c->path, F_OK)) return status;
    snprintf(where, sizeof where, "%s: ", c->path);
    status = mla_file_read(c->context, &text, &length, c->path, LARGEST_CONFIG_FILE);
    if (!status) status = mla_json_parse(c->context, where, text, &c->config);
    free(text);
    return status;
}

/* "bos_token": "<s>" or {"content": "<s>", ...}; NULL: none. */
static const char *config_token(const tokenizer_config *c, const char *key) {
    const json_t *token = json_object_get(c->config, key);
    return json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
}

/* ---- the post-processor that does what the configuration says ---- */

/* Adds a token to a template: {"SpecialToken": ...} to what it makes of a text, and the ids that it stands for. */
static mla_status add_special(const tokenizer_config *c, const mla_tokenizer *tokenizer, const char *key,
                              json_t *single, json_t *tokens) {
    const char *text = config_token(c, key);
    const int32_t id = mla_tokenizer_added(tokenizer, text);
    if (id < 0)
        return mla_fail(c->context, MLA_ERROR_FORMAT,
                        "%s: add_%s is true, but its %s \"%.80s\" is not among the added_tokens of tokenizer.json: add "
                        "it there, or set add_%s to false",
                        c->path, key, key, text, key);
    json_array_append_new(single, json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", text, "type_id", 0));
    json_object_set_new(tokens, text, json_pack("{s:s, s:[i], s:[s]}", "id", text, "ids", id, "tokens", text));
    return MLA_OK;
}

/* The same for the second text of a pair. */
static json_t *second_of(const json_t *single) {
    json_t *second = json_deep_copy(single), *part, *inner;
    size_t i;
    json_array_foreach(second, i, part) {
        inner = json_object_iter_value(json_object_iter(part));
        json_object_set_new(inner, "type_id", json_integer(1));
        if (json_object_get(part, "Sequence")) json_object_set_new(inner, "id", json_string("B"));
    }
    return second;
}

/* The text, with the tokens that are wanted around it; of pairs, which are never made here, the same twice. */
static mla_status make_template(const tokenizer_config *c, const mla_tokenizer *tokenizer, bool bos, bool eos,
                                json_t **out) {
    json_t *single = json_array(), *tokens = json_object();
    mla_status status = bos ? add_special(c, tokenizer, "bos_token", single, tokens) : MLA_OK;
    json_array_append_new(single, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0));
    if (!status && eos) status = add_special(c, tokenizer, "eos_token", single, tokens);
    json_t *pair = json_deep_copy(single), *second = second_of(single);
    json_array_extend(pair, second);
    json_decref(second);
    *out = json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair", pair,
                     "special_tokens", tokens);
    if (!status && !*out) status = mla_fail(c->context, MLA_ERROR_MEMORY, "no memory for a post_processor");
    return status;
}

/* The template takes the place of a post-processor that puts nothing, or follows it. */
static mla_status rewrite(const tokenizer_config *c, json_t *template_, const char *path, mla_tokenizer **tokenizer) {
    char *text = mla_tokenizer_json(c->context, *tokenizer);
    json_t *root = NULL, *old;
    mla_status status = text ? mla_json_parse(c->context, path, text, &root) : MLA_ERROR_MEMORY;
    free(text);
    if (status) return status;
    old = json_object_get(root, "post_processor");
    json_object_set_new(root, "post_processor",
                        old && !json_is_null(old)
                            ? json_pack("{s:s, s:[O, O]}", "type", "Sequence", "processors", old, template_)
                            : json_incref(template_));
    text = mla_json_text(c->context, root);
    json_decref(root);
    mla_tokenizer_destroy(*tokenizer);
    *tokenizer = NULL;
    status = text ? mla_tokenizer_parse(c->context, tokenizer, text, (int64_t)strlen(text)) : MLA_ERROR_MEMORY;
    free(text);
    return status;
}

/* ---- both files ---- */

/* Whether a token is to be put that the post-processor, which puts `count` there, does not put. */
static bool wants(const tokenizer_config *c, const char *key, int64_t count) {
    const json_t *value = json_object_get(c->config, key);
    const char *token = key + strlen("add_");
    if (count && json_is_false(value))
        mla_warn(c->context, "%s: %s is false, but the post_processor of tokenizer.json puts one: it is followed",
                 c->path, key);
    if (count || !json_is_true(value)) return false;
    if (!config_token(c, token))
        mla_warn(c->context, "%s: %s is true, but there is no %s: texts are read without", c->path, key, token);
    return config_token(c, token) != NULL;
}

static mla_status apply(const tokenizer_config *c, const char *path, mla_tokenizer **tokenizer) {
    const mla_frame frame = mla_tokenizer_frame(*tokenizer);
    const bool bos = wants(c, "add_bos_token", frame.before_count);
    const bool eos = wants(c, "add_eos_token", frame.behind_count);
    json_t *template_ = NULL;
    if (!bos && !eos) return MLA_OK;
    mla_status status = make_template(c, *tokenizer, bos, eos, &template_);
    if (!status) status = rewrite(c, template_, path, tokenizer);
    json_decref(template_);
    return status;
}

mla_status mla_tokenizer_load_files(mla_context *context, mla_tokenizer **out, const char *path) {
    tokenizer_config c = {.context = context};
    char file[PATH_MAX];
    struct stat info;
    const bool folder = !stat(path, &info) && S_ISDIR(info.st_mode);
    *out = NULL;
    mla_status status = folder ? mla_beside_tokenizer(context, path, "tokenizer.json", file) : MLA_OK;
    if (!status) status = mla_tokenizer_load(context, out, folder ? file : path);
    if (!status) status = open_config(&c, path);
    if (!status) status = apply(&c, path, out);
    if (status) {
        mla_tokenizer_destroy(*out);
        *out = NULL;
    }
    json_decref(c.config);
    return status;
}
