#include "train/run/mix.h"
#include "autograd/base/file.h"
#include "train/hugging_face/chat_files.h"
#include "train/run/prepare.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- opening */

static bool is_token_file(const mla_mix_part *part) { return mla_ends_with(part->path, ".h5"); }

static mla_status read_entries(mla_context *context, mla_mix *mix, const mla_list *list) {
    double sum = 0;
    for (mix->count = 0; mix->count < list->count;) {
        mla_mix_part *part = &mix->parts[mix->count++];
        const mla_status status = mla_recipe_mix_entry(context, "", list->items[mix->count - 1], &part->path,
                                                       &part->weight);
        if (status) return status;
        sum += part->weight;
    }
    for (int k = 0; k < mix->count; k++) mix->parts[k].weight /= sum;
    return MLA_OK;
}

/* The recipe as if a part were all of it; its texts are those of the recipe and of the part. */
static mla_recipe recipe_of(const mla_recipe *recipe, mla_mix_part *part, const char *tokenizer) {
    mla_recipe own = *recipe;
    own.data.mix = (mla_list){0};
    if (is_token_file(part)) own.data.tokens = part->path;
    else own.data.source = (mla_list){.items = &part->path, .count = 1};
    if (tokenizer[0]) own.data.tokenizer = (char *)(uintptr_t)tokenizer;
    return own;
}

static mla_status open_part(mla_context *context, mla_mix *mix, int k, const mla_recipe *recipe, const char *dir,
                            const char *tokenizer, mla_dataset_text text) {
    mla_mix_part *part = &mix->parts[k];
    const mla_recipe own = recipe_of(recipe, part, tokenizer);
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s/part-%d", dir, k + 1);
    if (!is_token_file(part) && text != MLA_TEXT_PREPARED && mkdir(folder, 0777) && errno != EEXIST)
        return mla_fail(context, MLA_ERROR_IO, "%s: the folder cannot be made: %s", folder, strerror(errno));
    return mla_dataset_open(context, &part->data, &own, folder, text);
}

/* A new tokenizer for the text of all parts. */
static mla_status train_tokenizer(mla_context *context, const mla_mix *mix, const mla_recipe *recipe,
                                  const char *path) {
    mla_prepare_options options = mla_prepare_options_of(&recipe->data);
    const char *sources[MLA_MOST_PARTS];
    for (int k = 0; k < mix->count; k++) sources[k] = mix->parts[k].path;
    options.sources = sources;
    options.source_count = mix->count;
    return mla_prepare_tokenizer(context, &options, path);
}

/* Where text is to be prepared and no tokenizer is named: the file of the one that all parts share; "": as named. */
static mla_status share_tokenizer(mla_context *context, const mla_mix *mix, const mla_recipe *recipe, const char *dir,
                                  mla_dataset_text text, char path[PATH_MAX]) {
    const char *json = NULL, *files = NULL;
    bool has_text = false;
    for (int k = 0; k < mix->count; k++) {
        const mla_mix_part *part = &mix->parts[k];
        has_text |= !is_token_file(part);
        if (!json && is_token_file(part)) json = part->data.tokenizer, files = part->data.hugging_face;
    }
    path[0] = '\0';
    if (!has_text || strcmp(recipe->data.tokenizer, "bpe")) return MLA_OK;
    snprintf(path, PATH_MAX, "%s/tokenizer.json", dir);
    if (text == MLA_TEXT_PREPARED || (text == MLA_TEXT_PREPARE_MISSING && !access(path, F_OK))) return MLA_OK;
    if (!json) return train_tokenizer(context, mix, recipe, path);
    const mla_status status = mla_file_write(context, path, json, (int64_t)strlen(json));
    return status ? status : mla_chat_files_write(context, files, dir);
}

static mla_status check_tokenizers(mla_context *context, const mla_mix *mix) {
    const mla_mix_part *first = &mix->parts[0];
    for (int k = 1; k < mix->count; k++)
        if (strcmp(first->data.tokenizer, mix->parts[k].data.tokenizer))
            return mla_fail(context, MLA_ERROR_ARGUMENT,
                            "data.mix: the tokens of %s and %s were made by different tokenizers: prepare both with "
                            "one (mla prepare --tokenizer)",
                            first->path, mix->parts[k].path);
    return MLA_OK;
}

static mla_status open_parts(mla_context *context, mla_mix *mix, const mla_recipe *recipe, const char *dir,
                             mla_dataset_text text) {
    char tokenizer[PATH_MAX] = "";
    mla_status status = read_entries(context, mix, &recipe->data.mix);
    for (int k = 0; k < mix->count && !status; k++)
        if (is_token_file(&mix->parts[k])) status = open_part(context, mix, k, recipe, dir, tokenizer, text);
    if (!status) status = share_tokenizer(context, mix, recipe, dir, text, tokenizer);
    for (int k = 0; k < mix->count && !status; k++)
        if (!is_token_file(&mix->parts[k])) status = open_part(context, mix, k, recipe, dir, tokenizer, text);
    return status ? status : check_tokenizers(context, mix);
}

mla_status mla_mix_open(mla_context *context, mla_mix *mix, const mla_recipe *recipe, const char *dir,
                        mla_dataset_text text) {
    *mix = (mla_mix){.count = 1};
    mix->parts[0].weight = 1;
    const mla_status status = recipe->data.mix.count
                                  ? open_parts(context, mix, recipe, dir, text)
                                  : mla_dataset_open(context, &mix->parts[0].data, recipe, dir, text);
    if (status || text == MLA_TEXT_PREPARED) return status;
    return mla_chat_files_write(context, mix->parts[0].data.hugging_face, dir); /* beside its tokenizer.json */
}

void mla_mix_close(mla_mix *mix) {
    for (int k = 0; k < mix->count; k++) {
        mla_dataset_close(&mix->parts[k].data);
        free(mix->parts[k].path);
    }
    *mix = (mla_mix){0};
}

/* ---- resuming */

static mla_status compare_weights(mla_context *context, const mla_mix *mix, const char *where, const mla_mix *saved) {
    bool same = mix->count == saved->count;
    for (int k = 0; k < mix->count && same; k++) same = mix->parts[k].weight == saved->parts[k].weight;
    if (same) return MLA_OK;
    return mla_fail(
        context, MLA_ERROR_ARGUMENT,
        "%s: was trained on another mix: data.mix must have the same weights in the same order when a run is "
        "resumed; begin a new run with --out, from this one by finetune.base",
        where);
}

mla_status mla_mix_check_resumed(mla_context *context, const mla_mix *mix, const char *where, const char *saved) {
    mla_mix old = {.parts[0].weight = 1};
    mla_recipe recipe;
    if (!saved) return MLA_OK;
    mla_status status = mla_recipe_parse_json(context, where, saved, &recipe);
    if (status) return status;
    status = read_entries(context, &old, &recipe.data.mix);
    if (!old.count) old.count = 1;
    if (!status) status = compare_weights(context, mix, where, &old);
    mla_mix_close(&old);
    mla_recipe_free(&recipe);
    return status;
}

/* ---- sequences */

/* Each part has a seed of its own: equal parts are not gone through in the same order. */
static mla_status begin_part(mla_context *context, mla_mix_part *part, const mla_recipe *recipe, int k) {
    const int64_t sequence = recipe->train.sequence;
    const uint64_t seed = mla_recipe_data_seed(recipe) + (uint64_t)k;
    const mla_status status = mla_dataset_pack(context, &part->data, recipe, seed);
    return status
               ? status
               : mla_sampler_init(context, &part->sampler, &part->data.train, part->data.packed_train, sequence, seed);
}

mla_status mla_mix_begin(mla_context *context, mla_mix *mix, const mla_recipe *recipe) {
    double weights[MLA_MOST_PARTS];
    mla_status status = MLA_OK;
    for (int k = 0; k < mix->count; k++) weights[k] = mix->parts[k].weight;
    mla_mixture_init(&mix->mixture, mix->count, weights, mla_recipe_data_seed(recipe));
    for (int k = 0; k < mix->count && !status; k++) status = begin_part(context, &mix->parts[k], recipe, k);
    return status;
}

void mla_mix_get(const mla_mix *mix, int64_t index, int32_t *inputs, int32_t *targets, int32_t *starts) {
    int64_t own;
    const mla_sampler *sampler = &mix->parts[mla_mixture_at(&mix->mixture, index, &own)].sampler;
    if (!sampler->packing) memset(starts, 0, (size_t)sampler->length * sizeof *starts);
    mla_sampler_get(sampler, own, inputs, targets, starts);
}

bool mla_mix_is_packed(const mla_mix *mix) {
    bool packed = false;
    for (int k = 0; k < mix->count; k++) packed |= mix->parts[k].data.packed_train != NULL;
    return packed;
}

int64_t mla_mix_samples(const mla_mix *mix) {
    int64_t samples = 0;
    for (int k = 0; k < mix->count; k++) samples += mix->parts[k].sampler.samples;
    return samples;
}

int64_t mla_mix_tokens(const mla_mix *mix, mla_token_split split) {
    int64_t tokens = 0;
    for (int k = 0; k < mix->count; k++) {
        const mla_dataset *d = &mix->parts[k].data;
        tokens += split == MLA_TRAIN ? d->train.count : d->held_out.count;
    }
    return tokens;
}

/* ---- held-out losses */

double mla_mix_mean(const mla_mix *mix, const double *losses) {
    double sum = 0, weights = 0;
    if (mix->count == 1) return losses[0];
    for (int k = 0; k < mix->count; k++) {
        if (!isfinite(losses[k])) continue;
        sum += mix->parts[k].weight * losses[k];
        weights += mix->parts[k].weight;
    }
    return weights > 0 ? sum / weights : NAN;
}

double mla_mix_bytes_per_token(const mla_mix *mix, const double *losses) {
    double sum = 0, weights = 0;
    for (int k = 0; k < mix->count; k++) {
        const mla_token_stream *s = &mix->parts[k].data.held_out;
        if (!isfinite(losses[k])) continue;
        if (!s->bytes) return NAN;
        sum += mix->parts[k].weight * (double)s->bytes / (double)s->count;
        weights += mix->parts[k].weight;
    }
    return weights > 0 ? sum / weights : NAN;
}
