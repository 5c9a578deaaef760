#include "train/commands/pictures/subject.h"
#include "autograd/base/file.h"
#include "train/forecast/rehearsal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static mla_status open_checkpoint(mla_context *context, mla_opened_subject *out, const char *path,
                                  const mla_load_options *options) {
    mla_load_options o = *options;
    o.checkpoint = (char *)(uintptr_t)path;
    const mla_status status = mla_load_model(context, &out->loaded, &o);
    if (status) return status;
    out->config = out->loaded.model->config;
    out->subject.model = out->loaded.model;
    out->subject.tokenizer = out->loaded.tokenizer;
    return MLA_OK;
}

/* A recipe that begins with a model has that model's sizes. */
static mla_status base_config(mla_context *context, const char *base, mla_model_config *out) {
    mla_checkpoint *checkpoint;
    const mla_status status = mla_checkpoint_open(context, &checkpoint, base);
    if (status) return status;
    *out = *mla_checkpoint_config(checkpoint);
    mla_checkpoint_close(checkpoint);
    return MLA_OK;
}

static mla_status open_recipe(mla_context *context, mla_opened_subject *out, const char *path,
                              const mla_load_options *options) {
    mla_recipe recipe;
    mla_status status = mla_recipe_load(context, &recipe, path, NULL, 0);
    if (status) return status;
    out->config = recipe.model;
    out->config.vocab_size = mla_rehearsal_vocabulary(&recipe);
    if (recipe.model.head->labels && !recipe.model.num_labels) out->config.num_labels = 2;
    if (recipe.finetune.base) status = base_config(context, recipe.finetune.base, &out->config);
    mla_recipe_free(&recipe);
    if (!status && options->adapter.count)
        status = mla_fail(context, MLA_ERROR_ARGUMENT, "--adapter: %s is a recipe, and adapters go on a checkpoint",
                          path);
    return status ? status : mla_model_config_check(context, path, &out->config);
}

/* The recipe of a run folder that has no checkpoint yet, in `recipe`. */
static mla_status only_recipe(mla_context *context, const char *dir, char recipe[PATH_MAX], bool *is) {
    int64_t checkpoints;
    snprintf(recipe, PATH_MAX, "%s/recipe.yaml", dir);
    *is = false;
    if (access(recipe, F_OK)) return MLA_OK;
    const mla_status status = mla_checkpoint_count(context, dir, &checkpoints);
    *is = !status && !checkpoints;
    return status;
}

mla_status mla_subject_open(mla_context *context, mla_opened_subject *out, const char *path,
                            const mla_load_options *options) {
    char recipe[PATH_MAX];
    struct stat info;
    bool is_recipe = mla_ends_with(path, ".yaml") || mla_ends_with(path, ".yml") || stat(path, &info);
    *out = (mla_opened_subject){.subject = {.context = context, .name = path, .config = &out->config}};
    if (is_recipe) return open_recipe(context, out, path, options);
    if (S_ISDIR(info.st_mode)) {
        const mla_status status = only_recipe(context, path, recipe, &is_recipe);
        if (status) return status;
    }
    return is_recipe ? open_recipe(context, out, recipe, options) : open_checkpoint(context, out, path, options);
}

/* ---- text */

static mla_status append_ids(mla_context *context, mla_id_list *out, int64_t count) {
    const mla_status status = mla_grow(context, &out->ids, &out->capacity, out->count + count, sizeof *out->ids,
                                       "a text");
    if (!status) out->count += count;
    return status;
}

static mla_status take_stream(mla_context *context, mla_id_list *out, const mla_token_stream *stream) {
    const mla_status status = append_ids(context, out, stream->count);
    if (!status) mla_tokens_copy(stream, 0, stream->count, out->ids);
    return status;
}

static mla_status take_token_file(mla_opened_subject *o, const char *path, mla_token_split split) {
    mla_token_file *file;
    mla_status status = mla_loaded_open_tokens(o->subject.context, &o->loaded, path, &file);
    if (!status) status = take_stream(o->subject.context, &o->ids, mla_token_file_stream(file, split));
    mla_token_file_close(file);
    return status;
}

static mla_status take_texts(mla_opened_subject *o, const mla_list *text, const char *field) {
    mla_text_ids ids = {0};
    mla_context *context = o->subject.context;
    if (text->count == 1 && mla_ends_with(text->items[0], ".h5")) return take_token_file(o, text->items[0], MLA_TRAIN);
    mla_status status = mla_loaded_encode(context, &o->loaded, &(mla_texts){text, field, false}, &ids);
    if (!status) status = take_stream(context, &o->ids, &ids.stream);
    mla_text_ids_free(&ids);
    return status;
}

/* What the run that made the checkpoint held out. */
static mla_status take_held_out(mla_opened_subject *o) {
    char path[PATH_MAX];
    mla_recipe recipe;
    mla_context *context = o->subject.context;
    const char *checkpoint = mla_checkpoint_path(o->loaded.checkpoint),
               *json = mla_checkpoint_recipe(o->loaded.checkpoint);
    const mla_status status = json ? mla_recipe_parse_json(context, checkpoint, json, &recipe)
                                   : mla_recipe_default(context, &recipe);
    if (status) return status;
    mla_loaded_own_tokens(&o->loaded, &recipe, path);
    mla_recipe_free(&recipe);
    if (*path) return take_token_file(o, path, MLA_HELD_OUT);
    return mla_fail(
        context, MLA_ERROR_ARGUMENT,
        "%s: there is no tokens.h5 beside it, of which the held-out text would be read: name a text with --text",
        checkpoint);
}

static mla_status take_sentence(mla_opened_subject *o, const char *text) {
    mla_context *context = o->subject.context;
    const mla_encoder_options kind = {.added = MLA_ADDED_PLAIN};
    mla_encoder *encoder = NULL;
    mla_status status = mla_loaded_expect_tokenizer(context, &o->loaded);
    const mla_frame frame = status ? (mla_frame){0} : mla_tokenizer_frame(o->loaded.tokenizer);
    if (!status) status = append_ids(context, &o->ids, frame.before_count);
    for (int64_t i = 0; i < frame.before_count && !status; i++) o->ids.ids[i] = frame.before[i];
    if (!status) status = mla_encoder_create(context, &encoder, o->loaded.tokenizer, &kind);
    if (!status) status = mla_encoder_encode(context, encoder, text, (int64_t)strlen(text), &o->ids);
    mla_encoder_destroy(encoder);
    return status;
}

mla_status mla_subject_read_text(mla_opened_subject *o, mla_picture_text kind, const mla_list *text,
                                 const char *field) {
    mla_context *context = o->subject.context;
    mla_status status = MLA_OK;
    if (!kind && text->count) return mla_fail(context, MLA_ERROR_ARGUMENT, "--text: this picture is made of no text");
    if (kind == MLA_PICTURE_SENTENCE && text->count > 1)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "--text: %lld sentences; give one", (long long)text->count);
    if (!kind || !o->subject.model) return MLA_OK;
    if (kind == MLA_PICTURE_TEXTS) status = text->count ? take_texts(o, text, field) : take_held_out(o);
    else if (text->count) status = take_sentence(o, text->items[0]);
    o->subject.ids = o->ids.ids;
    o->subject.count = o->ids.count;
    return status;
}

void mla_subject_close(mla_opened_subject *o) {
    free(o->ids.ids);
    mla_loaded_close(&o->loaded);
}
