#include "train/run/finetune.h"
#include "autograd/base/file.h"
#include "layers/head/head.h"
#include "train/adapter/adapter.h"
#include "train/adapter/base.h"
#include "train/hugging_face/chat_files.h"
#include "train/run/trained_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening ---- */

/* Text is to be prepared with the base's tokenizer: as a file of the run folder, where it ends up anyway; conversations
 * with its chat_template, beside it. */
static mla_status bring_tokenizer(mla_finetune *f, mla_recipe *recipe, const char *folder) {
    const mla_checkpoint *from = f->checkpoint ? f->checkpoint : f->teacher.checkpoint;
    const char *json = from ? mla_checkpoint_tokenizer(from) : NULL;
    if (!json || !(recipe->data.source.count + recipe->data.mix.count) || !folder) return MLA_OK;
    if (snprintf(f->tokenizer, sizeof f->tokenizer, "%s/tokenizer.json", folder) >= (int)sizeof f->tokenizer)
        return mla_fail(f->context, MLA_ERROR_ARGUMENT, "%.100s...: the path is too long", folder);
    recipe->data.tokenizer = f->tokenizer;
    const mla_status status = mla_file_write(f->context, f->tokenizer, json, (int64_t)strlen(json));
    if (status || recipe->data.format != MLA_RECIPE_CHAT || recipe->data.chat_template != MLA_CHAT_AUTO) return status;
    return mla_chat_files_write(f->context, mla_checkpoint_hugging_face(from), folder);
}

/* Conversations become text as the base's own did; which one its tokens tell is said in the recipe. */
static mla_status choose_template(const mla_finetune *f, mla_recipe_data *data) {
    const char *json = mla_checkpoint_tokenizer(f->checkpoint);
    mla_chat_files files = {0};
    mla_tokenizer *tokenizer = NULL;
    const bool has_text = data->source.count + data->mix.count > 0;
    if (data->format != MLA_RECIPE_CHAT || data->chat_template != MLA_CHAT_AUTO || !has_text || !json) return MLA_OK;
    mla_status status = mla_chat_files_of_checkpoint(f->context, mla_checkpoint_hugging_face(f->checkpoint), &files);
    if (!status) status = mla_tokenizer_parse(f->context, &tokenizer, json, (int64_t)strlen(json));
    if (!status && !files.chat_template) data->chat_template = mla_chat_template_of(tokenizer);
    mla_tokenizer_destroy(tokenizer);
    mla_chat_files_free(&files);
    return status;
}

static mla_status finetune_check(const mla_finetune *f, const mla_recipe *recipe) {
    const int64_t longest = mla_checkpoint_config(f->checkpoint)->max_position_embeddings;
    if (mla_checkpoint_adapter(f->checkpoint))
        return mla_fail(f->context, MLA_ERROR_ARGUMENT,
                        "finetune.base: %s is an adapter: name a model, or make one of both "
                        "by mla merge",
                        f->path);
    if (recipe->train.sequence > longest)
        return mla_fail(f->context, MLA_ERROR_ARGUMENT, "train.sequence: %lld is longer than the %lld positions of %s",
                        (long long)recipe->train.sequence, (long long)longest, f->path);
    return MLA_OK;
}

static mla_status check_new(const mla_finetune *f, const mla_recipe *recipe) {
    const int64_t adapters = recipe->lora.targets.count;
    if (!adapters && !recipe->finetune.train.count) return MLA_OK;
    return mla_fail(f->context, MLA_ERROR_ARGUMENT,
                    "%s a model to begin with: give finetune.base, a checkpoint or run folder",
                    adapters ? "lora.targets: adapters need" : "finetune.train: needs");
}

/* Before anything is prepared: whether what is to be trained is there in the model. */
static mla_status try_names(const mla_finetune *f, const mla_recipe *recipe) {
    mla_decoder *model;
    mla_recipe known = *recipe;
    if (f->new_head && !known.model.num_labels) known.model.num_labels = 2; /* as yet */
    const mla_status status = mla_trained_model_create(f->context, &known, MLA_F32, &model);
    mla_decoder_destroy(model);
    return status;
}

/* Whether the recipe's head labels, and is not the base's. */
static bool has_new_head(const mla_model_config *base, const mla_model_config *wanted) {
    return wanted->head->labels && (wanted->head != base->head || wanted->problem_type != base->problem_type);
}

/* The base's model; what concerns a new head alone is the recipe's. */
static mla_status take_model(mla_finetune *f, mla_recipe *recipe) {
    const mla_model_config wanted = recipe->model, *base = mla_checkpoint_config(f->checkpoint);
    const char *labels = mla_checkpoint_labels(f->checkpoint);
    recipe->model = *base;
    if (f->new_head) mla_model_config_take_head(&recipe->model, &wanted);
    if (f->new_head || !labels) return MLA_OK;
    if (mla_checkpoint_thresholds(f->checkpoint))
        mla_warn(f->context,
                 "%s: its threshold is not kept, as training changes the probabilities: choose one again (mla "
                 "eval --choose)",
                 f->path);
    const mla_status status = mla_label_set_parse(f->context, f->path, labels, &f->labels);
    recipe->data.labels = (mla_list){f->labels.names, f->labels.count, f->labels.capacity};
    return status;
}

static mla_status open_base(mla_finetune *f, mla_recipe *recipe) {
    mla_status status = mla_checkpoint_open(f->context, &f->checkpoint, recipe->finetune.base);
    if (status) return status;
    if (!realpath(mla_checkpoint_path(f->checkpoint), f->path))
        snprintf(f->path, sizeof f->path, "%s", mla_checkpoint_path(f->checkpoint));
    f->new_head = has_new_head(mla_checkpoint_config(f->checkpoint), &recipe->model);
    status = finetune_check(f, recipe);
    if (status) return status;
    recipe->finetune.base = f->path; /* for a run that goes on from elsewhere, or when its folder has newer ones */
    status = take_model(f, recipe);
    if (status) return status;
    if (!recipe->lora.targets.count) f->hugging_face = mla_checkpoint_hugging_face(f->checkpoint);
    status = try_names(f, recipe);
    if (!status) status = choose_template(f, &recipe->data);
    return status ? status : mla_teacher_check(&f->teacher, recipe, mla_checkpoint_tokenizer(f->checkpoint));
}

mla_status mla_finetune_open(mla_context *context, mla_finetune *f, mla_recipe *recipe, const char *folder) {
    *f = (mla_finetune){.context = context, .recipe = recipe};
    mla_status status = mla_teacher_open(context, &f->teacher, recipe);
    if (!status) status = recipe->finetune.base ? open_base(f, recipe) : check_new(f, recipe);
    return status ? status : bring_tokenizer(f, recipe, folder);
}

void mla_finetune_close(mla_finetune *f) {
    mla_checkpoint_close(f->checkpoint);
    mla_teacher_close(&f->teacher);
    mla_label_set_free(&f->labels);
    free(f->adapter);
    free(f->text);
    *f = (mla_finetune){0};
}

mla_status mla_finetune_check_tokenizer(const mla_finetune *f, const char *tokenizer) {
    const char *wanted = f->checkpoint ? mla_checkpoint_tokenizer(f->checkpoint) : NULL;
    if (!wanted || !tokenizer || !strcmp(wanted, tokenizer))
        return mla_teacher_check(&f->teacher, f->recipe, tokenizer);
    return mla_fail(f->context, MLA_ERROR_ARGUMENT,
                    "the tokens were made by another tokenizer than that of %s: prepare the "
                    "text with its tokenizer.json (mla prepare --tokenizer), or give data.source",
                    f->path);
}

mla_status mla_finetune_check_labels(const mla_finetune *f, const char *labels) {
    const char *wanted = f->checkpoint && !f->new_head ? mla_checkpoint_labels(f->checkpoint) : NULL;
    if (!wanted || !labels || !strcmp(wanted, labels)) return MLA_OK;
    return mla_fail(f->context, MLA_ERROR_ARGUMENT,
                    "the data has other labels than %s, or in another order: give data.source, which takes them as "
                    "they are there",
                    f->path);
}

const char *mla_finetune_files(const mla_finetune *f, const char *of_data) {
    return f->adapter || f->hugging_face ? f->hugging_face : of_data;
}

/* ---- values ---- */

static mla_status make_texts(mla_finetune *f, const mla_decoder *model) {
    if (!f->recipe->lora.targets.count) return MLA_OK;
    f->adapter = mla_adapter_config_text(model, &f->recipe->lora, f->path);
    f->text = mla_base_text(f->context, f->path, model);
    return f->adapter && f->text ? MLA_OK : MLA_ERROR_MEMORY;
}

mla_status mla_finetune_begin(mla_finetune *f, mla_decoder *model) {
    if (!f->checkpoint) return MLA_OK;
    mla_status status = f->new_head ? mla_checkpoint_read_backbone(f->checkpoint, model->params)
                                    : mla_checkpoint_read_params(f->checkpoint, model->params);
    if (!status) status = mla_adapters_begin(model);
    return status ? status : make_texts(f, model);
}

static mla_status read_tensor(void *checkpoint, const char *name, const mla_tensor *tensor) {
    return mla_checkpoint_read_adapter(checkpoint, name, tensor);
}

mla_status mla_finetune_read(mla_finetune *f, mla_checkpoint *checkpoint, mla_decoder *model) {
    if (!f->recipe->lora.targets.count) return mla_checkpoint_read_params(checkpoint, model->params);
    if (!mla_checkpoint_adapter(checkpoint) || !mla_checkpoint_base(checkpoint))
        return mla_fail(f->context, MLA_ERROR_ARGUMENT,
                        "%s: is no adapter, as the recipe of the run says: start a new run "
                        "with --out instead",
                        mla_checkpoint_path(checkpoint));
    mla_status status = mla_adapters_have_head(model) ? mla_checkpoint_read_backbone(f->checkpoint, model->params)
                                                      : mla_checkpoint_read_params(f->checkpoint, model->params);
    if (!status)
        status = mla_base_check(f->context, mla_checkpoint_path(checkpoint), mla_checkpoint_base(checkpoint), model);
    if (!status) status = mla_adapters_each(model, read_tensor, checkpoint);
    return status ? status : make_texts(f, model);
}
