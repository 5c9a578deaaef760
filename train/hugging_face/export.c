#include "train/hugging_face/export.h"
#include "autograd/base/file.h"
#include "data/formats/safetensors.h"
#include "data/tokenizer/tokenizer.h"
#include "layers/head/head.h"
#include "train/adapter/adapter.h"
#include "train/checkpoint/checkpoint.h"
#include "train/convert/latent_rank.h"
#include "train/hugging_face/families/family.h"
#include "train/hugging_face/families/rotary_rows.h"
#include "train/hugging_face/model_config.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the folder ---- */

static bool is_dot(const char *name) { return !strcmp(name, ".") || !strcmp(name, ".."); }

/* New, or empty. */
static mla_status check_folder(mla_context *context, const char *folder) {
    DIR *list = opendir(folder);
    if (!list && errno == ENOENT) return MLA_OK;
    if (!list) return mla_fail(context, MLA_ERROR_IO, "%s: cannot be read: %s", folder, strerror(errno));
    struct dirent *entry;
    while ((entry = readdir(list)) && is_dot(entry->d_name)) continue;
    const mla_status status = !entry ? MLA_OK
                                     : mla_fail(context, MLA_ERROR_ARGUMENT,
                                                "%s is not empty (%.100s is in it); name a new "
                                                "folder, or remove it",
                                                folder, entry->d_name);
    closedir(list);
    return status;
}

/* Removes a folder of files that we have made. */
static void remove_folder(const char *folder) {
    char path[2 * PATH_MAX];
    DIR *list = opendir(folder);
    for (struct dirent *entry; list && (entry = readdir(list));) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (!is_dot(entry->d_name)) unlink(path);
    }
    if (list) closedir(list);
    rmdir(folder);
}

static mla_status write_text(mla_context *context, const char *folder, const char *name, const char *text) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= PATH_MAX)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%s: the path is too long", folder);
    return mla_file_write(context, path, text, (int64_t)strlen(text));
}

static mla_status write_json(mla_context *context, const char *folder, const char *name, const json_t *json) {
    char *text = mla_json_text(context, json);
    const mla_status status = text ? write_text(context, folder, name, text) : mla_error_status(context);
    free(text);
    return status;
}

/* ---- the numbers ---- */

typedef struct {
    const mla_tensor_map *map;
    mla_safetensors_item *items;
    float **made; /* values of items that no parameter holds as they are; otherwise NULL */
} tensors;

/* The i-th tensor of the file. */
static mla_status make_item(const tensors *t, int64_t i) {
    const mla_mapped_tensor *mapped = &t->map->tensors[i];
    const int64_t count = mla_count(&mapped->shape);
    const float *values = mla_mapped_values(t->map, mapped);
    mla_status status = MLA_OK;
    if (!values) {
        values = t->made[i] = mla_alloc(t->map->model->context, count, sizeof **t->made, mapped->name);
        status = values ? mla_tensor_export(t->map, mapped, t->made[i]) : MLA_ERROR_MEMORY;
    }
    t->items[i] = (mla_safetensors_item){.name = mapped->name, .ndim = mapped->shape.ndim, .values = values};
    memcpy(t->items[i].shape, mapped->shape.shape, sizeof mapped->shape.shape);
    return status;
}

static mla_status write_mapped(const mla_tensor_map *map, const char *folder, mla_safetensors_type type,
                               int64_t shard_bytes) {
    mla_context *context = map->model->context;
    tensors t = {.map = map,
                 .items = mla_alloc(context, map->count, sizeof *t.items, "the list of tensors"),
                 .made = mla_alloc(context, map->count, sizeof *t.made, "the list of tensors")};
    mla_status status = t.items && t.made ? MLA_OK : MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < map->count && !status; i++) status = make_item(&t, i);
    if (!status)
        status = mla_safetensors_write_model(context, folder, type, t.items, map->count,
                                             shard_bytes ? shard_bytes : 5000000000);
    for (int64_t i = 0; t.made && i < map->count; i++) free(t.made[i]);
    free(t.made);
    free(t.items);
    return status;
}

/* ---- the texts ---- */

typedef struct {
    mla_context *context;
    const char *folder;
    const mla_checkpoint *checkpoint;
    mla_decoder *model;
    json_t *origin;           /* /config/hugging_face, or NULL */
    mla_tokenizer *tokenizer; /* or NULL */
    mla_safetensors_type type;
    const mla_family *family;
} job;

static mla_safetensors_type choose_type(mla_export_type wanted, const json_t *origin) {
    const char *name = json_string_value(json_object_get(origin, "dtype"));
    if (wanted != MLA_EXPORT_AUTO) return (mla_safetensors_type)(wanted - MLA_EXPORT_F32);
    for (int i = 0; name && i <= MLA_SAFETENSORS_F16; i++)
        if (!strcmp(name, mla_safetensors_type_name((mla_safetensors_type)i))) return (mla_safetensors_type)i;
    return MLA_SAFETENSORS_F32;
}

static const char *type_word(mla_safetensors_type type) {
    return type == MLA_SAFETENSORS_F32 ? "float32" : type == MLA_SAFETENSORS_BF16 ? "bfloat16" : "float16";
}

/* The token that texts begin with; -1 where there is none, or no tokenizer. */
static int32_t begin_of(const mla_tokenizer *tokenizer) {
    const mla_frame frame = tokenizer ? mla_tokenizer_frame(tokenizer) : (mla_frame){0};
    return frame.before_count ? frame.before[0] : -1;
}

/* Ids that transformers would otherwise take from the defaults of the architecture. */
static void set_special_ids(json_t *config, const mla_tokenizer *tokenizer) {
    const int32_t separator = tokenizer ? mla_tokenizer_separator(tokenizer) : -1, begin = begin_of(tokenizer);
    if (!json_object_get(config, "bos_token_id"))
        json_object_set_new(config, "bos_token_id", begin >= 0 ? json_integer(begin) : json_null());
    if (!json_object_get(config, "eos_token_id"))
        json_object_set_new(config, "eos_token_id", separator >= 0 ? json_integer(separator) : json_null());
}

/* A head that labels finds the last token of a padded text by it; most models pad with their end token. */
static void set_padding(json_t *config) {
    if (!json_is_integer(json_object_get(config, "pad_token_id")) &&
        json_is_integer(json_object_get(config, "eos_token_id")))
        json_object_set(config, "pad_token_id", json_object_get(config, "eos_token_id"));
}

static mla_status write_config(job *j, mla_export_report *report) {
    mla_model_config exported = j->model->config;
    if (mla_rotary_order_differs(&exported)) exported.rope_interleave = false; /* as write_tensors reorders the rows */
    json_t *config = mla_hugging_face_write(j->context, &exported, json_object_get(j->origin, "config.json"));
    if (!config) return mla_error_status(j->context);
    j->family = mla_family_of(config);
    json_object_del(config, "dtype"); /* the name of transformers 5, which reads the older one as well */
    json_object_set_new(config, "torch_dtype", json_string(type_word(j->type)));
    set_special_ids(config, j->tokenizer);
    snprintf(report->architecture, sizeof report->architecture, "%s",
             json_string_value(json_array_get(json_object_get(config, "architectures"), 0)));
    mla_status status = mla_hugging_face_set_labels(j->context, mla_checkpoint_labels(j->checkpoint), config);
    if (!status && exported.head->labels) set_padding(config);
    if (!status && mla_checkpoint_thresholds(j->checkpoint))
        mla_warn(j->context, "Hugging Face's files have no place for the threshold: it is not exported; it was %s",
                 mla_checkpoint_thresholds(j->checkpoint));
    if (!status) status = write_json(j->context, j->folder, "config.json", config);
    json_decref(config);
    return status;
}

static mla_status name_token(const job *j, json_t *config, const char *key, int32_t id) {
    const char *bytes;
    int64_t length;
    if (id < 0 || json_object_get(config, key)) return MLA_OK;
    const mla_status status = mla_tokenizer_spelling(j->context, j->tokenizer, id, &bytes, &length);
    if (!status) json_object_set_new(config, key, json_stringn(bytes, (size_t)length));
    return status;
}

/* Of a model that was trained here: what lay beside its tokenizer, and what AutoTokenizer needs besides to find the
 * tokens at the beginning and the end. */
static mla_status write_tokenizer_config(const job *j, const json_t *beside) {
    json_t *config = json_pack("{s:s, s:b}", "tokenizer_class", "PreTrainedTokenizerFast",
                               "clean_up_tokenization_spaces", 0);
    json_object_update(config, (json_t *)(uintptr_t)beside);
    json_object_set_new(config, "model_max_length", json_integer(j->model->config.max_position_embeddings));
    mla_status status = name_token(j, config, "bos_token", begin_of(j->tokenizer));
    if (!status) status = name_token(j, config, "eos_token", mla_tokenizer_separator(j->tokenizer));
    if (!status) status = write_json(j->context, j->folder, "tokenizer_config.json", config);
    json_decref(config);
    return status;
}

static mla_status write_tokenizer(const job *j) {
    const char *text = mla_checkpoint_tokenizer(j->checkpoint);
    const json_t *config = json_object_get(j->origin, "tokenizer_config.json");
    if (!text) return MLA_OK;
    mla_status status = write_text(j->context, j->folder, "tokenizer.json", text);
    if (status) return status;
    if (!config || !json_object_get(j->origin, "config.json")) return write_tokenizer_config(j, config);
    return write_json(j->context, j->folder, "tokenizer_config.json", config);
}

static mla_status write_generation_config(const job *j) {
    const json_t *config = json_object_get(j->origin, "generation_config.json");
    return config ? write_json(j->context, j->folder, "generation_config.json", config) : MLA_OK;
}

static mla_status write_chat_template(const job *j) {
    const char *text = json_string_value(json_object_get(j->origin, "chat_template.jinja"));
    return text ? write_text(j->context, j->folder, "chat_template.jinja", text) : MLA_OK;
}

/* ---- all of it ---- */

static mla_status prepare(job *j) {
    const char *origin = mla_checkpoint_hugging_face(j->checkpoint),
               *tokenizer = mla_checkpoint_tokenizer(j->checkpoint);
    char where[PATH_MAX + 32];
    mla_status status = MLA_OK;
    snprintf(where, sizeof where, "%s: /config/hugging_face: ", mla_checkpoint_path(j->checkpoint));
    if (origin) status = mla_json_parse(j->context, where, origin, &j->origin);
    if (!status && tokenizer)
        status = mla_tokenizer_parse(j->context, &j->tokenizer, tokenizer, (int64_t)strlen(tokenizer));
    return status;
}

/* transformers has one latent rank for all layers: smaller ones grow, which keeps the function. */
static mla_status make_ranks_equal(job *j) {
    const mla_model_config *c = &j->model->config;
    const mla_latent_rank_options options = {.latent = {1, {c->kv_lora_rank}}};
    mla_latent_rank_report *report;
    mla_decoder *equal = NULL;
    if (!c->kv_lora_ranks.count) return MLA_OK;
    report = mla_alloc(j->context, 1, sizeof *report, "the ranks");
    if (!report) return MLA_ERROR_MEMORY;
    const mla_status status = mla_change_latent_rank(j->model, &options, &equal, report);
    free(report);
    if (status) return status;
    mla_warn(j->context, "%s: transformers has one kv_lora_rank for all layers: the smaller ones are filled up to %lld",
             mla_checkpoint_path(j->checkpoint), (long long)c->kv_lora_rank);
    mla_decoder_destroy(j->model);
    j->model = equal;
    return MLA_OK;
}

static mla_status write_tensors(const job *j, int64_t shard_bytes) {
    mla_tensor_map map;
    mla_status status = mla_tensor_map_create(&map, j->model, j->family->rules);
    if (!status) status = write_mapped(&map, j->folder, j->type, shard_bytes);
    mla_tensor_map_destroy(&map);
    return status;
}

static mla_status write_all(job *j, const mla_export_options *options, mla_export_report *report) {
    mla_status status = write_config(j, report);
    if (!status) status = write_tensors(j, options->shard_bytes);
    if (!status) status = write_tokenizer(j);
    if (!status) status = write_generation_config(j);
    if (!status) status = write_chat_template(j);
    return status;
}

/* Writes FOLDER.tmp, then renames it. */
static mla_status write_folder(job *j, const char *folder, const mla_export_options *options,
                               mla_export_report *report) {
    char temporary[PATH_MAX];
    snprintf(temporary, sizeof temporary, "%s.tmp", folder);
    if (mkdir(temporary, 0777))
        return mla_fail(j->context, MLA_ERROR_IO, "cannot make %s: %s%s", temporary, strerror(errno),
                        errno == EEXIST ? " (an export was interrupted; remove it)" : "");
    j->folder = temporary;
    mla_status status = write_all(j, options, report);
    if (!status) status = mla_replace(j->context, temporary, folder, (mla_step_hook){0});
    if (status) remove_folder(temporary);
    return status;
}

/* The same for the checkpoint of an adapter, in PEFT's files. */
static mla_status export_adapter(mla_context *context, const char *path, const char *folder,
                                 mla_export_report *report) {
    mla_adapter *adapter = NULL;
    mla_status status = mla_adapter_open(context, &adapter, path);
    if (!status) {
        report->parameters = mla_adapter_elements(adapter);
        report->type = mla_safetensors_type_name(MLA_SAFETENSORS_F32);
        snprintf(report->architecture, sizeof report->architecture, "LoRA on %lld projections, for PEFT",
                 (long long)mla_adapter_projections(adapter));
    }
    mla_adapter_close(adapter);
    return status ? status : mla_adapter_export(context, path, folder);
}

mla_status mla_export(mla_context *context, const char *path, const char *folder, const mla_export_options *options,
                      mla_export_report *report) {
    char name[PATH_MAX - 8];
    mla_checkpoint *checkpoint = NULL;
    job j = {.context = context};
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/') length--;
    if (length >= sizeof name) return mla_fail(context, MLA_ERROR_ARGUMENT, "%.100s...: the path is too long", folder);
    snprintf(name, sizeof name, "%.*s", (int)length, folder);
    *report = (mla_export_report){0};
    mla_status status = check_folder(context, name);
    if (!status) status = mla_checkpoint_open(context, &checkpoint, path);
    if (!status && mla_checkpoint_adapter(checkpoint)) {
        mla_checkpoint_close(checkpoint);
        return export_adapter(context, path, name, report);
    }
    if (!status) status = mla_checkpoint_build(checkpoint, &j.model);
    j.checkpoint = checkpoint;
    if (!status) status = make_ranks_equal(&j);
    if (!status) status = prepare(&j);
    j.type = choose_type(options->type, j.origin);
    if (!status) status = write_folder(&j, name, options, report);
    if (!status) report->parameters = mla_params_elements(j.model->params, false);
    report->type = mla_safetensors_type_name(j.type);
    mla_tokenizer_destroy(j.tokenizer);
    json_decref(j.origin);
    mla_decoder_destroy(j.model);
    mla_checkpoint_close(checkpoint);
    return status;
}
