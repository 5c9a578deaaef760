/* mla draw: a picture of a model, or the figures that it is made of. */
#include "autograd/base/file.h"
#include "train/commands/commands.h"
#include "train/commands/output.h"
#include "train/commands/pictures/subject.h"

#include <stdlib.h>

typedef struct {
    mla_list text, adapter;
    char *out, *field;
    int64_t tokens, layer, head;
    mla_theme theme;
    bool measure, unsealed, json;
} options;

#define AT(member) offsetof(options, member)
static const mla_field fields[] = {
    {"out", MLA_FIELD_STRING, AT(out), .help = "the picture: FILE.svg or FILE.png"},
    {"theme", MLA_FIELD_ENUM, AT(theme), .names = mla_theme_names, .help = "colours on white, or on black"},
    {"tokens", MLA_FIELD_INT, AT(tokens), 0, 0, 1 << 24,
     .help = "cache, compare: length of the text that costs are stated for, usually 10000; flow: 512 or as many as the "
             "model reads; spectrum: most of the text that is read, usually 8192"},
    {"measure", MLA_FIELD_BOOL, AT(measure), .help = "flow: the time of each step, and the error of bf16"},
    {"text", MLA_FIELD_LIST, AT(text),
     .help =
         "attention: the sentence; spectrum: texts or a token file, by default what the run held out; may be repeated"},
    {"field", MLA_FIELD_STRING, AT(field), .text = "text", .help = "JSONL: the key that holds the text"},
    {"layer", MLA_FIELD_INT, AT(layer), -1, -1, INT32_MAX,
     .help = "flow, attention: the layer, from 0; -1: the first, all"},
    {"head", MLA_FIELD_INT, AT(head), -1, -1, INT32_MAX, .help = "attention: the head, from 0; -1: all"},
    {"adapter", MLA_FIELD_LIST, AT(adapter), .help = "an adapter to put on the model, or PATH:SHARE; may be repeated"},
    {"unsealed", MLA_FIELD_BOOL, AT(unsealed),
     .help = "accept a checkpoint that another program wrote, without a seal"},
    {"json", MLA_FIELD_BOOL, AT(json), .help = "print the figures that are drawn, as JSON; --out may be left out"},
};
#undef AT
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(options)};

static mla_status choose_format(mla_context *context, const char *path, mla_canvas_format *out) {
    *out = mla_ends_with(path, ".png") ? MLA_CANVAS_PNG : MLA_CANVAS_SVG;
    if (*out == MLA_CANVAS_PNG || mla_ends_with(path, ".svg")) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT, "--out %s: a picture is FILE.svg or FILE.png", path);
}

static mla_status write_picture(const mla_call *call, const mla_picture *picture, const json_t *figures,
                                mla_canvas_format format) {
    const options *o = call->options;
    char *bytes;
    int64_t length;
    mla_status status = mla_picture_draw(call->context, picture, figures, format, o->theme, &bytes, &length);
    if (!status) status = mla_file_write(call->context, o->out, bytes, length);
    free(bytes);
    return status;
}

static mla_status draw_run(const mla_call *call) {
    const options *o = call->options;
    const mla_picture_options picture_options = {
        .tokens = o->tokens, .measure = o->measure, .layer = o->layer, .head = o->head};
    const mla_picture *picture;
    mla_opened_subject opened = {0};
    mla_canvas_format format = MLA_CANVAS_SVG;
    json_t *figures = NULL;
    if (!o->out && !o->json)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT, "draw needs --out FILE.svg or FILE.png, or --json");
    mla_status status = mla_picture_find(call->context, call->operands->items[0], &picture);
    if (!status && o->out) status = choose_format(call->context, o->out, &format);
    if (!status)
        status = mla_subject_open(call->context, &opened, call->operands->items[1],
                                  &(mla_load_options){.adapter = o->adapter, .unsealed = o->unsealed});
    if (!status) status = mla_subject_read_text(&opened, picture->text, &o->text, o->field);
    if (!status) status = mla_picture_figures(picture, &opened.subject, &picture_options, &figures);
    if (!status && o->out) status = write_picture(call, picture, figures, format);
    if (!status && o->json) mla_output_print(call->out, json_incref(figures));
    json_decref(figures);
    mla_subject_close(&opened);
    return status;
}

const mla_command mla_command_draw = {
    .name = "draw",
    .summary = "Draw a picture of a model: its cache, the flow of a layer, its latents, what it looks at",
    .operands = "cache|flow|compare|rope|spectrum|attention MODEL",
    .min_operands = 2,
    .max_operands = 2,
    .example = "  mla draw cache runs/quickstart --out cache.svg\n"
               "  mla draw flow runs/quickstart --measure --out flow.png --theme dark\n"
               "  mla draw compare mla-small --json\n"
               "  mla draw spectrum runs/quickstart --text letters --out spectrum.svg\n"
               "  mla draw attention runs/quickstart --text \"You may copy it\" --layer 1 --head 0 --out map.png\n",
    .options = &table,
    .run = draw_run,
};
