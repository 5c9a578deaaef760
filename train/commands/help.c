#include "train/commands/help.h"
#include "train/recipe/recipe.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_WIDTH = 30 }; /* of the first column */

/* ---- the tables */

typedef struct {
    mla_context *context;
    void (*visit)(void *user, const mla_help_line *line);
    void *user;
} walk;

static void walk_table(const walk *w, const char *prefix, const mla_field_table *table, const void *object) {
    for (int i = 0; i < table->count; i++) {
        const mla_field *field = &table->fields[i];
        const void *member = (const char *)object + field->offset;
        char name[128], expects[256];
        const bool group = field->type == MLA_FIELD_GROUP;
        snprintf(name, sizeof name, "%s%s%s", prefix, field->key, group ? "." : "");
        if (group) {
            walk_table(w, name, field->group, member);
            continue;
        }
        mla_field_expects(field, sizeof expects, expects);
        char *number = field->type <= MLA_FIELD_ENUM ? mla_field_format(w->context, field, member) : NULL;
        w->visit(w->user, &(mla_help_line){name, field, expects, number ? number : field->text});
        free(number);
    }
}

void mla_help_each(mla_context *context, const char *prefix, const mla_field_table *table,
                   void (*visit)(void *user, const mla_help_line *line), void *user) {
    const walk w = {context, visit, user};
    void *object = mla_alloc(context, 1, table->size, "defaults");
    if (object && !mla_fields_default(context, table, object)) walk_table(&w, prefix, table, object);
    if (object) mla_fields_free(table, object);
    free(object);
}

/* ---- the help */

void mla_help_overview(FILE *out) {
    fputs("usage: mla COMMAND [OPTION]... [OPERAND]...\n\n"
          "Trains and uses small language models with multi-head latent attention.\n\n",
          out);
    for (int i = 0; mla_commands[i]; i++) fprintf(out, "  %-10s %s\n", mla_commands[i]->name, mla_commands[i]->summary);
    fputs("\n  mla COMMAND --help   options and an example\n"
          "  mla help recipe      all keys of a recipe\n"
          "  mla --version        versions, and what the processor has; --json\n\n"
          "Exit codes: 0 done, 1 failed, 2 wrong use, 75 stopped by a signal after saving.\n",
          out);
}

/* " (a whole number; default 5)"; nothing for a switch. */
static void print_line(void *user, const mla_help_line *line) {
    FILE *out = user;
    const char *help = line->field->help;
    const bool option = line->name[0] == '-';
    if (strlen(line->name) > NAME_WIDTH) fprintf(out, "  %s\n  %*s %s", line->name, NAME_WIDTH, "", help);
    else fprintf(out, "  %-*s %s", NAME_WIDTH, line->name, help);
    if (option && line->field->type == MLA_FIELD_BOOL) fputc('\n', out);
    else if (line->standard) fprintf(out, " (%s; default %s)\n", line->expects, line->standard);
    else fprintf(out, " (%s)\n", line->expects);
}

void mla_help_command(mla_context *context, FILE *out, const mla_command *command) {
    fprintf(out, "usage: mla %s [OPTION]...%s%s\n\n%s\n\n", command->name, command->operands[0] ? " " : "",
            command->operands, command->summary);
    mla_help_each(context, "--", command->options, print_line, out);
    fprintf(out, "  %-*s this text\n\nExample:\n%s", NAME_WIDTH, "--help", command->example);
}

void mla_help_recipe(mla_context *context, FILE *out) {
    fputs("Keys of a recipe, as section.key; in the file, keys are indented below their section.\n"
          "Each can be set on the command line: --set optim.lr=3e-4; an empty text counts as not given:\n"
          "--set data.source=\n\n",
          out);
    mla_help_each(context, "", &mla_recipe_fields, print_line, out);
}
