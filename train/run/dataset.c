#include "train/run/dataset.h"
#include "train/run/prepare.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static mla_status open_file(mla_context *context, mla_dataset *d, const char *path) {
    const mla_status status = mla_token_file_open(context, &d->file, path);
    if (status) return status;
    d->train = *mla_token_file_stream(d->file, MLA_TRAIN);
    d->held_out = *mla_token_file_stream(d->file, MLA_HELD_OUT);
    d->vocabulary_size = mla_token_file_vocabulary_size(d->file);
    d->tokenizer = mla_token_file_tokenizer(d->file);
    return MLA_OK;
}

/* The part's tokens, generated into memory of the dataset's own. */
static mla_status generate(mla_context *context, mla_dataset *d, uint64_t part, int64_t count, mla_token_stream *out) {
    int32_t *tokens = mla_alloc(context, count, sizeof *tokens, "the synthetic tokens");
    if (!tokens) return MLA_ERROR_MEMORY;
    mla_synthetic_generate(d->synthetic, part, count, tokens);
    *out = (mla_token_stream){.count = count, .wide = tokens};
    return MLA_OK;
}

static mla_status open_synthetic(mla_context *context, mla_dataset *d, const mla_recipe *recipe) {
    const mla_recipe_synthetic *s = &recipe->data.synthetic;
    const int64_t held_out = (int64_t)((double)s->tokens * recipe->data.held_out);
    mla_status status = mla_synthetic_create(context, &d->synthetic,
                                             &(mla_synthetic_options){.vocabulary = s->vocabulary,
                                                                      .order = (int)s->order,
                                                                      .sharpness = s->sharpness,
                                                                      .seed = (uint64_t)recipe->train.seed});
    if (!status) status = generate(context, d, 0, s->tokens, &d->train);
    if (!status) status = generate(context, d, 1, held_out, &d->held_out);
    if (status) return status;
    d->vocabulary_size = mla_synthetic_vocabulary(d->synthetic);
    d->entropy = mla_synthetic_entropy(d->synthetic);
    if (held_out > s->order) d->source_loss = mla_synthetic_loss(d->synthetic, held_out, d->held_out.wide);
    return MLA_OK;
}

static mla_status open_text(mla_context *context, mla_dataset *d, const mla_recipe *recipe, const char *dir,
                            mla_dataset_text text) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/tokens.h5", dir);
    const mla_prepare_options options = mla_prepare_options_of(&recipe->data);
    const bool prepared = text != MLA_TEXT_PREPARE && !access(path, F_OK);
    if (!prepared && text == MLA_TEXT_PREPARED)
        return mla_fail(context, MLA_ERROR_IO,
                        "%s: cannot be seen here, but on the host of rank 0: the run folder must be "
                        "in a file system that all hosts share",
                        path);
    mla_status status = prepared ? MLA_OK : mla_prepare(context, &options, path, NULL);
    return status ? status : open_file(context, d, path);
}

mla_status mla_dataset_open(mla_context *context, mla_dataset *d, const mla_recipe *recipe, const char *dir,
                            mla_dataset_text text) {
    *d = (mla_dataset){.entropy = NAN, .source_loss = NAN};
    if (recipe->data.synthetic.tokens > 0) return open_synthetic(context, d, recipe);
    if (recipe->data.tokens) return open_file(context, d, recipe->data.tokens);
    return open_text(context, d, recipe, dir, text);
}

mla_status mla_dataset_pack(mla_context *context, mla_dataset *d, mla_recipe_packing packing, int64_t sequence) {
    if (packing == MLA_PACKING_STREAM || (packing == MLA_PACKING_AUTO && !d->train.answers)) return MLA_OK;
    const mla_status status = mla_packing_create(context, &d->packed_train, &d->train, sequence);
    return status ? status : mla_packing_create(context, &d->packed_held_out, &d->held_out, sequence);
}

static void warn(mla_context *context, const mla_packing *packing, const char *which, int64_t sequence) {
    if (!packing) return;
    const mla_packing_report r = mla_packing_report_of(packing);
    if (r.cut)
        mla_warn(context, "%lld of %lld %s are longer than train.sequence %lld: their ends are cut off",
                 (long long)r.cut, (long long)r.documents, which, (long long)sequence);
    if (r.left_out)
        mla_warn(context, "%lld of %lld %s are left out: no answer begins within train.sequence %lld",
                 (long long)r.left_out, (long long)r.documents, which, (long long)sequence);
}

void mla_dataset_warn(mla_context *context, const mla_dataset *d, int64_t sequence) {
    warn(context, d->packed_train, "examples", sequence);
    warn(context, d->packed_held_out, "held-out examples", sequence);
}

void mla_dataset_close(mla_dataset *d) {
    mla_packing_destroy(d->packed_train);
    mla_packing_destroy(d->packed_held_out);
    if (d->synthetic) {
        free((void *)(uintptr_t)d->train.wide);
        free((void *)(uintptr_t)d->held_out.wide);
    }
    mla_synthetic_destroy(d->synthetic);
    mla_token_file_close(d->file);
    *d = (mla_dataset){0};
}
