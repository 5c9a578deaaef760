#include "train/commands/commands.h"

extern const mla_command mla_command_prepare, mla_command_train, mla_command_eval, mla_command_generate,
    mla_command_classify, mla_command_info, mla_command_plot, mla_command_import, mla_command_export, mla_command_bench,
    mla_command_finetune, mla_command_merge, mla_command_rank, mla_command_convert, mla_command_data,
    mla_command_forecast, mla_command_list, mla_command_compare, mla_command_draw, mla_command_report;

const mla_command *const mla_commands[] = {&mla_command_prepare,  &mla_command_data,     &mla_command_train,
                                           &mla_command_finetune, &mla_command_eval,     &mla_command_generate,
                                           &mla_command_classify, &mla_command_info,     &mla_command_list,
                                           &mla_command_plot,     &mla_command_report,   &mla_command_draw,
                                           &mla_command_merge,    &mla_command_rank,     &mla_command_convert,
                                           &mla_command_import,   &mla_command_export,   &mla_command_bench,
                                           &mla_command_compare,  &mla_command_forecast, NULL};
