#include "train/commands/arguments.h"
#include "autograd/schema/nearest.h"

#include <stdlib.h>
#include <string.h>

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
