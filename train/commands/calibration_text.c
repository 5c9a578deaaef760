#include "train/commands/calibration_text.h"
#include "autograd/base/file.h"
#include "train/recipe/recipe.h"

static mla_status read_text(mla_context *context, const mla_loaded *l, const mla_calibration_options *o,
                            mla_calibration_source *s) {
    const mla_list *paths = &o->calibrate;
    if (paths->count == 1 && mla_ends_with(paths->items[0], ".h5")) {
        const mla_status status = mla_loaded_open_tokens(context, l, paths->items[0], &s->file);
        if (!status) s->stream = *mla_token_file_stream(s->file, MLA_TRAIN);
        return status;
    }
    for (int64_t i = 0; i < paths->count; i++)
        if (mla_ends_with(paths->items[i], ".h5"))
            return mla_fail(context, MLA_ERROR_ARGUMENT, "--calibrate %s: a token file cannot be joined with others",
                            paths->items[i]);
    const mla_status status = mla_loaded_encode(context, l, &(mla_texts){paths, o->field, false}, &s->ids);
    s->stream = s->ids.stream;
    return status;
}

/* That of the checkpoint's training, as far as the model goes. */
static mla_status usual_sequence(mla_context *context, const mla_loaded *l, int64_t *out) {
    mla_recipe recipe;
    const char *json = mla_checkpoint_recipe(l->checkpoint);
    const mla_status status = json ? mla_recipe_parse_json(context, mla_checkpoint_path(l->checkpoint), json, &recipe)
                                   : mla_recipe_default(context, &recipe);
    if (status) return status;
    const int64_t most = l->model->config.max_position_embeddings;
    *out = recipe.train.sequence < most ? recipe.train.sequence : most;
    mla_recipe_free(&recipe);
    return MLA_OK;
}

mla_status mla_calibration_open(mla_context *context, const mla_loaded *l, const mla_calibration_options *o,
                                mla_calibration_source *s, mla_calibration_text *out) {
    *out = (mla_calibration_text){.sequence = o->sequence, .tokens = o->tokens};
    if (o->sequence && !o->calibrate.count)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "--sequence %lld: it is for text; name some with --calibrate",
                        (long long)o->sequence);
    mla_status status = o->calibrate.count ? read_text(context, l, o, s) : MLA_OK;
    if (!status && !out->sequence) status = usual_sequence(context, l, &out->sequence);
    if (!status && o->calibrate.count) out->text = &s->stream;
    return status;
}

void mla_calibration_close(mla_calibration_source *s) {
    mla_token_file_close(s->file);
    mla_text_ids_free(&s->ids);
    *s = (mla_calibration_source){0};
}
