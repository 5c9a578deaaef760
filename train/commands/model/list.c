/* mla list: the models and adapters in a folder, a line each. */
#include "autograd/base/file.h"
#include "data/formats/h5.h"
#include "train/adapter/adapter.h"
#include "train/checkpoint/checkpoint.h"
#include "train/commands/commands.h"
#include "train/commands/output.h"
#include "train/log/metrics.h"
#include "train/log/progress.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    bool json;
} options;

static const mla_field fields[] = {
    {"json", MLA_FIELD_BOOL, offsetof(options, json), .help = "print as JSON: an array of objects"},
};
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(options)};

/* One line. What an entry does not have stays 0, NaN or "". */
typedef struct {
    char name[NAME_MAX + 1], base[PATH_MAX];
    const char *kind;
    int64_t parameters, step;
    double held_out_loss; /* of the run's last evaluation, nats per token */
} line;

/* ---- what an entry is ---- */

static mla_status count_parameters(mla_context *context, const mla_model_config *config, int64_t *count) {
    mla_decoder *model;
    const mla_status status = mla_decoder_create(context, &model, config);
    if (status) return status;
    *count = mla_params_elements(model->params, false);
    mla_decoder_destroy(model);
    return MLA_OK;
}

/* An adapter's size and base: of a folder of PEFT, or a checkpoint. */
static mla_status read_adapter(mla_context *context, const char *path, line *out) {
    mla_adapter *adapter;
    const mla_status status = mla_adapter_open(context, &adapter, path);
    if (!status) {
        const char *base = json_string_value(json_object_get(mla_adapter_config(adapter), "base_model_name_or_path"));
        out->parameters = mla_adapter_elements(adapter);
        snprintf(out->base, sizeof out->base, "%s", base ? base : "");
    }
    mla_adapter_close(adapter);
    return status;
}

/* A checkpoint, or the newest good one of a run folder. */
static mla_status read_checkpoint(mla_context *context, const char *path, line *out) {
    mla_checkpoint *checkpoint;
    mla_run_state state = {0};
    mla_status status = mla_checkpoint_open(context, &checkpoint, path);
    if (status) return status;
    const bool is_adapter = mla_checkpoint_adapter(checkpoint) != NULL;
    out->kind = is_adapter ? "adapter" : "model";
    if (mla_checkpoint_has_state(checkpoint)) status = mla_checkpoint_read_state(checkpoint, &state);
    out->step = state.step;
    if (!status)
        status = is_adapter ? read_adapter(context, mla_checkpoint_path(checkpoint), out)
                            : count_parameters(context, mla_checkpoint_config(checkpoint), &out->parameters);
    mla_checkpoint_close(checkpoint);
    return status;
}

static bool has_file(const char *folder, const char *name) {
    char path[PATH_MAX];
    return snprintf(path, sizeof path, "%s/%s", folder, name) < PATH_MAX && !access(path, F_OK);
}

static mla_status read_folder(mla_context *context, const char *path, line *out) {
    int64_t checkpoints = 0;
    if (has_file(path, "adapter_config.json")) return out->kind = "adapter (PEFT)", read_adapter(context, path, out);
    if (has_file(path, "config.json")) return out->kind = "model (Hugging Face)", MLA_OK;
    mla_status status = mla_checkpoint_count(context, path, &checkpoints);
    if (!status && checkpoints) status = read_checkpoint(context, path, out);
    if (status || !checkpoints) return status;
    mla_metrics evaluated;
    status = mla_metrics_held_out(context, path, INT64_MAX, &evaluated);
    out->held_out_loss = evaluated.held_out_loss;
    return status;
}

/* Token files are none of what is listed. */
static mla_status read_file(mla_context *context, const char *path, line *out) {
    mla_h5_file *file;
    mla_h5_info *all = NULL;
    int64_t count = 0;
    bool is_checkpoint = false;
    const mla_status status = mla_h5_open(context, &file, path, MLA_H5_ANY);
    if (!status && !mla_h5_list(file, "/config", &all, &count))
        for (int64_t i = 0; i < count; i++) is_checkpoint |= !strcmp(all[i].name, "/config/model");
    mla_h5_close(file);
    free(all);
    if (!status) mla_clear_error(context);
    return status || !is_checkpoint ? status : read_checkpoint(context, path, out);
}

/* An entry that cannot be read is a warning and a line. Returns whether there is something to list. */
static bool read_entry(mla_context *context, const char *folder, const char *name, line *out) {
    char path[PATH_MAX];
    struct stat info;
    *out = (line){.held_out_loss = NAN};
    snprintf(out->name, sizeof out->name, "%s", name);
    if (name[0] == '.' || snprintf(path, sizeof path, "%s/%s", folder, name) >= PATH_MAX || stat(path, &info))
        return false;
    if (!S_ISDIR(info.st_mode) && !mla_ends_with(name, ".h5")) return false;
    if ((S_ISDIR(info.st_mode) ? read_folder : read_file)(context, path, out)) {
        mla_warn(context, "%s", mla_error(context));
        mla_clear_error(context);
        out->kind = "unreadable";
    }
    return out->kind != NULL;
}

/* ---- what is printed ---- */

static json_t *list_describe(const line *l) {
    json_t *json = json_object();
    json_object_set_new(json, "name", json_string(l->name));
    json_object_set_new(json, "kind", json_string(l->kind));
    json_object_set_new(json, "parameters", l->parameters ? json_integer(l->parameters) : json_null());
    json_object_set_new(json, "step", l->step ? json_integer(l->step) : json_null());
    mla_output_number(json, "held_out_loss", l->held_out_loss);
    json_object_set_new(json, "base", l->base[0] ? json_string(l->base) : json_null());
    return json;
}

static void print_row(FILE *out, int width, const char *const cells[6]) {
    fprintf(out, "%-*s  %-20s  %10s  %8s  %8s  %s\n", width, cells[0], cells[1], cells[2], cells[3], cells[4],
            cells[5]);
}

static void print_line(FILE *out, int width, const line *l) {
    char parameters[32] = "-", step[32] = "-", loss[32] = "-";
    if (l->parameters) mla_count_text((double)l->parameters, sizeof parameters, parameters);
    if (l->step) snprintf(step, sizeof step, "%lld", (long long)l->step);
    if (isfinite(l->held_out_loss)) snprintf(loss, sizeof loss, "%.4f", l->held_out_loss);
    print_row(out, width, (const char *const[]){l->name, l->kind, parameters, step, loss, l->base});
}

static int width_of(const line *lines, int64_t count) {
    size_t width = strlen("name");
    for (int64_t i = 0; i < count; i++)
        if (strlen(lines[i].name) > width) width = strlen(lines[i].name);
    return (int)width;
}

static void print_table(FILE *out, const line *lines, int64_t count) {
    const int width = width_of(lines, count);
    print_row(out, width, (const char *const[]){"name", "kind", "parameters", "step", "held out", "base"});
    for (int64_t i = 0; i < count; i++) print_line(out, width, &lines[i]);
}

static void list_print_json(FILE *out, const line *lines, int64_t count) {
    json_t *json = json_array();
    for (int64_t i = 0; i < count; i++) json_array_append_new(json, list_describe(&lines[i]));
    mla_output_print(out, json);
}

static mla_status list_run(const mla_call *call) {
    const options *o = call->options;
    const char *folder = call->operands->count ? call->operands->items[0] : "runs";
    struct dirent **entries = NULL;
    int64_t count = 0;
    const int found = scandir(folder, &entries, NULL, alphasort);
    if (found < 0) return mla_fail(call->context, MLA_ERROR_IO, "%s: %s", folder, strerror(errno));
    line *lines = mla_alloc(call->context, found, sizeof *lines, "the list");
    for (int i = 0; i < found; i++) {
        if (lines) count += read_entry(call->context, folder, entries[i]->d_name, &lines[count]);
        free(entries[i]);
    }
    free(entries);
    if (lines) (o->json ? list_print_json : print_table)(call->out, lines, count);
    free(lines);
    return mla_error_status(call->context);
}

const mla_command mla_command_list = {
    .name = "list",
    .summary = "List the models and adapters in a folder, and which model an adapter is for",
    .operands = "[DIR]",
    .min_operands = 0,
    .max_operands = 1,
    .example = "  mla list runs\n"
               "  mla list . --json\n",
    .options = &table,
    .run = list_run,
};
