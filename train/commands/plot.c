/* mla plot: loss curves. */
#include "train/log/plot.h"
#include "train/commands/commands.h"

#include <sys/ioctl.h>
#include <unistd.h>

typedef struct {
    char *out;
    bool terminal;
} options;

static const mla_field fields[] = {
    {"out", MLA_FIELD_STRING, offsetof(options, out),
     .help = "the picture, .png or .svg; default: loss.png in the first DIR"},
    {"terminal", MLA_FIELD_BOOL, offsetof(options, terminal), .help = "draw with characters instead"},
};
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(options)};

static int columns(FILE *out) {
    struct winsize window;
    return ioctl(fileno(out), TIOCGWINSZ, &window) == 0 && window.ws_col > 0 ? window.ws_col : 100;
}

static mla_status draw_picture(const mla_call *call, const char *path) {
    char standard[4096];
    if (!path) {
        snprintf(standard, sizeof standard, "%s/loss.png", call->operands->items[0]);
        path = standard;
    }
    mla_status status = mla_plot_picture(call->context, call->operands, path);
    if (!status) fprintf(call->out, "%s\n", path);
    return status;
}

static mla_status plot_run(const mla_call *call) {
    const options *o = call->options;
    mla_status status = MLA_OK;
    if (o->terminal) status = mla_plot_terminal(call->context, call->operands, call->out, columns(call->out));
    if (!status && (o->out || !o->terminal)) status = draw_picture(call, o->out);
    return status;
}

const mla_command mla_command_plot = {
    .name = "plot",
    .summary = "Draw the loss of runs over their steps, with gnuplot",
    .operands = "DIR...",
    .min_operands = 1,
    .max_operands = 100,
    .example = "  mla plot runs/quickstart --terminal\n"
               "  mla plot runs/mla-small runs/mha-small --out compare.png\n",
    .options = &table,
    .run = plot_run,
};
