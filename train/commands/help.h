/* The help of the command, from the tables that its options and the keys of recipes are read by. */
#ifndef MLA_TRAIN_COMMANDS_HELP_H
#define MLA_TRAIN_COMMANDS_HELP_H

#include "train/commands/commands.h"

/* What `mla --help`, `mla NAME --help` and `mla help recipe` print. */
void mla_help_overview(FILE *out);
void mla_help_command(mla_context *context, FILE *out, const mla_command *command);
void mla_help_recipe(mla_context *context, FILE *out);

/* What `mla help --man` and `mla help --completion` print: mla.1, and the functions of bash's completion. */
void mla_help_man(mla_context *context, FILE *out);
void mla_help_completion(mla_context *context, FILE *out);

/* One option or key. */
typedef struct {
    const char *name; /* "--out", "optim.lr" */
    const mla_field *field;
    const char *expects;  /* "a whole number" */
    const char *standard; /* the default as text; NULL: none */
} mla_help_line;

/* Calls visit for each field of a table and of its groups, named with the prefix. */
void mla_help_each(mla_context *context, const char *prefix, const mla_field_table *table,
                   void (*visit)(void *user, const mla_help_line *line), void *user);

#endif
