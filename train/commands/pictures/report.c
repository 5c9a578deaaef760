/* mla report: what runs were, or a comparison of them found, as one page of HTML. */
#include "autograd/base/file.h"
#include "train/commands/commands.h"
#include "train/commands/pictures/sample.h"
#include "train/commands/pictures/subject.h"
#include "train/log/tensorboard.h"
#include "train/report/comparison_report.h"
#include "train/report/html.h"
#include "train/report/run_report.h"

#include <stdlib.h>
#include <unistd.h>

typedef struct {
    char *out, *title, *tensorboard;
    mla_list sample;
    int64_t sample_tokens;
} options;

#define AT(member) offsetof(options, member)
static const mla_field fields[] = {
    {"out", MLA_FIELD_STRING, AT(out), .help = "the page, FILE.html; default: report.html in the first DIR"},
    {"title", MLA_FIELD_STRING, AT(title), .help = "its title; default: the first DIR"},
    {"sample", MLA_FIELD_LIST, AT(sample),
     .help =
         "a text that the last checkpoint of each run continues, always by the most probable token; may be repeated"},
    {"sample-tokens", MLA_FIELD_INT, AT(sample_tokens), 100, 1, 1 << 20, .help = "by how many tokens at most"},
    {"tensorboard", MLA_FIELD_STRING, AT(tensorboard),
     .help = "write what TensorBoard reads into this folder, one below it for each run; no page, but by --out"},
};
#undef AT
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(options)};

static mla_status draw_picture(mla_context *context, const mla_picture *picture, const json_t *figures, mla_theme theme,
                               mla_picture_bytes *out) {
    return mla_picture_draw(context, picture, figures, MLA_CANVAS_SVG, theme, &out->bytes, &out->length);
}

/* A picture that a model does not have, such as that of a rope without one, is left out. */
static mla_status write_picture(const mla_opened_subject *opened, FILE *page, const mla_picture *picture) {
    mla_context *context = opened->subject.context;
    const mla_picture_options usual = {.layer = -1, .head = -1};
    mla_picture_bytes light = {0}, dark = {0};
    json_t *figures = NULL;
    mla_status status = mla_picture_figures(picture, &opened->subject, &usual, &figures);
    if (status == MLA_ERROR_ARGUMENT) {
        mla_clear_error(context);
        return MLA_OK;
    }
    if (!status) status = draw_picture(context, picture, figures, MLA_THEME_LIGHT, &light);
    if (!status) status = draw_picture(context, picture, figures, MLA_THEME_DARK, &dark);
    if (!status) mla_html_picture(page, picture->summary, &light, &dark);
    free(light.bytes), free(dark.bytes);
    json_decref(figures);
    return status;
}

/* Of the shape alone, so that a run without a checkpoint has them too. */
static mla_status write_model(mla_context *context, FILE *page, const char *folder) {
    mla_opened_subject opened = {0};
    char recipe[4096];
    if (snprintf(recipe, sizeof recipe, "%s/recipe.yaml", folder) >= (int)sizeof recipe || access(recipe, F_OK))
        return MLA_OK;
    mla_html_element(page, "h2", "The model");
    mla_status status = mla_subject_open(context, &opened, recipe, &(mla_load_options){0});
    fputs("<div class=\"pictures\">\n", page);
    for (int i = 0; mla_pictures[i] && !status; i++)
        if (!mla_pictures[i]->needs_weights && mla_pictures[i]->text == MLA_PICTURE_NO_TEXT)
            status = write_picture(&opened, page, mla_pictures[i]);
    fputs("</div>\n", page);
    mla_subject_close(&opened);
    return status;
}

static mla_status write_samples(const mla_call *call, FILE *page) {
    const options *o = call->options;
    mla_status status = MLA_OK;
    mla_html_element(page, "h2", "Samples");
    for (int64_t i = 0; i < call->operands->count && !status; i++)
        status = mla_report_samples(call->context, page, call->operands->items[i], &o->sample, o->sample_tokens);
    return status;
}

static mla_status write_page(const mla_call *call, FILE *page) {
    const options *o = call->options;
    const char *first = call->operands->items[0];
    const bool comparison = mla_is_comparison(first);
    if (comparison && call->operands->count > 1)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT, "%s is a comparison, which is reported by itself", first);
    if (comparison && o->sample.count)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT,
                        "--sample: %s is a comparison of many models: name one of its runs instead", first);
    mla_html_begin(page, o->title ? o->title : first);
    mla_status status = comparison ? mla_report_comparison(call->context, page, first)
                                   : mla_report_runs(call->context, page, call->operands);
    if (!status && o->sample.count) status = write_samples(call, page);
    if (!status && !comparison) status = write_model(call->context, page, first);
    mla_html_end(page);
    return status;
}

static mla_status write_report(const mla_call *call) {
    const options *o = call->options;
    char path[4096], *bytes = NULL;
    size_t length = 0;
    snprintf(path, sizeof path, "%s/report.html", call->operands->items[0]);
    if (o->out) snprintf(path, sizeof path, "%s", o->out);
    if (!mla_ends_with(path, ".html"))
        return mla_fail(call->context, MLA_ERROR_ARGUMENT, "--out %s: a report is FILE.html", path);
    FILE *page = open_memstream(&bytes, &length);
    if (!page) return mla_fail(call->context, MLA_ERROR_MEMORY, "no memory for a page");
    mla_status status = write_page(call, page);
    const bool torn = ferror(page);
    if ((fclose(page) || torn) && !status) status = mla_fail(call->context, MLA_ERROR_MEMORY, "no memory for a page");
    if (!status) status = mla_file_write(call->context, path, bytes, (int64_t)length);
    if (!status) fprintf(call->out, "%s\n", path);
    free(bytes);
    return status;
}

static mla_status write_events(const mla_call *call) {
    const options *o = call->options;
    mla_list paths = {0};
    const mla_status status = mla_tensorboard_export(call->context, o->tensorboard, call->operands, &paths);
    for (int64_t i = 0; i < paths.count; i++) fprintf(call->out, "%s\n", paths.items[i]);
    mla_list_free(&paths);
    return status;
}

static mla_status report_run(const mla_call *call) {
    const options *o = call->options;
    const mla_status status = o->tensorboard ? write_events(call) : MLA_OK;
    return status || (o->tensorboard && !o->out) ? status : write_report(call);
}

const mla_command mla_command_report = {
    .name = "report",
    .summary = "Write a page of HTML about runs, or a comparison: curves, recipes, pictures of the model",
    .operands = "DIR...",
    .min_operands = 1,
    .max_operands = 100,
    .example = "  mla report runs/quickstart --out quickstart.html\n"
               "  mla report runs/mla-small runs/mha-small --title \"MLA or MHA\" --out both.html\n"
               "  mla report runs/quickstart --sample 'The licensee may' --sample 'You may not'\n"
               "  mla report runs/compare\n"
               "  mla report runs/quickstart --tensorboard events\n",
    .options = &table,
    .run = report_run,
};
