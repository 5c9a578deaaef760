/* The command line of a subcommand, from the field table of its options. */
#ifndef MLA_TRAIN_COMMANDS_ARGUMENTS_H
#define MLA_TRAIN_COMMANDS_ARGUMENTS_H

#include "train/commands/commands.h"

typedef struct {
    void *options;     /* the command's struct, defaults filled in */
    mla_list operands; /* what is no option; everything after "--" */
    bool help;         /* --help or -h was given: nothing else has been checked */
} mla_arguments;

/* Reads `--key value`, `--key=value`, switches and operands, in any order. Unknown options are errors that
 * name the nearest known one. The caller frees in any case. MLA_ERROR_ARGUMENT for wrong use. */
mla_status mla_arguments_parse(mla_context *context, const mla_command *command, int count, char *const *words,
                               mla_arguments *out);
void mla_arguments_free(const mla_command *command, mla_arguments *arguments);

/* The subcommand of this name. Error: MLA_ERROR_ARGUMENT names the nearest. */
mla_status mla_command_find(mla_context *context, const char *name, const mla_command **out);

#endif
