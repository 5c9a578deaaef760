#include "train/draw/figures.h"
#include "train/draw/picture.h"

#include <stdio.h>
#include <string.h>

extern const mla_picture mla_picture_cache, mla_picture_flow, mla_picture_compare, mla_picture_rope,
    mla_picture_spectrum, mla_picture_attention;

const mla_picture *const mla_pictures[] = {&mla_picture_cache,
                                           &mla_picture_flow,
                                           &mla_picture_compare,
                                           &mla_picture_rope,
                                           &mla_picture_spectrum,
                                           &mla_picture_attention,
                                           NULL};

mla_status mla_picture_find(mla_context *context, const char *name, const mla_picture **out) {
    char names[256] = "";
    size_t used = 0;
    for (int i = 0; mla_pictures[i]; i++) {
        *out = mla_pictures[i];
        if (!strcmp(name, (*out)->name)) return MLA_OK;
        used += (size_t)snprintf(names + used, sizeof names - used, i ? ", %s" : "%s", (*out)->name);
    }
    return mla_fail(context, MLA_ERROR_ARGUMENT, "there is no picture %s: use one of %s", name, names);
}

mla_status mla_picture_figures(const mla_picture *p, const mla_picture_subject *s, const mla_picture_options *options,
                               json_t **out) {
    *out = NULL;
    if (p->needs_weights && !s->model)
        return mla_fail(s->context, MLA_ERROR_ARGUMENT,
                        "%s: the picture %s is made of trained weights: name a checkpoint or a run folder that has one",
                        s->name, p->name);
    if (p->text && !s->count)
        return mla_fail(s->context, MLA_ERROR_ARGUMENT, "the picture %s is made of a text: give one with --text",
                        p->name);
    json_t *figures = json_object();
    if (!figures) return mla_fail(s->context, MLA_ERROR_MEMORY, "no memory for the figures");
    mla_figure_set_text(figures, "picture", p->name);
    mla_figure_set_text(figures, "model", s->name);
    const mla_status status = p->figures(s, options, figures);
    if (status) json_decref(figures);
    else *out = figures;
    return status;
}

mla_status mla_picture_draw(mla_context *context, const mla_picture *p, const json_t *figures, mla_canvas_format format,
                            mla_theme theme, char **bytes, int64_t *length) {
    mla_canvas *canvas;
    *bytes = NULL;
    mla_status status = mla_canvas_create(context, &canvas, MLA_PICTURE_WIDTH, p->height(figures), format, theme);
    if (!status) {
        p->draw(canvas, figures);
        status = mla_canvas_finish(canvas, bytes, length);
    }
    mla_canvas_destroy(canvas);
    return status;
}
