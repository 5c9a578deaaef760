#include "train/run/memory_plan.h"
#include "autograd/base/memory.h"
#include "autograd/kernels/gemm.h"
#include "layers/head/classification.h"
#include "layers/objective.h"
#include "train/checkpoint/checkpoint.h"
#include "train/run/trained_model.h"

#include <stdio.h>

/* One training step, then one evaluation. */
typedef struct {
    const mla_decoder *model;
    mla_objective objective;
    int64_t shape[2]; /* rows, positions */
    mla_dtype precision;
    bool recompute;
} shapes_run;

/* One label, of which the shape alone matters. */
static mla_tensor *labels_input(const mla_decoder *model, mla_tape *tape) {
    const mla_model_config *c = &model->config;
    const bool classes = mla_classification_labels(c) == MLA_LABELS_CLASSES;
    if (!c->head->labels) return NULL;
    return mla_input(tape, classes ? MLA_I32 : MLA_F32, classes ? 1 : 2, (int64_t[]){1, c->num_labels}, NULL);
}

static mla_status run_on_shapes(const shapes_run *run, mla_tape *tape, mla_cost *cost) {
    mla_batch batch = {.scale = 1, .pass = {.recompute = run->recompute, .loss_share = 1}};
    mla_tape_begin(tape, &(mla_step){.training = true, .precision = run->precision});
    batch.ids = mla_input(tape, MLA_I32, 2, run->shape, NULL);
    batch.targets = mla_input(tape, MLA_I32, 2, run->shape, NULL);
    batch.labels = labels_input(run->model, tape);
    const mla_status status = mla_backward(tape, mla_objective_loss(tape, run->model, &batch, &run->objective));
    if (status) return status;
    *cost = mla_tape_cost(tape);

    batch.pass = (mla_pass){0};
    mla_tape_begin(tape, &(mla_step){.inference = true, .precision = run->precision});
    batch.ids = mla_input(tape, MLA_I32, 2, run->shape, NULL);
    batch.targets = mla_input(tape, MLA_I32, 2, run->shape, NULL);
    batch.labels = labels_input(run->model, tape);
    mla_decoder_loss(tape, run->model, &batch);
    return mla_error_status(mla_tape_context(tape));
}

static mla_status lay_out_teacher(mla_context *context, mla_decoder **out, const mla_model_config *config,
                                  mla_dtype precision) {
    const mla_status status = mla_decoder_create(context, out, config);
    if (status) return status;
    mla_params_freeze((*out)->params);
    if (precision == MLA_BF16) mla_params_keep_bf16((*out)->params);
    mla_params_lay_out((*out)->params);
    return MLA_OK;
}

/* With bf16 copies, and packed ones of all matrices for as many directions. */
static int64_t parameter_bytes(const mla_context *context, const mla_decoder *model, mla_dtype precision,
                               int directions) {
    const int64_t values = model ? mla_params_values_length(model->params) * (int64_t)sizeof(float) : 0;
    if (!model || precision != MLA_BF16) return values;
    int64_t elements = mla_params_bf16_length(model->params);
    for (int64_t i = 0; i < mla_params_count(model->params) && mla_packs_weights(context); i++) {
        const mla_param *p = mla_params_at(model->params, i);
        if (p->spec.ndim == 2) elements += directions * p->count;
    }
    return values + elements * (int64_t)mla_dtype_size(MLA_BF16);
}

mla_status mla_memory_predict(mla_context *context, const mla_recipe *recipe, const mla_model_config *teacher_config,
                              int64_t rows, mla_dtype precision, mla_memory_plan *plan) {
    mla_decoder *model = NULL, *teacher = NULL;
    mla_tape *tape = NULL;
    *plan = (mla_memory_plan){0};
    mla_status status = mla_trained_model_create(context, recipe, precision, &model);
    if (!status) status = mla_tape_create(context, &tape, &(mla_tape_options){.shapes_only = true});
    if (status) goto done;
    mla_params_lay_out(model->params);
    if (teacher_config) status = lay_out_teacher(context, &teacher, teacher_config, precision);
    const mla_objective objective = {
        .teacher = teacher, .temperature = 1, .layer_weight = (float)recipe->finetune.distil_layers};
    const shapes_run run = {model, objective, {rows, recipe->train.sequence}, precision, recipe->train.recompute};
    if (!status) status = run_on_shapes(&run, tape, &plan->cost);
    plan->parameters = parameter_bytes(context, model, precision, MLA_PACKED_DIRECTIONS) +
                       parameter_bytes(context, teacher, precision, 1);
    plan->gradients = mla_params_gradients_length(model->params) * (int64_t)sizeof(float);
    plan->moments = 2 * plan->gradients;
    plan->copy = recipe->checkpoint.background ? mla_checkpoint_copy_bytes(model->params) : 0;
    plan->step = mla_pool_reserved(mla_tape_pool(tape));
    plan->products = mla_gemm_usual_bytes();
    if (precision == MLA_BF16 && !mla_gemm_has_bf16()) plan->products += (int64_t)plan->cost.widened_bytes;
done:
    mla_tape_destroy(tape);
    mla_decoder_destroy(model);
    mla_decoder_destroy(teacher);
    return status;
}

int64_t mla_memory_total(const mla_memory_plan *plan) {
    return plan->parameters + plan->gradients + plan->moments + plan->reduction + plan->copy + plan->step +
           plan->products;
}

mla_status mla_memory_check(mla_context *context, const mla_memory_plan *plan, int processes) {
    const int64_t available = mla_memory_available(), needed = mla_memory_total(plan);
    char each[64] = "";
    if (!available || needed - plan->copy <= (available - plan->copy) / processes) return MLA_OK;
    if (processes > 1) snprintf(each, sizeof each, " for each of the %d ranks on it", processes);
    return mla_fail(
        context, MLA_ERROR_MEMORY,
        "this run needs %.1f GiB%s (model, optimizer and copies %.1f, a step %.1f), and the machine has %.1f GiB "
        "left: lower train.microbatch, train.sequence or the model's size",
        (double)needed / (1 << 30), each, (double)(needed - plan->step) / (1 << 30), (double)plan->step / (1 << 30),
        (double)available / (1 << 30));
}
