#include "train/commands/load.h"
#include "data/text/text_source.h"
#include "train/adapter/adapter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static mla_status load_tokenizer(mla_context *context, mla_loaded *l) {
    const char *json = mla_checkpoint_tokenizer(l->checkpoint);
    if (!json) return MLA_OK;
    const mla_status status = mla_tokenizer_parse(context, &l->tokenizer, json, (int64_t)strlen(json));
    const int64_t size = status ? 0 : mla_tokenizer_vocab_size(l->tokenizer);
    if (size <= l->model->config.vocab_size) return status;
    return mla_fail(context, MLA_ERROR_FORMAT, "%s: its tokenizer has %lld tokens, its model %lld",
                    mla_checkpoint_path(l->checkpoint), (long long)size, (long long)l->model->config.vocab_size);
}

/* ---- adapters ---- */

/* "PATH:SHARE"; a path that is there wins over a share. */
static mla_status open_adapter(mla_context *context, const char *text, mla_adapter **out, float *share) {
    char path[PATH_MAX], *end = NULL;
    const char *colon = strrchr(text, ':');
    const double number = colon && access(text, F_OK) ? strtod(colon + 1, &end) : 1;
    const bool has_share = end && end != colon + 1 && !*end;
    *share = has_share ? (float)number : 1;
    if (has_share && !isfinite(number))
        return mla_fail(context, MLA_ERROR_ARGUMENT, "--adapter %s: the share must be a number", text);
    snprintf(path, sizeof path, "%.*s", has_share ? (int)(colon - text) : (int)strlen(text), text);
    if (strpbrk(path, ", ") && access(path, F_OK))
        return mla_fail(context, MLA_ERROR_IO,
                        "there is no adapter %s: it is read as one path, give several one by one", path);
    return mla_adapter_open(context, out, path);
}

typedef struct {
    mla_adapter *items[MLA_MOST_ADAPTERS];
    float shares[MLA_MOST_ADAPTERS];
} adapter_stack;

static mla_status open_adapters(mla_context *context, const mla_list *list, adapter_stack *out) {
    mla_status status = MLA_OK;
    if (list->count > MLA_MOST_ADAPTERS)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%lld adapters; at most %d can be put on a model",
                        (long long)list->count, MLA_MOST_ADAPTERS);
    for (int64_t i = 0; i < list->count && !status; i++)
        status = open_adapter(context, list->items[i], &out->items[i], &out->shares[i]);
    return status;
}

/* The base's configuration, with the head of the first adapter that has one. */
static mla_status choose_config(mla_loaded *l, const adapter_stack *stack, mla_model_config *out) {
    *out = *mla_checkpoint_config(l->checkpoint);
    for (int i = 0; i < MLA_MOST_ADAPTERS && !l->head; i++)
        if (stack->items[i] && mla_adapter_has_head(stack->items[i])) l->head = stack->items[i];
    return l->head ? mla_adapter_take_head(l->head, l->checkpoint, out) : MLA_OK;
}

static mla_status attach_adapters(mla_decoder *model, const adapter_stack *stack) {
    mla_status status = MLA_OK;
    for (int i = 0; i < MLA_MOST_ADAPTERS && !status && stack->items[i]; i++) {
        char name[32];
        snprintf(name, sizeof name, "%d", i);
        status = mla_adapter_attach(stack->items[i], model, name, stack->shares[i]);
    }
    return status;
}

/* The model with its adapters: their tensors are registered before there is memory for any. */
static mla_status load_build(mla_context *context, mla_loaded *l, const mla_list *list) {
    adapter_stack stack = {0};
    mla_model_config config;
    mla_status status = open_adapters(context, list, &stack);
    if (!status) status = choose_config(l, &stack, &config);
    if (!status) status = mla_decoder_create(context, &l->model, &config);
    if (!status) status = attach_adapters(l->model, &stack);
    if (!status) status = mla_params_allocate(l->model->params, false);
    if (!status)
        status = l->head ? mla_checkpoint_read_backbone(l->checkpoint, l->model->params)
                         : mla_checkpoint_read_params(l->checkpoint, l->model->params);
    for (int i = 0; i < MLA_MOST_ADAPTERS && !status && stack.items[i]; i++)
        status = mla_adapter_read(stack.items[i], l->model);
    for (int i = 0; i < MLA_MOST_ADAPTERS; i++)
        if (stack.items[i] != l->head) mla_adapter_close(stack.items[i]);
    return status;
}

mla_status mla_load_model(mla_context *context, mla_loaded *l, const mla_load_options *o) {
    *l = (mla_loaded){0};
    if (!o->checkpoint) return mla_fail(context, MLA_ERROR_ARGUMENT, "name the model: --checkpoint FILE-OR-DIR");
    mla_status status = (o->unsealed ? mla_checkpoint_open_any : mla_checkpoint_open)(context, &l->checkpoint,
                                                                                      o->checkpoint);
    if (!status) status = load_build(context, l, &o->adapter);
    if (!status) status = load_tokenizer(context, l);
    return status;
}

void mla_loaded_close(mla_loaded *l) {
    mla_tokenizer_destroy(l->tokenizer);
    mla_decoder_destroy(l->model);
    mla_adapter_close(l->head);
    mla_checkpoint_close(l->checkpoint);
}

const char *mla_loaded_path(const mla_loaded *l) {
    return l->head ? mla_adapter_path(l->head) : mla_checkpoint_path(l->checkpoint);
}
const char *mla_loaded_recipe(const mla_loaded *l) {
    return l->head ? mla_adapter_recipe(l->head) : mla_checkpoint_recipe(l->checkpoint);
}
const char *mla_loaded_labels(const mla_loaded *l) {
    return l->head ? mla_adapter_labels(l->head) : mla_checkpoint_labels(l->checkpoint);
}
const char *mla_loaded_thresholds(const mla_loaded *l) {
    return l->head ? NULL : mla_checkpoint_thresholds(l->checkpoint);
}

mla_dtype mla_cache_precision(mla_use_precision wanted, mla_dtype products) {
    return wanted == MLA_USE_AS_TRAINED ? products : wanted == MLA_USE_BF16 ? MLA_BF16 : MLA_F32;
}

const char *const mla_use_precisions[] = {"auto", "f32", "bf16", NULL};

mla_status mla_loaded_precision(mla_context *context, const mla_loaded *l, mla_use_precision wanted,
                                mla_recipe_precision *out) {
    const char *json = mla_loaded_recipe(l);
    mla_recipe recipe;
    *out = wanted == MLA_USE_BF16 ? MLA_PRECISION_BF16 : MLA_PRECISION_F32;
    if (wanted != MLA_USE_AS_TRAINED || !json) return MLA_OK;
    const mla_status status = mla_recipe_parse_json(context, mla_loaded_path(l), json, &recipe);
    *out = recipe.train.precision;
    mla_recipe_free(&recipe);
    return status;
}

void mla_loaded_folder(const mla_loaded *l, char out[PATH_MAX]) {
    snprintf(out, PATH_MAX, "%s", mla_loaded_path(l));
    char *slash = strrchr(out, '/');
    if (slash) slash[slash == out] = '\0';
    else snprintf(out, PATH_MAX, ".");
}

void mla_loaded_own_tokens(const mla_loaded *l, const mla_recipe *recipe, char out[PATH_MAX]) {
    char dir[PATH_MAX];
    mla_loaded_folder(l, dir);
    const bool named = recipe->data.tokens != NULL;
    const int length = named ? snprintf(out, PATH_MAX, "%s", recipe->data.tokens)
                             : snprintf(out, PATH_MAX, "%s/tokens.h5", dir);
    if (length >= PATH_MAX || (!named && access(out, F_OK))) *out = '\0';
}

static mla_status save_with(mla_context *context, const mla_loaded *l, const mla_decoder *model, const char *thresholds,
                            const char *path) {
    const mla_checkpoint_content content = {.model = model,
                                            .thresholds = thresholds,
                                            .recipe = mla_loaded_recipe(l),
                                            .tokenizer = mla_checkpoint_tokenizer(l->checkpoint),
                                            .labels = mla_loaded_labels(l),
                                            .hugging_face = mla_checkpoint_hugging_face(l->checkpoint)};
    return mla_checkpoint_save(context, path, &content, (mla_step_hook){0});
}

mla_status mla_loaded_save(mla_context *context, const mla_loaded *l, const mla_decoder *model, const char *path) {
    return save_with(context, l, model, mla_loaded_thresholds(l), path);
}

mla_status mla_loaded_save_thresholds(mla_context *context, const mla_loaded *l, const char *json, const char *path) {
    return save_with(context, l, l->model, json, path);
}

mla_status mla_loaded_expect_tokenizer(mla_context *context, const mla_loaded *l) {
    const char *path = mla_checkpoint_path(l->checkpoint);
    if (!l->tokenizer)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%s: has no tokenizer (its model was not trained on text), so text "
                        "means nothing to it",
                        path);
    if (mla_tokenizer_separator(l->tokenizer) < 0)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%s: its tokenizer has no token that separates documents", path);
    return MLA_OK;
}

/* ---- texts ---- */

static mla_status append_id(mla_context *context, mla_id_list *list, int32_t id) {
    const mla_status status = mla_grow(context, &list->ids, &list->capacity, list->count + 1, sizeof *list->ids,
                                       "the tokens");
    if (!status) list->ids[list->count++] = id;
    return status;
}

/* Every document with a separator before it and behind it, as in training: so all its tokens are targets. */
static mla_status encode_stream(mla_context *context, mla_text_source *source, mla_encoder *encoder, int32_t separator,
                                mla_text_ids *out) {
    const mla_document *document;
    mla_status status = append_id(context, &out->ids, separator);
    while (!status && !(status = mla_text_next(source, &document)) && document) {
        status = mla_encoder_encode(context, encoder, document->bytes, document->length, &out->ids);
        if (!status) status = append_id(context, &out->ids, separator);
    }
    out->targets = out->ids.count - 1;
    return status;
}

static mla_status append_offset(mla_context *context, mla_text_ids *out) {
    const mla_status status = mla_grow(context, &out->offsets, &out->capacity, out->documents + 2, sizeof *out->offsets,
                                       "the documents");
    if (!status) out->offsets[++out->documents] = out->ids.count;
    return status;
}

/* Every document as the tokenizer alone makes it. */
static mla_status encode_apart(mla_context *context, mla_text_source *source, mla_encoder *encoder, mla_text_ids *out) {
    const mla_document *document;
    mla_status status = MLA_OK;
    while (!status && !(status = mla_text_next(source, &document)) && document) {
        status = mla_encoder_encode(context, encoder, document->bytes, document->length, &out->ids);
        if (!status) status = append_offset(context, out);
    }
    out->targets = out->ids.count - out->documents;
    return status;
}

static void set_stream(mla_text_ids *out, int64_t bytes) {
    if (out->documents) out->offsets[0] = 0;
    out->stream = (mla_token_stream){.count = out->ids.count,
                                     .wide = out->ids.ids,
                                     .documents = out->documents,
                                     .offsets = out->offsets,
                                     .bytes = bytes};
}

mla_status mla_loaded_encode(mla_context *context, const mla_loaded *l, const mla_texts *texts, mla_text_ids *out) {
    const mla_text_options options = {
        .paths = (const char *const *)texts->paths->items, .count = texts->paths->count, .jsonl_field = texts->field};
    mla_text_source *source = NULL;
    mla_encoder *encoder = NULL;
    mla_status status = mla_loaded_expect_tokenizer(context, l);
    if (!status) status = mla_text_open(context, &source, &options);
    const mla_frame frame = status || texts->no_bos ? (mla_frame){0} : mla_tokenizer_frame(l->tokenizer);
    const bool apart = frame.before_count || frame.behind_count;
    const mla_encoder_options kind = {.added = MLA_ADDED_PLAIN, .frame = apart};
    if (!status) status = mla_encoder_create(context, &encoder, l->tokenizer, &kind);
    if (!status)
        status = apart ? encode_apart(context, source, encoder, out)
                       : encode_stream(context, source, encoder, mla_tokenizer_separator(l->tokenizer), out);
    if (!status) set_stream(out, mla_text_bytes(source));
    mla_encoder_destroy(encoder);
    mla_text_close(source);
    return status;
}

void mla_text_ids_free(mla_text_ids *ids) {
    free(ids->ids.ids);
    free(ids->offsets);
}

static mla_status check_tokens(mla_context *context, const mla_loaded *l, const mla_token_file *file,
                               const char *path) {
    const char *tokenizer = mla_checkpoint_tokenizer(l->checkpoint);
    const int64_t size = mla_token_file_vocabulary_size(file), known = l->model->config.vocab_size;
    if (tokenizer) return mla_token_file_expect_tokenizer(file, tokenizer);
    if (size <= known) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "%s: has a vocabulary of %lld tokens, and the model one of %lld: prepare "
                    "the text with the model's tokenizer",
                    path, (long long)size, (long long)known);
}

mla_status mla_loaded_open_tokens(mla_context *context, const mla_loaded *l, const char *path, mla_token_file **out) {
    const mla_status status = mla_token_file_open(context, out, path);
    return status ? status : check_tokens(context, l, *out, path);
}
