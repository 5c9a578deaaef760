#include "train/forecast/rehearsal.h"
#include "autograd/base/random.h"
#include "layers/head/classification.h"
#include "optim/clip.h"
#include "train/run/machine.h"
#include "train/run/trained_model.h"

#include <stdlib.h>

static void fill_ids(mla_rehearsal *r) {
    const int64_t vocabulary = r->recipe->model.vocab_size;
    for (int64_t i = 0; i < r->rows * r->recipe->train.sequence; i++) {
        uint32_t bits[4];
        mla_random_bits(mla_random_stream(1, "bench", 0, 0, 0), (uint64_t)i, bits);
        r->ids[i] = (int32_t)(bits[0] % (uint64_t)vocabulary);
    }
}

int64_t mla_rehearsal_vocabulary(const mla_recipe *recipe) {
    if (recipe->model.vocab_size) return recipe->model.vocab_size;
    return recipe->data.synthetic.tokens ? recipe->data.synthetic.vocabulary : recipe->data.vocab_size;
}

/* Adapters alone need no base here: they are measured on the recipe's own model. */
static bool begins_elsewhere(const mla_recipe_finetune *f) { return f->base || f->distil; }

static mla_status rehearsal_build(mla_rehearsal *r) {
    mla_status status = mla_trained_model_create(r->context, r->recipe, r->precision, &r->model);
    if (!status) status = mla_params_allocate(r->model->params, true);
    if (!status) status = mla_teacher_build(&r->base.teacher, r->precision);
    if (!status) status = mla_adamw_state_allocate(r->context, &r->moments, r->model->params);
    if (!status) status = mla_tape_create(r->context, &r->tape, NULL);
    if (status) return status;
    r->ids = mla_alloc(r->context, r->rows * r->recipe->train.sequence, sizeof *r->ids, "a microbatch");
    r->zeros = mla_alloc(r->context, r->recipe->model.vocab_size * (1 + r->recipe->model.num_labels), sizeof *r->zeros,
                         "labels");
    if (!r->ids || !r->zeros) return MLA_ERROR_MEMORY;
    mla_params_initialise(r->model->params, 1);
    fill_ids(r);
    return MLA_OK;
}

mla_status mla_rehearsal_open(mla_context *context, mla_rehearsal *out, mla_recipe *recipe, int64_t rows,
                              int processes) {
    *out = (mla_rehearsal){.context = context,
                           .recipe = recipe,
                           .rows = rows,
                           .precision = mla_precision_choose(context, recipe->train.precision)};
    mla_status status = MLA_OK;
    if (begins_elsewhere(&recipe->finetune)) status = mla_finetune_open(context, &out->base, recipe, NULL);
    if (status) return status;
    recipe->model.vocab_size = mla_rehearsal_vocabulary(recipe);
    if (recipe->model.head->labels && !recipe->model.num_labels) recipe->model.num_labels = 2;
    status = mla_memory_predict(context, recipe, mla_teacher_config(&out->base.teacher), rows, out->precision,
                                &out->plan);
    out->plan.copy = 0;
    if (!status) status = mla_memory_check(context, &out->plan, processes);
    return status ? status : rehearsal_build(out);
}

void mla_rehearsal_close(mla_rehearsal *r) {
    mla_tape_destroy(r->tape);
    mla_adamw_state_free(&r->moments);
    mla_decoder_destroy(r->model);
    mla_finetune_close(&r->base);
    free(r->ids);
    free(r->zeros);
}

/* The label of every id is 0; every token has one, which costs no more than what is usual. */
static mla_tensor *labels_input(const mla_rehearsal *r) {
    const mla_model_config *c = &r->model->config;
    const bool classes = mla_classification_labels(c) == MLA_LABELS_CLASSES;
    return mla_input(r->tape, classes ? MLA_I32 : MLA_F32, classes ? 1 : 2, (int64_t[]){c->vocab_size, c->num_labels},
                     r->zeros);
}

mla_status mla_rehearsal_pass(mla_rehearsal *r, int64_t rows, const mla_step *step, double *loss) {
    const mla_recipe_train *train = &r->recipe->train;
    const int64_t shape[] = {rows, train->sequence};
    const mla_objective objective = mla_teacher_objective(&r->base.teacher, &r->recipe->finetune, NULL);
    mla_tape_begin(r->tape, step);
    mla_tensor *ids = mla_input(r->tape, MLA_I32, 2, shape, r->ids);
    mla_batch batch = {.ids = ids,
                       .targets = ids,
                       .scale = 1.0f / (float)(train->batch * train->sequence),
                       .pass = {.recompute = train->recompute, .loss_share = (float)rows / (float)train->batch}};
    if (r->model->config.head->labels) batch.labels = labels_input(r);
    mla_tensor *result = mla_objective_loss(r->tape, r->model, &batch, &objective);
    const mla_status status = mla_backward(r->tape, result);
    if (!status) *loss = (double)*(const float *)result->data;
    return status;
}

void mla_rehearsal_update(mla_rehearsal *r) {
    const mla_recipe_optim *o = &r->recipe->optim;
    const mla_adamw_options adamw = {(float)o->beta1, (float)o->beta2, (float)o->eps, (float)o->weight_decay};
    const double norm = mla_gradient_norm(r->model->params);
    mla_adamw_step(&r->moments, r->model->params, &adamw, (float)o->lr, mla_clip_scale(norm, o->clip));
}
