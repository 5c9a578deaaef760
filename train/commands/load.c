#include "train/commands/load.h"

#include <string.h>

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

mla_status mla_load_model(mla_context *context, mla_loaded *l, const char *path, bool unsealed) {
    *l = (mla_loaded){0};
    if (!path || !path[0])
        return mla_fail(context, MLA_ERROR_ARGUMENT, "name the model: --checkpoint FILE-OR-DIR");
    mla_status status =
        (unsealed ? mla_checkpoint_open_any : mla_checkpoint_open)(context, &l->checkpoint, path);
    if (!status) status = mla_checkpoint_build(l->checkpoint, &l->model);
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
