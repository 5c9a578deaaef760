/* mla info: what a file or folder is, and what is in it. */
#include "autograd/base/file.h"
#include "data/formats/h5.h"
#include "data/tokens/token_file.h"
#include "train/adapter/adapter.h"
#include "train/checkpoint/checkpoint.h"
#include "train/commands/commands.h"
#include "train/commands/output.h"
#include "train/hugging_face/tokenizer_files.h"
#include "train/log/metrics.h"
#include "train/log/progress.h"
#include "train/recipe/recipe.h"

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    bool params, unsealed, json;
} options;

#define AT(member) offsetof(options, member)
static const mla_field fields[] = {
    {"params", MLA_FIELD_BOOL, AT(params), .help = "list the parameters of a model: name, shape, count"},
    {"unsealed", MLA_FIELD_BOOL, AT(unsealed),
     .help = "accept a checkpoint that another program wrote, without a seal"},
    {"json", MLA_FIELD_BOOL, AT(json), .help = "print as JSON"},
};
#undef AT
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(options)};

/* Everything is first put into a JSON object; as text, it is that object line by line. */

static void set_integer(json_t *json, const char *key, int64_t value) {
    json_object_set_new(json, key, json_integer(value));
}

static void set_text(json_t *json, const char *key, const char *value) {
    json_object_set_new(json, key, json_string(value));
}

/* ---- models */

static json_t *describe_param(const mla_param *p) {
    json_t *shape = json_array(), *json = json_object();
    for (int i = 0; i < p->spec.ndim; i++) json_array_append_new(shape, json_integer(p->spec.shape[i]));
    set_text(json, "name", p->spec.name);
    json_object_set_new(json, "shape", shape);
    set_integer(json, "count", p->count);
    return json;
}

/* The parameters of a model of this configuration, in its order. */
static mla_status describe_params(const mla_call *call, const mla_model_config *config, json_t *json) {
    const options *o = call->options;
    mla_decoder *model;
    const mla_status status = mla_decoder_create(call->context, &model, config);
    if (status) return status;
    set_integer(json, "parameters", mla_params_elements(model->params, false));
    if (o->params) {
        json_t *list = json_array();
        for (int64_t i = 0; i < mla_params_count(model->params); i++)
            json_array_append_new(list, describe_param(mla_params_at(model->params, i)));
        json_object_set_new(json, "params", list);
    }
    mla_decoder_destroy(model);
    return MLA_OK;
}

static mla_status describe_model(const mla_call *call, const mla_model_config *config, json_t *json) {
    json_t *all = NULL;
    char *text = mla_model_config_json(call->context, config);
    mla_status status = text ? mla_json_parse(call->context, "the configuration", text, &all) : MLA_ERROR_MEMORY;
    free(text);
    if (status) return status;
    json_object_set_new(json, "model", all);
    set_integer(json, "cache_bytes_per_token", mla_kv_cache_bytes_per_token(config, MLA_F32));
    set_integer(json, "cache_bytes_per_token_bf16", mla_kv_cache_bytes_per_token(config, MLA_BF16));
    set_integer(json, "multi_head_cache_bytes_per_token", mla_kv_cache_multi_head_bytes_per_token(config, MLA_F32));
    return config->vocab_size ? describe_params(call, config, json) : MLA_OK;
}

/* ---- tokenizers */

static mla_status describe_tokenizer(mla_tokenizer *tokenizer, json_t *json) {
    char hash[17];
    snprintf(hash, sizeof hash, "%016" PRIx64, mla_tokenizer_hash(tokenizer));
    set_integer(json, "vocabulary", mla_tokenizer_vocab_size(tokenizer));
    set_integer(json, "separator", mla_tokenizer_separator(tokenizer));
    set_text(json, "tokenizer_hash", hash);
    return MLA_OK;
}

static mla_status describe_tokenizer_text(const mla_call *call, const char *text, json_t *json) {
    mla_tokenizer *tokenizer;
    mla_status status = mla_tokenizer_parse(call->context, &tokenizer, text, (int64_t)strlen(text));
    if (!status) status = describe_tokenizer(tokenizer, json);
    mla_tokenizer_destroy(tokenizer);
    return status;
}

static mla_status tokenizer_info(const mla_call *call, const char *path, json_t *json) {
    mla_tokenizer *tokenizer;
    mla_status status = mla_tokenizer_load_files(call->context, &tokenizer, path);
    set_text(json, "kind", "tokenizer");
    if (!status) status = describe_tokenizer(tokenizer, json);
    mla_tokenizer_destroy(tokenizer);
    return status;
}

/* ---- checkpoints and run folders */

static json_t *parts_json(const mla_part_losses *parts) {
    json_t *json = json_array();
    for (int k = 0; k < parts->count; k++)
        json_array_append_new(json, isfinite(parts->losses[k]) ? json_real(parts->losses[k]) : json_null());
    return json;
}

/* As the log beside the checkpoint has it, of this step or the last one before it that was followed by an evaluation.
 */
static void describe_held_out(mla_context *context, const mla_checkpoint *checkpoint, int64_t step, json_t *json) {
    char path[PATH_MAX];
    mla_metrics m;
    snprintf(path, sizeof path, "%s", mla_checkpoint_path(checkpoint));
    if (mla_metrics_held_out(context, dirname(path), step, &m)) { /* the checkpoint is as good without */
        mla_warn(context, "%s", mla_error(context));
        mla_clear_error(context);
    }
    if (!isfinite(m.held_out_loss)) return;
    set_integer(json, "held_out_step", m.step);
    mla_output_number(json, "held_out_loss", m.held_out_loss);
    if (m.parts.count > 1) json_object_set_new(json, "held_out_losses", parts_json(&m.parts));
    if (isfinite(m.accuracy)) mla_output_number(json, "accuracy", m.accuracy);
    if (isfinite(m.macro_f1)) mla_output_number(json, "macro_f1", m.macro_f1);
}

static mla_status describe_state(mla_context *context, mla_checkpoint *checkpoint, json_t *json) {
    mla_run_state state;
    if (!mla_checkpoint_has_state(checkpoint)) return MLA_OK;
    const mla_status status = mla_checkpoint_read_state(checkpoint, &state);
    if (status) return status;
    set_integer(json, "step", state.step);
    set_integer(json, "trained_tokens", state.tokens);
    set_integer(json, "seed", state.seed);
    describe_held_out(context, checkpoint, state.step, json);
    return MLA_OK;
}

/* What an adapter is, in PEFT's words, and what it is for; its projections are counted, not listed. */
static mla_status adapter_info(const mla_call *call, const char *path, json_t *json) {
    mla_adapter *adapter;
    mla_status status = mla_adapter_open(call->context, &adapter, path);
    if (!status) {
        json_t *config = json_deep_copy(mla_adapter_config(adapter));
        json_object_del(config, "target_modules");
        set_text(json, "kind", "adapter");
        set_text(json, "adapter", mla_adapter_path(adapter));
        set_integer(json, "projections", mla_adapter_projections(adapter));
        set_integer(json, "adapter_parameters", mla_adapter_elements(adapter));
        json_object_set_new(json, "adapter_config", config);
    }
    mla_adapter_close(adapter);
    return status;
}

static mla_status describe_base(const mla_call *call, const mla_checkpoint *checkpoint, json_t *json) {
    json_t *base = NULL;
    const char *text = mla_checkpoint_base(checkpoint);
    const mla_status status = text ? mla_json_parse(call->context, "the base", text, &base) : MLA_OK;
    if (base) json_object_set_new(json, "base", base);
    return status;
}

static mla_status checkpoint_info(const mla_call *call, const char *path, json_t *json) {
    const options *o = call->options;
    mla_checkpoint *checkpoint;
    mla_status status = (o->unsealed ? mla_checkpoint_open_any : mla_checkpoint_open)(call->context, &checkpoint, path);
    if (status) return status;
    const char *tokenizer = mla_checkpoint_tokenizer(checkpoint);
    set_text(json, "checkpoint", mla_checkpoint_path(checkpoint));
    set_text(json, "integrity", mla_checkpoint_is_sealed(checkpoint) ? "verified" : "no seal, not verified");
    status = mla_checkpoint_adapter(checkpoint) ? adapter_info(call, mla_checkpoint_path(checkpoint), json) : MLA_OK;
    if (!status) status = describe_base(call, checkpoint, json);
    if (!status) status = describe_state(call->context, checkpoint, json);
    if (!status) status = describe_model(call, mla_checkpoint_config(checkpoint), json);
    if (!status && tokenizer) status = describe_tokenizer_text(call, tokenizer, json);
    json_object_set_new(json, "moments", json_boolean(mla_checkpoint_has_moments(checkpoint)));
    mla_checkpoint_close(checkpoint);
    return status;
}

static mla_status recipe_info(const mla_call *call, const char *path, json_t *json) {
    mla_recipe recipe;
    mla_status status = mla_recipe_load(call->context, &recipe, path, NULL, 0);
    if (status) return status;
    set_text(json, "recipe", path);
    set_integer(json, "batch", recipe.train.batch);
    set_integer(json, "sequence", recipe.train.sequence);
    if (recipe.train.steps) set_integer(json, "steps", recipe.train.steps);
    status = describe_model(call, &recipe.model, json);
    mla_recipe_free(&recipe);
    return status;
}

static mla_status folder_info(const mla_call *call, const char *path, json_t *json) {
    char recipe[PATH_MAX];
    int64_t checkpoints;
    snprintf(recipe, sizeof recipe, "%s/adapter_config.json", path);
    if (!access(recipe, F_OK)) return adapter_info(call, path, json);
    snprintf(recipe, sizeof recipe, "%s/recipe.yaml", path);
    const mla_status status = mla_checkpoint_count(call->context, path, &checkpoints);
    if (status) return status;
    set_text(json, "kind", "run folder");
    set_integer(json, "checkpoints", checkpoints);
    return !checkpoints && !access(recipe, F_OK) ? recipe_info(call, recipe, json) : checkpoint_info(call, path, json);
}

/* ---- token files */

static json_t *describe_stream(const mla_token_stream *stream) {
    json_t *json = json_object();
    set_integer(json, "documents", stream->documents);
    set_integer(json, "tokens", stream->count);
    set_integer(json, "bytes", stream->bytes);
    mla_output_number(json, "bytes_per_token", (double)stream->bytes / (double)stream->count);
    return json;
}

static mla_status token_file_info(const mla_call *call, const char *path, json_t *json) {
    mla_token_file *file;
    mla_status status = mla_token_file_open(call->context, &file, path);
    if (status) return status;
    set_text(json, "kind", "token file");
    set_text(json, "integrity", "verified");
    json_object_set_new(json, "train", describe_stream(mla_token_file_stream(file, MLA_TRAIN)));
    json_object_set_new(json, "held_out", describe_stream(mla_token_file_stream(file, MLA_HELD_OUT)));
    status = describe_tokenizer_text(call, mla_token_file_tokenizer(file), json);
    mla_token_file_close(file);
    return status;
}

/* ---- which of them it is */

static bool holds(const mla_h5_info *all, int64_t count, const char *name) {
    for (int64_t i = 0; i < count; i++)
        if (!strcmp(all[i].name, name)) return true;
    return false;
}

static mla_status h5_info(const mla_call *call, const char *path, json_t *json) {
    mla_h5_file *file;
    mla_h5_info *all = NULL;
    int64_t count = 0;
    mla_status status = mla_h5_open(call->context, &file, path, MLA_H5_ANY);
    if (!status) status = mla_h5_list(file, "/", &all, &count);
    mla_h5_close(file);
    const bool checkpoint = holds(all, count, "/config/model"), tokens = holds(all, count, "/train/tokens");
    free(all);
    if (status) return status;
    if (tokens) return token_file_info(call, path, json);
    if (checkpoint) {
        set_text(json, "kind", "checkpoint");
        return checkpoint_info(call, path, json);
    }
    return mla_fail(call->context, MLA_ERROR_FORMAT,
                    "%s: an HDF5 file, but neither a checkpoint (/config/model) nor a "
                    "token file (/train/tokens)",
                    path);
}

static mla_status info_describe(const mla_call *call, const char *path, json_t *json) {
    struct stat info;
    if (stat(path, &info)) return mla_fail(call->context, MLA_ERROR_IO, "%s: %s", path, strerror(errno));
    if (S_ISDIR(info.st_mode)) return folder_info(call, path, json);
    if (mla_ends_with(path, ".json")) return tokenizer_info(call, path, json);
    if (!mla_ends_with(path, ".yaml") && !mla_ends_with(path, ".yml")) return h5_info(call, path, json);
    set_text(json, "kind", "recipe");
    return recipe_info(call, path, json);
}

/* ---- as text */

static void print_params(FILE *out, const json_t *params) {
    size_t i, j;
    json_t *param, *size;
    json_array_foreach(params, i, param) {
        char shape[112] = "";
        size_t used = 0;
        json_array_foreach(json_object_get(param, "shape"), j, size) used += (size_t)snprintf(
            shape + used, sizeof shape - used, j ? " x %lld" : "%lld", (long long)json_integer_value(size));
        fprintf(out, "  %-58s %-16s %12lld\n", json_string_value(json_object_get(param, "name")), shape,
                (long long)json_integer_value(json_object_get(param, "count")));
    }
}

static void print_value(FILE *out, int indent, const char *key, const json_t *value);

static void print_object(FILE *out, int indent, json_t *object) {
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) print_value(out, indent, key, value);
}

static void print_value(FILE *out, int indent, const char *key, const json_t *value) {
    char *text;
    if (json_is_object(value)) {
        fprintf(out, "%*s%s:\n", indent, "", key);
        print_object(out, indent + 2, (json_t *)(uintptr_t)value);
    } else if (json_is_object(json_array_get(value, 0))) {
        fprintf(out, "%*s%s:\n", indent, "", key);
        print_params(out, value);
    } else if (json_is_string(value)) {
        fprintf(out, "%*s%s: %s\n", indent, "", key, json_string_value(value));
    } else if ((text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6)))) {
        fprintf(out, "%*s%s: %s\n", indent, "", key, text);
        free(text);
    }
}

static mla_status info_run(const mla_call *call) {
    const options *o = call->options;
    json_t *json = json_object();
    const mla_status status = info_describe(call, call->operands->items[0], json);
    if (!status && o->json) {
        mla_output_print(call->out, json);
        return MLA_OK;
    }
    if (!status) print_object(call->out, 0, json);
    json_decref(json);
    return status;
}

const mla_command mla_command_info = {
    .name = "info",
    .summary =
        "Say what a checkpoint, adapter, run folder, token file, tokenizer.json or recipe.yaml holds, and verify it",
    .operands = "FILE-OR-DIR",
    .min_operands = 1,
    .max_operands = 1,
    .example = "  mla info runs/quickstart\n"
               "  mla info runs/quickstart/step-00000400.h5 --params\n"
               "  mla info train/recipes/mla-small.yaml --json\n",
    .options = &table,
    .run = info_run,
};
