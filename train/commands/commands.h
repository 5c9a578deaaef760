/* The subcommands of `mla`. One is one file, NAME.c with `const mla_command mla_command_NAME`, and one line
 * in the list of commands.c.
 *
 * A command's options are a struct with a field table (autograd/schema/fields.h): the key "held-out" is the option
 * --held-out, with its type, default, bounds and help. A bool is a switch; an
 * option of paths (LIST) may be given repeatedly, one of WORDS or INTS holds several in its text. */
#ifndef MLA_TRAIN_COMMANDS_COMMANDS_H
#define MLA_TRAIN_COMMANDS_COMMANDS_H

#include "autograd/schema/fields.h"
#include "train/distributed/comm.h"
#include <stdio.h>

/* One use of a command. */
typedef struct {
    mla_context *context;
    const void *options; /* the struct of the command's table */
    const mla_list *operands;
    mla_comm **comm; /* set by a command that works on several ranks; the caller ends it */
    FILE *out;       /* for results; the library itself prints nowhere */
} mla_call;

typedef struct {
    const char *name, *summary;
    const char *operands; /* as in the usage line: "SOURCE..." */
    int64_t min_operands, max_operands;
    const char *example; /* whole command lines, with a newline after each */
    const mla_field_table *options;
    mla_status (*run)(const mla_call *call); /* MLA_ERROR_ARGUMENT: wrong use */
    bool ranks;                              /* several processes may share its work; others are refused under mpirun */
} mla_command;

/* All subcommands in the order of the help; the last entry is NULL. */
extern const mla_command *const mla_commands[];

#endif
