#include "layers/objective.h"
#include "layers/head/language.h"
#include "layers/parts/lesson.h"

typedef struct {
    const mla_decoder *model;
    mla_pass pass;
} teacher_call;

static mla_tensor *teacher_graph(mla_tape *tape, const void *user, mla_tensor *ids) {
    const teacher_call *call = user;
    return mla_decoder_hidden(tape, call->model, ids, &call->pass);
}

mla_status mla_objective_check_layers(mla_context *context, const mla_model_config *model,
                                      const mla_model_config *teacher) {
    if (model->num_hidden_layers == teacher->num_hidden_layers && model->hidden_size == teacher->hidden_size)
        return MLA_OK;
    return mla_fail(
        context, MLA_ERROR_ARGUMENT,
        "finetune.distil_layers: the teacher has %lld layers of width %lld, the model %lld of %lld: a layer "
        "can learn from another only where both have as many, as wide (hidden_size); leave it out",
        (long long)teacher->num_hidden_layers, (long long)teacher->hidden_size, (long long)model->num_hidden_layers,
        (long long)model->hidden_size);
}

/* NULL where the layers learn nothing by themselves, and after an error. */
static mla_lesson *create_lesson(mla_tape *tape, const mla_decoder *model, const mla_batch *batch,
                                 const mla_objective *o) {
    if (!(o->layer_weight > 0) || mla_objective_check_layers(model->context, &model->config, &o->teacher->config))
        return NULL;
    return mla_lesson_create(tape, model->config.num_hidden_layers, o->layer_weight, batch->targets);
}

/* The teacher first: what it needs on the way, but a lesson, is free again before the model keeps anything. */
static mla_tensor *distil(mla_tape *tape, const mla_decoder *model, const mla_batch *batch, const mla_objective *o) {
    const mla_language_head *own = model->head, *teachers = o->teacher->head;
    mla_output_loss_options options = {.scale = batch->scale,
                                       .share = o->share,
                                       .temperature = o->temperature,
                                       .divergence = o->divergence,
                                       .teacher_weight = teachers->weight};
    mla_pass pass = batch->pass;
    pass.lesson = create_lesson(tape, model, batch, o);
    const teacher_call call = {o->teacher, {.starts = pass.starts, .lesson = pass.lesson}};
    const int64_t scope = mla_scope_open(tape);
    options.teacher = mla_detached(tape, teacher_graph, &call, batch->ids);
    if (pass.lesson) pass.lesson->filled = true;
    mla_tensor *hidden = mla_decoder_hidden(tape, model, batch->ids, &pass);
    return mla_scope_close(tape, scope, mla_output_loss(tape, hidden, own->weight, batch->targets, &options));
}

mla_tensor *mla_objective_loss(mla_tape *tape, const mla_decoder *model, const mla_batch *batch,
                               const mla_objective *o) {
    if (!o->teacher) return mla_decoder_loss(tape, model, batch);
    if (model->config.head == &mla_language_kind && o->teacher->config.head == &mla_language_kind)
        return distil(tape, model, batch, o);
    mla_fail(model->context, MLA_ERROR_ARGUMENT,
             "distillation is for language models: the model's head is %s, the "
             "teacher's %s; leave finetune.distil out",
             model->config.head->name, o->teacher->config.head->name);
    return mla_inert(tape);
}
