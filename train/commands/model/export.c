/* mla export: a checkpoint becomes files that transformers and others load. */
#include "train/hugging_face/export.h"
#include "train/commands/commands.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    char *out, *shard_size;
    mla_export_type dtype;
} options;

static const char *const types[] = {"auto", "f32", "bf16", "f16", NULL};

static const mla_field fields[] = {
    {"out", MLA_FIELD_STRING, offsetof(options, out), .help = "the folder to write, a new or an empty one; needed"},
    {"dtype", MLA_FIELD_ENUM, offsetof(options, dtype), .names = types,
     .help = "of the numbers; auto: as in the files that were imported, otherwise f32"},
    {"shard-size", MLA_FIELD_STRING, offsetof(options, shard_size), .text = "5GB",
     .help = "the most for one file, as 500MB or 5GB; a larger model is cut into several"},
};
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(options)};

/* "500MB", "5GB", "1000000": bytes. */
static mla_status read_size(mla_context *context, const char *text, int64_t *bytes) {
    static const struct {
        const char *unit;
        double bytes;
    } units[] = {{"", 1}, {"B", 1}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}};
    char *end;
    const double number = strtod(text, &end);
    for (int i = 0; i < 5; i++)
        if (end != text && !strcmp(end, units[i].unit) && number * units[i].bytes >= 1 &&
            number * units[i].bytes < 1e18) {
            *bytes = (int64_t)(number * units[i].bytes);
            return MLA_OK;
        }
    return mla_fail(context, MLA_ERROR_ARGUMENT, "--shard-size: expected a size as 500MB or 5GB, got \"%s\"", text);
}

static mla_status export_run(const mla_call *call) {
    const options *o = call->options;
    mla_export_options export = {.type = o->dtype};
    mla_export_report report;
    if (!o->out) return mla_fail(call->context, MLA_ERROR_ARGUMENT, "export needs --out DIR, the folder to write");
    mla_status status = read_size(call->context, o->shard_size, &export.shard_bytes);
    if (!status) status = mla_export(call->context, call->operands->items[0], o->out, &export, &report);
    if (status) return status;
    fprintf(call->out, "architecture     %s\n", report.architecture);
    fprintf(call->out, "parameters       %lld, as %s\n", (long long)report.parameters, report.type);
    fprintf(call->out, "folder           %s\n", o->out);
    return MLA_OK;
}

const mla_command mla_command_export = {
    .name = "export",
    .summary = "Write a model as files that transformers and others load",
    .operands = "CHECKPOINT",
    .min_operands = 1,
    .max_operands = 1,
    .example = "  mla export runs/quickstart --out quickstart-hf\n"
               "  mla export qwen3.h5 --out qwen3-hf --dtype bf16 --shard-size 2GB\n",
    .options = &table,
    .run = export_run,
};
