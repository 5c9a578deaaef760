#include "train/commands/inference/prompt.h"
#include "autograd/base/file.h"
#include "autograd/json/tree.h"
#include "data/text/records.h"
#include "data/text/text_source.h"
#include "train/hugging_face/chat_files.h"
#include "train/recipe/recipe.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_PROMPT = 64 << 20 }; /* bytes */

void mla_prompter_free(mla_prompter *p) {
    mla_chat_encoder_destroy(p->chat);
    mla_encoder_destroy(p->encoder);
}

void mla_prompt_free(mla_prompt *prompt) {
    free(prompt->ids.ids);
    json_decref(prompt->id);
}

/* ---- conversations ---- */

/* As the recipe of the model has it, where the options do not say. */
static mla_status read_recipe(const mla_prompter *p, mla_recipe *recipe) {
    const mla_checkpoint *checkpoint = p->loaded->checkpoint;
    const char *json = mla_checkpoint_recipe(checkpoint);
    return json ? mla_recipe_parse_json(p->context, mla_checkpoint_path(checkpoint), json, recipe) : MLA_OK;
}

static mla_status create_chat_encoder(mla_prompter *p) {
    const mla_prompt_options *o = &p->options;
    mla_recipe recipe = {0};
    mla_chat_files files = {0};
    mla_status status = read_recipe(p, &recipe);
    const mla_chat_template chosen = o->chat_template == MLA_CHAT_AUTO ? recipe.data.chat_template : o->chat_template;
    if (!status && chosen == MLA_CHAT_AUTO)
        status = mla_chat_files_of_checkpoint(p->context, mla_checkpoint_hugging_face(p->loaded->checkpoint), &files);
    const mla_chat_options chat = {chosen, files.chat_template, files.tokens, o->date ? o->date : recipe.data.date};
    if (!status) status = mla_chat_encoder_create(p->context, &p->chat, p->loaded->tokenizer, &chat);
    mla_chat_files_free(&files);
    mla_recipe_free(&recipe);
    return status;
}

/* A conversation, and all that stands before the answer; the ending is what stands after it. */
static mla_status encode_chat(mla_prompter *p, const char *where, const mla_chat *chat, mla_prompt *out) {
    mla_status status = p->chat ? MLA_OK : create_chat_encoder(p);
    if (!status) status = mla_chat_encode_prompt(p->context, p->chat, where, chat, &out->ids);
    if (!status) status = mla_chat_ending(p->context, p->chat, &out->ending);
    out->begins = true;
    return status;
}

static mla_status ask(mla_prompter *p, const char *where, const char *text, int64_t length, mla_prompt *out) {
    mla_chat chat = {0};
    mla_status status = mla_chat_ask(p->context, text, length, &chat);
    if (!status) status = encode_chat(p, where, &chat, out);
    mla_chat_free(&chat);
    return status;
}

/* ---- texts ---- */

static mla_status append_ids(mla_context *context, mla_id_list *out, const int32_t *ids, int64_t count) {
    const mla_status status = mla_grow(context, &out->ids, &out->capacity, out->count + count, sizeof *out->ids,
                                       "the prompt");
    for (int64_t i = 0; i < count && !status; i++) out->ids[out->count++] = ids[i];
    return status;
}

/* What the tokenizer puts before a text. What it puts behind one would be in the way: the text goes on. */
static mla_status begin_text(const mla_prompter *p, mla_id_list *out) {
    const mla_frame frame = mla_tokenizer_frame(p->loaded->tokenizer);
    return p->options.no_bos ? MLA_OK : append_ids(p->context, out, frame.before, frame.before_count);
}

static mla_status create_encoder(mla_prompter *p) {
    const mla_encoder_options kind = {.added = p->options.special ? MLA_ADDED_ALL : MLA_ADDED_PLAIN};
    return mla_encoder_create(p->context, &p->encoder, p->loaded->tokenizer, &kind);
}

/* The start of a document. */
static mla_status begin_document(const mla_prompter *p, mla_prompt *out) {
    const mla_status status = begin_text(p, &out->ids);
    out->begins = true;
    return status || out->ids.count ? status : append_ids(p->context, &out->ids, &out->ending, 1);
}

mla_status mla_prompt_of_text(mla_prompter *p, const char *where, const char *text, int64_t length, mla_prompt *out) {
    out->ending = mla_tokenizer_separator(p->loaded->tokenizer);
    if (!text) return begin_document(p, out);
    if (p->options.chat) return ask(p, where, text, length, out);
    mla_status status = begin_text(p, &out->ids);
    if (!status && !p->encoder) status = create_encoder(p);
    if (!status) status = mla_encoder_encode(p->context, p->encoder, text, length, &out->ids);
    if (!status && !out->ids.count) status = append_ids(p->context, &out->ids, &out->ending, 1);
    return status;
}

mla_status mla_prompt_of_file(mla_prompter *p, const char *path, mla_prompt *out) {
    char *text = NULL;
    int64_t length = 0;
    mla_status status = mla_file_read(p->context, &text, &length, path, LONGEST_PROMPT);
    if (!status && !length)
        status = mla_fail(p->context, MLA_ERROR_ARGUMENT,
                          "%s: the prompt is empty; without --prompt-file the text "
                          "starts a new document",
                          path);
    if (!status) status = mla_prompt_of_text(p, path, text, length, out);
    free(text);
    return status;
}

/* ---- lists ---- */

static mla_status read_messages(mla_prompter *p, const mla_document *line, mla_prompt *out) {
    mla_chat chat = {0};
    mla_status status = mla_chat_parse(p->context, line->name, line->bytes, line->length, NULL, &chat);
    if (!status) status = encode_chat(p, line->name, &chat, out);
    mla_chat_free(&chat);
    return status;
}

/* Beside a text, only "id" means something. */
static mla_status check_keys(const mla_prompter *p, const char *where, json_t *object) {
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) if (strcmp(key, "prompt") && strcmp(key, "id")) return mla_fail(
        p->context, MLA_ERROR_FORMAT,
        "%s: the key \"%s\" means nothing beside \"prompt\": a line has \"prompt\" or "
        "\"messages\", and \"id\"; what is the same for all is an option",
        where, key);
    return MLA_OK;
}

static mla_status read_object(mla_prompter *p, const mla_document *line, mla_prompt *out) {
    json_t *object = NULL;
    mla_status status = mla_json_read(p->context, line->name, line->bytes, line->length,
                                      MLA_JSON_UNIQUE | MLA_JSON_ZEROS | MLA_JSON_LINE, &object);
    const json_t *prompt = json_object_get(object, "prompt");
    if (status) return status;
    out->id = json_incref(json_object_get(object, "id"));
    if (json_object_get(object, "messages")) {
        if (prompt)
            status = mla_fail(p->context, MLA_ERROR_FORMAT, "%s: give either \"prompt\" or \"messages\", not both",
                              line->name);
        else status = read_messages(p, line, out);
    } else if (!json_is_string(prompt))
        status = mla_fail(p->context, MLA_ERROR_FORMAT, "%s: needs \"prompt\", a text, or \"messages\", a conversation",
                          line->name);
    else if (!(status = check_keys(p, line->name, object)))
        status = mla_prompt_of_text(p, line->name, json_string_value(prompt), (int64_t)json_string_length(prompt), out);
    json_decref(object);
    return status;
}

static mla_status add_line(mla_prompter *p, const mla_document *line, bool json, mla_prompt_list *out) {
    const mla_status status = mla_grow(p->context, &out->items, &out->capacity, out->count + 1, sizeof *out->items,
                                       "the prompts");
    if (status) return status;
    mla_prompt *prompt = &out->items[out->count++];
    *prompt = (mla_prompt){.ending = mla_tokenizer_separator(p->loaded->tokenizer)};
    if (json) return read_object(p, line, prompt);
    return mla_prompt_of_text(p, line->name, line->bytes, line->length, prompt);
}

mla_status mla_prompts_read(mla_prompter *p, const char *path, mla_prompt_list *out) {
    const mla_text_options options = {.paths = &path, .count = 1, .lines = true};
    mla_text_source *source = NULL;
    const mla_document *line;
    bool json = mla_records_named(path);
    mla_status status = mla_text_open(p->context, &source, &options);
    while (!status && !(status = mla_text_next(source, &line)) && line) {
        json |= !out->count && mla_records_first_is_object(line->bytes, line->length);
        status = add_line(p, line, json, out);
    }
    mla_text_close(source);
    return status;
}

void mla_prompts_free(mla_prompt_list *prompts) {
    for (int64_t i = 0; i < prompts->count; i++) mla_prompt_free(&prompts->items[i]);
    free(prompts->items);
}
