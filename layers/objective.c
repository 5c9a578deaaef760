#include "layers/objective.h"
#include "layers/head/language.h"

typedef struct {
    const mla_decoder *model;
    mla_pass pass;
} teacher_call;

static mla_tensor *teacher_graph(mla_tape *tape, const void *user, mla_tensor *ids) {
    const teacher_call *call = user;
    return mla_decoder_hidden(tape, call->model, ids, &call->pass);
}

/* The teacher first: what it needs on the way is free again before the model keeps anything. */
static mla_tensor *distil(mla_tape *tape, const mla_decoder *model, const mla_batch *batch, const mla_objective *o) {
    const mla_language_head *own = model->head, *teachers = o->teacher->head;
    mla_output_loss_options options = {.scale = batch->scale,
                                       .share = o->share,
                                       .temperature = o->temperature,
                                       .divergence = o->divergence,
                                       .teacher_weight = teachers->weight};
    const teacher_call call = {o->teacher, {.starts = batch->pass.starts}};
    const int64_t scope = mla_scope_open(tape);
    options.teacher = mla_detached(tape, teacher_graph, &call, batch->ids);
    mla_tensor *hidden = mla_decoder_hidden(tape, model, batch->ids, &batch->pass);
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
