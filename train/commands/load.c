#include "train/commands/load.h"
#include "train/adapter.h"

#include <limits.h>
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
                    mla_checkpoint_path(l->checkpoint), (long long)size,
                    (long long)l->model->config.vocab_size);
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
    return mla_adapter_open(context, out, path);
}

static mla_status attach_adapters(mla_context *context, mla_decoder *model, const mla_list *list, mla_adapter **out) {
    mla_status status = MLA_OK;
    if (list->count > MLA_MOST_ADAPTERS)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%lld adapters; at most %d can be put on a model",
                        (long long)list->count, MLA_MOST_ADAPTERS);
    for (int64_t i = 0; i < list->count && !status; i++) {
        float share;
        char name[32];
        snprintf(name, sizeof name, "%lld", (long long)i);
        status = open_adapter(context, list->items[i], &out[i], &share);
        if (!status) status = mla_adapter_attach(out[i], model, name, share);
    }
    return status;
}

/* The model with its adapters: their tensors are registered before there is memory for any. */
static mla_status build(mla_context *context, mla_loaded *l, const mla_list *list) {
    mla_adapter *adapters[MLA_MOST_ADAPTERS] = {0};
    mla_status status = mla_decoder_create(context, &l->model, mla_checkpoint_config(l->checkpoint));
    if (!status) status = attach_adapters(context, l->model, list, adapters);
    if (!status) status = mla_params_allocate(l->model->params, false);
    if (!status) status = mla_checkpoint_read_params(l->checkpoint, l->model->params);
    for (int i = 0; i < MLA_MOST_ADAPTERS && !status && adapters[i]; i++) status = mla_adapter_read(adapters[i], l->model);
    for (int i = 0; i < MLA_MOST_ADAPTERS; i++) mla_adapter_close(adapters[i]);
    return status;
}

mla_status mla_load_model(mla_context *context, mla_loaded *l, const char *path, bool unsealed, const mla_list *adapters) {
    *l = (mla_loaded){0};
    if (!path || !path[0])
        return mla_fail(context, MLA_ERROR_ARGUMENT, "name the model: --checkpoint FILE-OR-DIR");
    mla_status status =
        (unsealed ? mla_checkpoint_open_any : mla_checkpoint_open)(context, &l->checkpoint, path);
    if (!status) status = adapters ? build(context, l, adapters) : mla_checkpoint_build(l->checkpoint, &l->model);
    if (!status) status = load_tokenizer(context, l);
    return status;
}

void mla_loaded_close(mla_loaded *l) {
    mla_tokenizer_destroy(l->tokenizer);
    mla_decoder_destroy(l->model);
    mla_checkpoint_close(l->checkpoint);
}

mla_status mla_loaded_expect_tokenizer(mla_context *context, const mla_loaded *l) {
    const char *path = mla_checkpoint_path(l->checkpoint);
    if (!l->tokenizer)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%s: has no tokenizer (its model was not trained on text), so text "
                        "means nothing to it",
                        path);
    if (mla_tokenizer_separator(l->tokenizer) < 0)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%s: its tokenizer has no token that separates documents", path);
    return MLA_OK;
}
