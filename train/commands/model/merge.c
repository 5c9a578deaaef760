/* mla merge: a model and its adapters become one model. */
#include "train/adapter/adapter.h"
#include "train/commands/commands.h"
#include "train/commands/load.h"

typedef struct {
    char *out;
} options;

static const mla_field fields[] = {
    {"out", MLA_FIELD_STRING, offsetof(options, out), .help = "the checkpoint to write; needed"},
};
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(options)};

static mla_status merge_run(const mla_call *call) {
    const options *o = call->options;
    const mla_load_options load = {.checkpoint = call->operands->items[0],
                                   .adapter = {call->operands->items + 1, call->operands->count - 1, 0}};
    mla_loaded l;
    if (!o->out)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT, "merge needs --out FILE.h5, the checkpoint to write");
    mla_status status = mla_load_model(call->context, &l, &load);
    if (!status) status = mla_adapters_merge(l.model);
    if (!status) status = mla_loaded_save(call->context, &l, l.model, o->out);
    if (!status)
        fprintf(call->out, "adapters         %lld, in the weights of %s\ncheckpoint       %s\n",
                (long long)load.adapter.count, mla_checkpoint_path(l.checkpoint), o->out);
    mla_loaded_close(&l);
    return status;
}

const mla_command mla_command_merge = {
    .name = "merge",
    .summary = "Put adapters into the weights of their model: a checkpoint like any other",
    .operands = "BASE ADAPTER[:SHARE]...",
    .min_operands = 2,
    .max_operands = INT64_MAX,
    .example = "  mla merge runs/quickstart runs/legal --out legal.h5\n"
               "  mla merge qwen3.h5 peft-folder runs/terse:0.5 --out both.h5\n",
    .options = &table,
    .run = merge_run,
};
