/* mla.1, in man(7)'s macros. */
#include "autograd/base/utf8.h"
#include "train/commands/help.h"
#include "train/commands/version.h"
#include "train/recipe/recipe.h"

#include <string.h>

/* The bytes of a character beyond ASCII, which roff does not read, as its number. */
static size_t write_character(FILE *out, const char *text, size_t length) {
    const size_t bytes = (size_t)mla_utf8_length(text, (int64_t)length);
    unsigned code = (unsigned char)text[0] & (0xffu >> (bytes + 1));
    for (size_t i = 1; i < bytes; i++) code = code << 6 | ((unsigned char)text[i] & 0x3f);
    fprintf(out, "\\[u%04X]", code);
    return bytes;
}

/* A line of its own: what would be a request or an escape is none, and - is the sign that can be typed. The texts are
 * the program's own, valid UTF-8. */
static void write_text(FILE *out, const char *text, size_t length) {
    if (length && (text[0] == '.' || text[0] == '\'')) fputs("\\&", out);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] >= 0x80) i += write_character(out, text + i, length - i) - 1;
        else if (text[i] == '\\') fputs("\\e", out);
        else if (text[i] == '-') fputs("\\-", out);
        else if (text[i] == '"') fputs("\\(dq", out);
        else fputc(text[i], out);
    fputc('\n', out);
}

static void write_line(FILE *out, const char *text) { write_text(out, text, strlen(text)); }

/* Whole lines as they stand. */
static void write_example(FILE *out, const char *text) {
    fputs(".PP\n.EX\n", out);
    for (const char *end; *text; text = *end ? end + 1 : end) {
        end = strchrnul(text, '\n');
        write_text(out, text, (size_t)(end - text));
    }
    fputs(".EE\n", out);
}

static void write_field(void *user, const mla_help_line *line) {
    FILE *out = user;
    const bool is_switch = line->name[0] == '-' && line->field->type == MLA_FIELD_BOOL;
    char text[1024];
    fputs(".TP\n.B ", out);
    write_line(out, line->name);
    if (is_switch) snprintf(text, sizeof text, "%s", line->field->help);
    else
        snprintf(text, sizeof text, "%s (%s%s%s)", line->field->help, line->expects, line->standard ? "; default " : "",
                 line->standard ? line->standard : "");
    write_line(out, text);
}

static void write_command(mla_context *context, FILE *out, const mla_command *command) {
    fprintf(out, ".SS mla %s\n.B mla %s\n", command->name, command->name);
    fputs("[\\fIOPTION\\fR]...\n", out);
    if (command->operands[0]) write_line(out, command->operands);
    fputs(".PP\n", out);
    write_line(out, command->summary);
    mla_help_each(context, "--", command->options, write_field, out);
    write_example(out, command->example);
}

void mla_help_man(mla_context *context, FILE *out) {
    fprintf(out, ".TH MLA 1 \"\" \"mla %s\" \"User Commands\"\n", mla_version());
    fputs(".SH NAME\nmla \\- train and use small language models with multi\\-head latent attention\n"
          ".SH SYNOPSIS\n.B mla\n\\fICOMMAND\\fR [\\fIOPTION\\fR]... [\\fIOPERAND\\fR]...\n.br\n"
          ".B mla help\n[\\fICOMMAND\\fR | \\fBrecipe\\fR]\n.br\n.B mla \\-\\-version\n[\\fB\\-\\-json\\fR]\n"
          ".SH DESCRIPTION\nTrains and adapts small language models with Multi\\-head Latent Attention on CPUs.\n"
          "A recipe, a YAML file, decides a run;\n.B \\-\\-set\nchanges any of its keys.\n"
          "A run that was stopped resumes as if it had never stopped.\n"
          ".SH COMMANDS\n",
          out);
    for (int i = 0; mla_commands[i]; i++) write_command(context, out, mla_commands[i]);
    fputs(".SH RECIPES\nThe keys of a recipe, as\n.IR section.key ;\nin the file, keys are indented below their "
          "section.\n",
          out);
    mla_help_each(context, "", &mla_recipe_fields, write_field, out);
    fputs(".SH EXIT STATUS\n.TP\n.B 0\ndone\n.TP\n.B 1\nfailed\n.TP\n.B 2\nwrong use\n.TP\n.B 75\n"
          "stopped by a signal after saving: resume the run\n"
          ".SH ENVIRONMENT\n.TP\n.B OMP_NUM_THREADS\nthreads, where the recipe's train.threads is 0\n"
          ".TP\n.BR GOMP_SPINCOUNT \", \" OMP_WAIT_POLICY\nhow long threads that wait spin, where mla's choice is not "
          "wanted\n"
          ".TP\n.B DNNL_MAX_CPU_ISA\nwhat of the processor oneDNN may use, such as AVX2\n"
          ".SH FILES\n.TP\n.I share/mla/recipes\nrecipes that can be named without their folder\n"
          ".TP\n.I share/mla/slurm/train.sbatch\na job for Slurm that resumes by itself\n",
          out);
}
