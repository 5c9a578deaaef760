#include "train/run/teacher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

mla_status mla_teacher_open(mla_context *context, mla_teacher *t, mla_recipe *recipe) {
    *t = (mla_teacher){.context = context};
    if (!recipe->finetune.distil) return MLA_OK;
    const mla_status status = mla_checkpoint_open(context, &t->checkpoint, recipe->finetune.distil);
    if (status) return status;
    if (!realpath(mla_checkpoint_path(t->checkpoint), t->path))
        snprintf(t->path, sizeof t->path, "%s", mla_checkpoint_path(t->checkpoint));
    recipe->finetune.distil = t->path; /* for a run that is resumed from elsewhere, or when its folder has newer ones */
    if (mla_checkpoint_adapter(t->checkpoint))
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "finetune.distil: %s is an adapter: name a model, or make one of both by "
                        "mla merge",
                        t->path);
    const int64_t longest = mla_checkpoint_config(t->checkpoint)->max_position_embeddings;
    if (recipe->train.sequence <= longest) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "train.sequence: %lld is longer than the %lld positions of the teacher %s",
                    (long long)recipe->train.sequence, (long long)longest, t->path);
}

void mla_teacher_close(mla_teacher *t) {
    mla_decoder_destroy(t->model);
    mla_checkpoint_close(t->checkpoint);
    *t = (mla_teacher){0};
}

const mla_model_config *mla_teacher_config(const mla_teacher *t) {
    return t->checkpoint ? mla_checkpoint_config(t->checkpoint) : NULL;
}

mla_status mla_teacher_check(const mla_teacher *t, const mla_recipe *recipe, const char *tokenizer) {
    if (!t->checkpoint) return MLA_OK;
    const char *own = mla_checkpoint_tokenizer(t->checkpoint);
    const int64_t size = mla_teacher_config(t)->vocab_size, vocabulary = recipe->model.vocab_size;
    if (recipe->finetune.distil_layers > 0 &&
        mla_objective_check_layers(t->context, &recipe->model, mla_teacher_config(t)))
        return mla_error_status(t->context);
    if (size != vocabulary)
        return mla_fail(t->context, MLA_ERROR_ARGUMENT,
                        "finetune.distil: the teacher %s has a vocabulary of %lld, the model "
                        "one of %lld: they must be the same",
                        t->path, (long long)size, (long long)vocabulary);
    if (!own || !tokenizer || !strcmp(own, tokenizer)) return MLA_OK;
    return mla_fail(t->context, MLA_ERROR_ARGUMENT,
                    "finetune.distil: the teacher %s has another tokenizer than the model: "
                    "its probabilities are those of other tokens",
                    t->path);
}

mla_status mla_teacher_build(mla_teacher *t, mla_dtype precision) {
    if (!t->checkpoint) return MLA_OK;
    mla_status status = mla_decoder_create(t->context, &t->model, mla_teacher_config(t));
    if (status) return status;
    mla_params_freeze(t->model->params);
    if (precision == MLA_BF16) mla_params_keep_bf16(t->model->params);
    status = mla_params_allocate(t->model->params, false);
    return status ? status : mla_checkpoint_read_params(t->checkpoint, t->model->params);
}

mla_status mla_teacher_remember(mla_teacher *t, mla_recipe_finetune *options, bool goes_on) {
    if (!t->model) return MLA_OK;
    const char *had = options->distil_hash;
    mla_base_hash(t->model, t->hash);
    if (goes_on && had && strcmp(had, t->hash))
        return mla_fail(t->context, MLA_ERROR_ARGUMENT,
                        "finetune.distil: the weights of %s are not those that the run began with (hash %s, not %s): "
                        "bring them back, or start a new run with --out",
                        t->path, t->hash, had);
    options->distil_hash = t->hash;
    return MLA_OK;
}

mla_objective mla_teacher_objective(const mla_teacher *t, const mla_recipe_finetune *options, double *divergence) {
    return (mla_objective){t->model, (float)options->distil_weight, (float)options->distil_temperature, divergence,
                           (float)options->distil_layers};
}
