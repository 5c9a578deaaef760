#include "train/commands/arguments.h"
#include "autograd/schema/nearest.h"
#include "train/recipe/recipe.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_WIDTH = 30 }; /* of the first column of the help */

/* ---- parsing */

static mla_status unknown_option(mla_context *context, const mla_command *command, const char *name) {
    mla_nearest nearest = {.word = name};
    for (int i = 0; i < command->options->count; i++) mla_nearest_offer(&nearest, command->options->fields[i].key);
    mla_nearest_offer(&nearest, "help");
    if (nearest.best)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "unknown option --%s; did you mean --%s?", name, nearest.best);
    return mla_fail(context, MLA_ERROR_ARGUMENT, "unknown option --%s; see mla %s --help", name, command->name);
}

static mla_status set_option(mla_context *context, const mla_command *command, void *options, const char *key,
                             const char *value) {
    void *member;
    const mla_field *field = mla_fields_find(command->options, options, key, &member);
    if (field->type != MLA_FIELD_LIST) return mla_fields_set(context, "--", command->options, options, key, value);
    return *value ? mla_list_append(context, member, value) : MLA_OK; /* may be repeated */
}

/* Takes the option words[*i], and the word after it where that is its value. */
static mla_status parse_option(mla_context *context, const mla_command *command, int count, char *const *words, int *i,
                               void *options) {
    const char *word = words[*i] + 2, *value = strchr(word, '=');
    char *key = strndup(word, value ? (size_t)(value - word) : strlen(word));
    if (!key) return mla_fail(context, MLA_ERROR_MEMORY, "no memory for an option");
    void *member;
    const mla_field *field = mla_fields_find(command->options, options, key, &member);
    mla_status status = MLA_OK;
    if (value) value++;
    if (!field) status = unknown_option(context, command, key);
    else if (field->type == MLA_FIELD_BOOL && !value) value = "true";
    else if (!value && *i + 1 < count) value = words[++*i];
    if (!status && !value) status = mla_fail(context, MLA_ERROR_ARGUMENT, "--%s needs a value (%s)", key, field->help);
    if (!status) status = set_option(context, command, options, key, value);
    free(key);
    return status;
}

static bool asks_for_help(int count, char *const *words) {
    for (int i = 0; i < count && strcmp(words[i], "--"); i++)
        if (!strcmp(words[i], "--help") || !strcmp(words[i], "-h")) return true;
    return false;
}

static mla_status check_operands(mla_context *context, const mla_command *command, int64_t count) {
    if (count >= command->min_operands && count <= command->max_operands) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT, "%s %s: usage: mla %s [OPTION]...%s%s (see mla %s --help)",
                    command->name, count < command->min_operands ? "needs more" : "got too much", command->name,
                    command->operands[0] ? " " : "", command->operands, command->name);
}

static mla_status parse_words(mla_context *context, const mla_command *command, int count, char *const *words,
                              mla_arguments *out) {
    bool only_operands = false;
    mla_status status = MLA_OK;
    for (int i = 0; i < count && !status; i++) {
        const bool dash = words[i][0] == '-' && words[i][1];
        if (!words[i][0]) continue; /* empty: not given */
        if (only_operands || !dash) status = mla_list_append(context, &out->operands, words[i]);
        else if (!strcmp(words[i], "--")) only_operands = true;
        else if (words[i][1] == '-') status = parse_option(context, command, count, words, &i, out->options);
        else
            status = mla_fail(context, MLA_ERROR_ARGUMENT,
                              "unknown option %s; options start with two dashes, see "
                              "mla %s --help",
                              words[i], command->name);
    }
    return status ? status : check_operands(context, command, out->operands.count);
}

mla_status mla_arguments_parse(mla_context *context, const mla_command *command, int count, char *const *words,
                               mla_arguments *out) {
    *out = (mla_arguments){.help = asks_for_help(count, words)};
    if (out->help) return MLA_OK;
    out->options = mla_alloc(context, 1, command->options->size, "options");
    mla_status status = out->options ? mla_fields_default(context, command->options, out->options) : MLA_ERROR_MEMORY;
    return status ? status : parse_words(context, command, count, words, out);
}

void mla_arguments_free(const mla_command *command, mla_arguments *arguments) {
    if (arguments->options) mla_fields_free(command->options, arguments->options);
    free(arguments->options);
    mla_list_free(&arguments->operands);
}

mla_status mla_command_find(mla_context *context, const char *name, const mla_command **out) {
    mla_nearest nearest = {.word = name};
    for (int i = 0; mla_commands[i]; i++) {
        *out = mla_commands[i];
        if (!strcmp(name, (*out)->name)) return MLA_OK;
        mla_nearest_offer(&nearest, (*out)->name);
    }
    if (nearest.best)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "unknown command \"%s\"; did you mean \"%s\"?", name,
                        nearest.best);
    return mla_fail(context, MLA_ERROR_ARGUMENT, "unknown command \"%s\"; see mla --help", name);
}

/* ---- help */

void mla_help_overview(FILE *out) {
    fputs("usage: mla COMMAND [OPTION]... [OPERAND]...\n\n"
          "Trains and uses small language models with multi-head latent attention.\n\n",
          out);
    for (int i = 0; mla_commands[i]; i++) fprintf(out, "  %-10s %s\n", mla_commands[i]->name, mla_commands[i]->summary);
    fputs("\n  mla COMMAND --help   options and an example\n"
          "  mla help recipe      all keys of a recipe\n"
          "  mla --version\n\n"
          "Exit codes: 0 done, 1 failed, 2 wrong use, 75 stopped by a signal after saving.\n",
          out);
}

/* " (a whole number; default 5)"; nothing for a switch. */
static void describe_values(mla_context *context, FILE *out, const mla_field *field, const void *member) {
    char expects[256];
    mla_field_expects(field, sizeof expects, expects);
    char *number = field->type <= MLA_FIELD_ENUM ? mla_field_format(context, field, member) : NULL;
    const char *text = number ? number : field->text;
    if (text) fprintf(out, " (%s; default %s)\n", expects, text);
    else fprintf(out, " (%s)\n", expects);
    free(number);
}

static void describe_table(mla_context *context, FILE *out, const char *prefix, const mla_field_table *table,
                           const void *object) {
    for (int i = 0; i < table->count; i++) {
        const mla_field *field = &table->fields[i];
        const void *member = (const char *)object + field->offset;
        char name[128];
        const bool group = field->type == MLA_FIELD_GROUP, option = prefix[0] == '-';
        snprintf(name, sizeof name, "%s%s%s", prefix, field->key, group ? "." : "");
        if (group) {
            describe_table(context, out, name, field->group, member);
            continue;
        }
        if (strlen(name) > NAME_WIDTH) fprintf(out, "  %s\n  %*s %s", name, NAME_WIDTH, "", field->help);
        else fprintf(out, "  %-*s %s", NAME_WIDTH, name, field->help);
        if (option && field->type == MLA_FIELD_BOOL) fputc('\n', out);
        else describe_values(context, out, field, member);
    }
}

static void describe_defaults(mla_context *context, FILE *out, const char *prefix, const mla_field_table *table) {
    void *object = mla_alloc(context, 1, table->size, "defaults");
    if (object && !mla_fields_default(context, table, object)) describe_table(context, out, prefix, table, object);
    if (object) mla_fields_free(table, object);
    free(object);
}

void mla_help_command(mla_context *context, FILE *out, const mla_command *command) {
    fprintf(out, "usage: mla %s [OPTION]...%s%s\n\n%s\n\n", command->name, command->operands[0] ? " " : "",
            command->operands, command->summary);
    describe_defaults(context, out, "--", command->options);
    fprintf(out, "  %-*s this text\n\nExample:\n%s", NAME_WIDTH, "--help", command->example);
}

void mla_help_recipe(mla_context *context, FILE *out) {
    fputs("Keys of a recipe, as section.key; in the file, keys are indented below their section.\n"
          "Each can be set on the command line: --set optim.lr=3e-4; an empty text counts as not given:\n"
          "--set data.source=\n\n",
          out);
    describe_defaults(context, out, "", &mla_recipe_fields);
}
