/* mla import: a model in Hugging Face's files becomes a checkpoint. */
#include "train/hugging_face/import.h"
#include "train/adapter/adapter.h"
#include "train/commands/commands.h"

#include <limits.h>
#include <unistd.h>

typedef struct {
    char *out, *base;
} options;

static const mla_field fields[] = {
    {"out", MLA_FIELD_STRING, offsetof(options, out), .help = "the checkpoint to write; needed"},
    {"base", MLA_FIELD_STRING, offsetof(options, base),
     .help = "for an adapter of PEFT: the checkpoint of the model it is for"},
};
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(options)};

static mla_status import_adapter(const mla_call *call, const char *folder) {
    const options *o = call->options;
    const mla_status status = mla_adapter_import(call->context, folder, o->base, o->out);
    if (!status) fprintf(call->out, "adapter          for %s\ncheckpoint       %s\n", o->base, o->out);
    return status;
}

static mla_status import_run(const mla_call *call) {
    const options *o = call->options;
    mla_import_report report;
    if (!o->out)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT, "import needs --out FILE.h5, the checkpoint to write");
    char adapter[PATH_MAX];
    snprintf(adapter, sizeof adapter, "%s/adapter_config.json", call->operands->items[0]);
    if (o->base) return import_adapter(call, call->operands->items[0]);
    if (!access(adapter, F_OK))
        return mla_fail(call->context, MLA_ERROR_ARGUMENT,
                        "%s: is an adapter: name the checkpoint of its model by --base", call->operands->items[0]);
    const mla_status status = mla_import(call->context, call->operands->items[0], o->out, &report);
    if (status) return status;
    fprintf(call->out, "parameters       %lld, in the files %s\n", (long long)report.parameters, report.type);
    fprintf(call->out, "tokenizer        %s\n", report.tokenizer ? "tokenizer.json" : "none");
    fprintf(call->out, "checkpoint       %s\n", o->out);
    return MLA_OK;
}

const mla_command mla_command_import = {
    .name = "import",
    .summary = "Make a checkpoint of a model in Hugging Face's files, or of an adapter in PEFT's",
    .operands = "DIR",
    .min_operands = 1,
    .max_operands = 1,
    .example = "  mla import Qwen3-0.6B --out qwen3.h5\n"
               "  mla import peft-folder --base qwen3.h5 --out adapter.h5\n",
    .options = &table,
    .run = import_run,
};
