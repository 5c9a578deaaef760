/* What `mla train` and `mla finetune` share. */
#ifndef MLA_TRAIN_COMMANDS_TRAINING_TRAIN_H
#define MLA_TRAIN_COMMANDS_TRAINING_TRAIN_H

#include "train/commands/commands.h"

extern const mla_field_table mla_train_command_options;

/* Runs the recipe; with `needs_base`, one without finetune.base is refused. */
mla_status mla_train_command_run(const mla_call *call, bool needs_base);

#endif
