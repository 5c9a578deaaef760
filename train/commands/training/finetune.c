/* mla finetune: a run that begins with a model that is there: all of it, named parameters, or adapters on it. */
#include "train/commands/training/train.h"

static mla_status finetune_run(const mla_call *call) { return mla_train_command_run(call, true); }

const mla_command mla_command_finetune = {
    .name = "finetune",
    .summary = "Train a model further on other text: all of it, named parameters, or adapters on its projections",
    .operands = "[RECIPE]",
    .min_operands = 0,
    .max_operands = 1,
    .example = "  mla finetune lora.yaml --set finetune.base=runs/quickstart --out runs/legal\n"
               "  mla finetune lora.yaml --set lora.targets=q_proj,kv_b_proj:16:32 --out runs/legal\n"
               "  mla finetune mla-small --set finetune.base=runs/quickstart --set finetune.train=kv_b_proj,o_proj "
               "--out runs/legal\n"
               "  mla finetune --resume runs/legal\n"
               "  mla generate --checkpoint runs/quickstart --adapter runs/legal\n",
    .options = &mla_train_command_options,
    .run = finetune_run,
    .ranks = true,
};
