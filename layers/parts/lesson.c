#include "layers/parts/lesson.h"

mla_lesson *mla_lesson_create(mla_tape *tape, int64_t layers, float weight, mla_tensor *targets) {
    const mla_lesson empty = {.weight = weight, .targets = targets, .layers = layers};
    mla_lesson *lesson = mla_tape_keep(tape, NULL, sizeof empty + (size_t)layers * sizeof *lesson->outputs);
    if (lesson) *lesson = empty;
    return lesson;
}

mla_tensor *mla_lesson_take(mla_tape *tape, const mla_pass *pass, int64_t layer, mla_tensor *output) {
    mla_lesson *lesson = pass->lesson;
    if (!lesson->filled) return lesson->outputs[layer] = mla_scope_keep(output);
    mla_tensor *error = mla_relative_error(tape, output, lesson->outputs[layer], lesson->targets);
    mla_pass_note(tape, pass, "distil_layers", error);
    return mla_join_loss(tape, output,
                         mla_scale(tape, error, pass->loss_share * lesson->weight / (float)lesson->layers));
}
