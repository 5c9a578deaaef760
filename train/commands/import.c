/* mla import: a model in Hugging Face's files becomes a checkpoint. */
#include "train/import.h"
#include "train/commands/commands.h"

typedef struct {
    char *out;
} options;

static const mla_field fields[] = {
    {"out", MLA_FIELD_STRING, offsetof(options, out), .help = "the checkpoint to write; needed"},
};
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(options)};

static mla_status run(const mla_call *call) {
    const options *o = call->options;
    mla_import_report report;
    if (!o->out || !o->out[0])
        return mla_fail(call->context, MLA_ERROR_ARGUMENT,
                        "import needs --out FILE.h5, the checkpoint to write");
    const mla_status status = mla_import(call->context, call->operands->items[0], o->out, &report);
    if (status) return status;
    fprintf(call->out, "parameters       %lld, in the files %s\n", (long long)report.parameters, report.type);
    fprintf(call->out, "tokenizer        %s\n", report.tokenizer ? "tokenizer.json" : "none");
    fprintf(call->out, "checkpoint       %s\n", o->out);
    return MLA_OK;
}

const mla_command mla_command_import = {
    .name = "import",
    .summary = "Make a checkpoint of a model in Hugging Face's files",
    .operands = "DIR",
    .min_operands = 1,
    .max_operands = 1,
    .example = "  mla import Qwen3-0.6B --out qwen3.h5\n",
    .options = &table,
    .run = run,
};
