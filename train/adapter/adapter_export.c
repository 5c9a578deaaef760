#include "autograd/base/file.h"
#include "layers/attention/latent_attention.h"
#include "train/adapter/adapter_internal.h"
#include "train/hugging_face/families/rotary_rows.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- tensors ---- */

typedef struct {
    const mla_adapter *adapter;
    const mla_model_config *config;
    mla_safetensors_item *items;
    float **values; /* of the items */
    int64_t count;
} job;

static const mla_adapter_tensor *adapter_export_find(const mla_adapter *a, const char *name) {
    for (int64_t i = 0; i < a->count; i++)
        if (!strcmp(a->tensors[i].name, name)) return &a->tensors[i];
    return NULL;
}

static bool is_start(const char *name) { return strstr(name, ".start.") != NULL; }

/* "...lora_A.start.weight" beside "...lora_A.weight". */
static const mla_adapter_tensor *start_of(const mla_adapter *a, const mla_adapter_tensor *t) {
    char name[2 * MLA_H5_MAX_NAME];
    const int stem = (int)(strlen(t->name) - strlen(".weight"));
    if (stem <= 0 || strcmp(t->name + stem, ".weight")) return NULL;
    snprintf(name, sizeof name, "%.*s.start.weight", stem, t->name);
    return adapter_export_find(a, name);
}

static mla_status read_rows(const job *j, const mla_adapter_tensor *t, float *out) {
    mla_tensor to = {.dtype = MLA_F32, .ndim = t->ndim, .data = out};
    memcpy(to.shape, t->shape, sizeof to.shape);
    const mla_status status = mla_adapter_read_tensor(j->adapter, t, &to);
    if (status || strstr(t->name, ".lora_A.") || !mla_rotary_rows_differ(j->config, t->name)) return status;
    return mla_rotary_rows_reorder(j->adapter->context, j->config->head_dim, t->shape[0], t->ndim > 1 ? t->shape[1] : 1,
                                   MLA_TO_HALVES, out);
}

/* A' = [A; A0] and B' = [B, -B0], so that B' A' = B A - B0 A0. `values` holds both, one after the other. */
static mla_status adapter_export_join(const job *j, const mla_adapter_tensor *t, float *values) {
    const int64_t rows = t->shape[0], width = t->shape[1], count = rows * width;
    if (strstr(t->name, ".lora_A.")) return MLA_OK;
    float *joined = mla_alloc(j->adapter->context, 2 * count, sizeof *joined, t->name);
    for (int64_t i = 0; joined && i < rows; i++)
        for (int64_t k = 0; k < width; k++) {
            joined[2 * i * width + k] = values[i * width + k];
            joined[(2 * i + 1) * width + k] = -values[count + i * width + k];
        }
    if (joined) memcpy(values, joined, (size_t)(2 * count) * sizeof *joined);
    free(joined);
    return joined ? MLA_OK : MLA_ERROR_MEMORY;
}

static mla_status adapter_export_add(job *j, const mla_adapter_tensor *t) {
    const mla_adapter_tensor *start = start_of(j->adapter, t);
    const int64_t count = mla_shape_count(t->ndim, t->shape), i = j->count++;
    float *values = j->values[i] = mla_alloc(j->adapter->context, start ? 2 * count : count, sizeof *values, t->name);
    if (!values) return MLA_ERROR_MEMORY;
    j->items[i] = (mla_safetensors_item){.name = t->name, .ndim = t->ndim, .values = values};
    memcpy(j->items[i].shape, t->shape, sizeof t->shape);
    mla_status status = read_rows(j, t, values);
    if (status || !start) return status;
    status = read_rows(j, start, values + count);
    j->items[i].shape[strstr(t->name, ".lora_A.") ? 0 : 1] *= 2;
    return status ? status : adapter_export_join(j, t, values);
}

static mla_status write_tensors(job *j, const char *path) {
    const mla_adapter *a = j->adapter;
    j->items = mla_alloc(a->context, a->count, sizeof *j->items, "the tensors of an adapter");
    j->values = mla_alloc(a->context, a->count, sizeof *j->values, "the tensors of an adapter");
    mla_status status = j->items && j->values ? MLA_OK : MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < a->count && !status; i++)
        if (!is_start(a->tensors[i].name)) status = adapter_export_add(j, &a->tensors[i]);
    if (!status) status = mla_safetensors_write(a->context, path, MLA_SAFETENSORS_F32, j->items, j->count);
    for (int64_t i = 0; i < j->count; i++) free(j->values[i]);
    free(j->values);
    free(j->items);
    return status;
}

/* ---- the configuration ---- */

static void adapter_export_multiply(json_t *config, const char *pattern, const char *key, double factor) {
    json_t *value, *group = json_object_get(config, pattern);
    const char *name;
    json_object_foreach(group, name, value)
        json_object_set_new(group, name, json_real(json_number_value(value) * factor));
    json_object_set_new(config, key, json_real(json_number_value(json_object_get(config, key)) * factor));
}

static void round_ranks(json_t *config) {
    json_t *value, *group = json_object_get(config, "rank_pattern");
    const char *name;
    json_object_foreach(group, name, value)
        json_object_set_new(group, name, json_integer((json_int_t)json_number_value(value)));
    json_object_set_new(config, "r", json_integer((json_int_t)json_number_value(json_object_get(config, "r"))));
}

/* Twice the rank with the same scale: alpha / rank, or alpha / sqrt(rank). */
static void double_ranks(json_t *config) {
    const bool rslora = json_is_true(json_object_get(config, "use_rslora"));
    adapter_export_multiply(config, "rank_pattern", "r", 2);
    round_ranks(config);
    adapter_export_multiply(config, "alpha_pattern", "lora_alpha", rslora ? sqrt(2) : 2);
    json_object_set_new(config, "init_lora_weights", json_true());
}

static mla_status write_config(const mla_adapter *a, const char *path) {
    json_t *config = json_deep_copy(a->config);
    const char *init = json_string_value(json_object_get(config, "init_lora_weights"));
    if (init && !strcmp(init, "mla-pissa")) double_ranks(config);
    char *text = config ? mla_json_text(a->context, config) : NULL;
    const mla_status status = text ? mla_file_write(a->context, path, text, (int64_t)strlen(text)) : MLA_ERROR_MEMORY;
    free(text);
    json_decref(config);
    return status;
}

/* ---- both, in a new folder ---- */

/* PEFT (0.21, with transformers 5) takes the feed-forward of DeepSeek's architectures for experts, also where it is
 * dense, and leaves adapters for it out without an error. */
static void warn_of_experts(const mla_adapter *a) {
    bool found = false;
    for (int64_t i = 0; i < a->count; i++) found |= strstr(a->tensors[i].name, ".mlp.") != NULL;
    if (found && mla_checkpoint_config(a->checkpoint)->attention == &mla_latent_kind)
        mla_warn(a->context,
                 "%s: has adapters on the feed-forward, which PEFT may leave out for DeepSeek's architectures: "
                 "merge it (mla merge) and export the model instead",
                 a->path);
}

static mla_status write_folder(mla_adapter *a, const char *folder) {
    char temporary[PATH_MAX], tensors[PATH_MAX + 32], config[PATH_MAX + 32], labels[PATH_MAX + 32];
    job j = {.adapter = a, .config = mla_checkpoint_config(a->checkpoint)};
    snprintf(temporary, sizeof temporary, "%.4000s.tmp", folder);
    snprintf(tensors, sizeof tensors, "%s/adapter_model.safetensors", temporary);
    snprintf(config, sizeof config, "%s/adapter_config.json", temporary);
    snprintf(labels, sizeof labels, "%s/labels.json", temporary);
    if (mkdir(temporary, 0777))
        return mla_fail(a->context, MLA_ERROR_IO, "cannot make %s: %s", temporary, strerror(errno));
    mla_status status = write_tensors(&j, tensors);
    if (!status) status = write_config(a, config);
    if (!status) status = mla_adapter_write_labels(a, labels);
    if (!status) status = mla_replace(a->context, temporary, folder, (mla_step_hook){0});
    if (!status) return MLA_OK;
    unlink(tensors);
    unlink(config);
    unlink(labels);
    rmdir(temporary);
    return status;
}

mla_status mla_adapter_export(mla_context *context, const char *path, const char *folder) {
    mla_adapter *a;
    mla_status status = mla_adapter_open(context, &a, path);
    if (!status && !a->checkpoint)
        status = mla_fail(context, MLA_ERROR_ARGUMENT, "%s: is in PEFT's form already", path);
    if (!status && rmdir(folder) && errno != ENOENT) /* goes only where it is empty */
        status = mla_fail(context, MLA_ERROR_ARGUMENT, "%s is in the way (%s); name a new folder", folder,
                          strerror(errno));
    if (!status) status = write_folder(a, folder);
    if (!status) warn_of_experts(a);
    mla_adapter_close(a);
    return status;
}
