#include "train/hugging_face/import.h"
#include "autograd/base/bfloat16.h"
#include "autograd/base/few_names.h"
#include "autograd/base/file.h"
#include "autograd/base/float16.h"
#include "autograd/base/memory.h"
#include "data/formats/safetensors.h"
#include "train/checkpoint/checkpoint.h"
#include "train/hugging_face/families/family.h"
#include "train/hugging_face/model_config.h"
#include "train/hugging_face/quantized.h"
#include "train/hugging_face/tokenizer_files.h"

#include <glob.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGEST_CONFIG = 1 << 24, MOST_PREDICTION_LAYERS = 64 };

/* ---- the tensors ---- */

/* What a file has beside its model, and how it calls it all. */
typedef struct {
    const mla_tensor_map *map;
    const mla_safetensors *file;
    const char *folder;
    int64_t prediction_layers; /* behind the last one; not read */
    mla_quantization quantization;
    char prefix[128]; /* in front of all names, of torch.compile and other wrappers */
} source;

/* The length of "_orig_mod.", "module." and "base_model.model." at the beginning of a name, in any number. */
static size_t wrappers_length(const char *name) {
    static const char *const wrappers[] = {"_orig_mod.", "module.", "base_model.model."};
    const char *rest = name;
    for (int i = 0; i < 3; i++)
        if (!strncmp(rest, wrappers[i], strlen(wrappers[i]))) {
            rest += strlen(wrappers[i]);
            i = -1;
        }
    return (size_t)(rest - name);
}

static mla_status find_prefix(source *s) {
    mla_context *context = s->map->model->context;
    for (int64_t i = 0; i < mla_safetensors_count(s->file); i++) {
        const char *name = mla_safetensors_at(s->file, i)->name;
        const size_t length = wrappers_length(name);
        if (i == 0 && length < sizeof s->prefix) snprintf(s->prefix, sizeof s->prefix, "%.*s", (int)length, name);
        if (length != strlen(s->prefix) || strncmp(name, s->prefix, length))
            return mla_fail(context, MLA_ERROR_FORMAT,
                            "%s: tensor %s: other names do not begin as this one; save the model without its wrappers",
                            s->folder, name);
    }
    if (s->prefix[0]) mla_warn(context, "%s: the names of its tensors are read without \"%s\"", s->folder, s->prefix);
    return MLA_OK;
}

static const mla_safetensors_info *find_tensor(const source *s, const char *name) {
    char whole[512];
    snprintf(whole, sizeof whole, "%s%s", s->prefix, name);
    return mla_safetensors_find(s->file, whole);
}

/* Of DeepSeek-V3's layers that predict further tokens, which transformers does not read either. */
static bool is_prediction(const source *s, const char *name) {
    const int64_t layers = s->map->model->config.num_hidden_layers;
    long long layer;
    return sscanf(name, "model.layers.%lld.", &layer) == 1 && layer >= layers && layer < layers + s->prediction_layers;
}

static bool is_tied_output(const mla_decoder *model, const char *name) {
    return model->config.tie_word_embeddings && !strcmp(name, "lm_head.weight");
}

static mla_status check_names(const source *s) {
    const mla_tensor_map *map = s->map;
    const char *folder = s->folder;
    mla_few_names missing = {0}, extra = {0}, predictions = {0}, activations = {0};
    for (int64_t i = 0; i < map->count; i++)
        if (!find_tensor(s, map->tensors[i].name)) mla_few_names_add(&missing, map->tensors[i].name);
    for (int64_t i = 0; i < mla_safetensors_count(s->file); i++) {
        const mla_safetensors_info *t = mla_safetensors_at(s->file, i);
        const char *name = t->name + strlen(s->prefix);
        const bool computed = mla_ends_with(name, "rotary_emb.inv_freq"); /* old files store what config.json implies */
        if (mla_tensor_map_find(map, name) || computed || is_tied_output(map->model, name)) continue;
        if (mla_scaled_tensor(&s->quantization, s->file, t) && !is_prediction(s, name)) continue;
        mla_few_names_add(is_prediction(s, name)                           ? &predictions
                          : mla_scales_activations(&s->quantization, name) ? &activations
                                                                           : &extra,
                          name);
    }
    if (missing.count)
        return mla_fail(map->model->context, MLA_ERROR_FORMAT,
                        "%s: %lld tensors of the model of its config.json are missing: %s", folder,
                        (long long)missing.count, missing.text);
    if (extra.count)
        return mla_fail(map->model->context, MLA_ERROR_FORMAT,
                        "%s: %lld tensors are not of the model of its config.json: %s", folder, (long long)extra.count,
                        extra.text);
    if (predictions.count)
        mla_warn(map->model->context,
                 "%s: the layers that predict further tokens (num_nextn_predict_layers) are left out: %s", folder,
                 predictions.text);
    if (activations.count)
        mla_warn(map->model->context,
                 "%s: activations are not quantized here, and the scales for them are left out: %s", folder,
                 activations.text);
    return MLA_OK;
}

static mla_status check_shape(mla_context *context, const mla_tensor *shape, const mla_safetensors_info *t) {
    bool same = shape->ndim == t->ndim;
    for (int i = 0; same && i < t->ndim; i++) same = shape->shape[i] == t->shape[i];
    if (same) return MLA_OK;
    char found[128] = "";
    for (int i = 0; i < t->ndim && strlen(found) < 100; i++)
        snprintf(found + strlen(found), sizeof found - strlen(found), "%s%lld", i ? "," : "", (long long)t->shape[i]);
    char expected[MLA_SHAPE_TEXT];
    return mla_fail(context, MLA_ERROR_SHAPE, "%s: tensor %s has shape (%s); by config.json it should be %s", t->file,
                    t->name, found, mla_shape_text(shape, expected));
}

static mla_status check_shapes(const source *s) {
    const mla_tensor_map *map = s->map;
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < map->count && !status; i++)
        status = check_shape(map->model->context, &map->tensors[i].shape, find_tensor(s, map->tensors[i].name));
    return status;
}

static mla_status check_finite(mla_context *context, const mla_safetensors_info *t, const float *values) {
    for (int64_t i = 0; i < t->count; i++)
        if (!isfinite(values[i]))
            return mla_fail(context, MLA_ERROR_NUMERIC, "%s: tensor %s: element %lld is %g, not a finite number",
                            t->file, t->name, (long long)i, (double)values[i]);
    return MLA_OK;
}

/* Into the parameter that holds it as it is, or from a copy into those that it makes. */
static mla_status read_tensor(const source *s, const mla_mapped_tensor *mapped) {
    const mla_tensor_map *map = s->map;
    mla_context *context = map->model->context;
    const mla_safetensors_info *t = find_tensor(s, mapped->name);
    float *direct = mla_mapped_values(map, mapped),
          *values = direct ? direct : mla_alloc(context, t->count, sizeof *values, t->name);
    mla_status status = values ? mla_quantized_values(context, &s->quantization, s->file, t, values) : MLA_ERROR_MEMORY;
    if (!status) status = check_finite(context, t, values);
    if (!status && !direct) status = mla_tensor_import(map, mapped, values);
    if (!direct) free(values);
    return status;
}

static mla_status read_values(const source *s) {
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < s->map->count && !status; i++) status = read_tensor(s, &s->map->tensors[i]);
    mla_params_changed(s->map->model->params);
    return status;
}

/* Whether one value is the other, or what that is in a narrower type. */
static bool same_value(float a, float b, mla_safetensors_type narrow) {
    if (narrow == MLA_SAFETENSORS_BF16) return mla_bf16_from_float(a) == mla_bf16_from_float(b);
    if (narrow == MLA_SAFETENSORS_F16) return mla_f16_from_float(a) == mla_f16_from_float(b);
    return !memcmp(&a, &b, sizeof a);
}

static mla_status compare_tied(const source *s, const mla_safetensors_info *a, const mla_safetensors_info *b,
                               bool *same) {
    mla_context *context = s->map->model->context;
    const mla_safetensors_type narrow = a->type == MLA_SAFETENSORS_F32 ? b->type : a->type;
    float *x = mla_alloc(context, a->count, sizeof *x, a->name), *y = mla_alloc(context, a->count, sizeof *y, b->name);
    mla_status status = x && y ? mla_quantized_values(context, &s->quantization, s->file, a, x) : MLA_ERROR_MEMORY;
    if (!status) status = mla_quantized_values(context, &s->quantization, s->file, b, y);
    *same = !status;
    for (int64_t i = 0; i < a->count && *same; i++) *same = same_value(x[i], y[i], narrow);
    free(x);
    free(y);
    return status;
}

/* A tied model's file may hold its output projection once more; it must be the embedding then. */
static mla_status check_tied_output(const source *s) {
    const mla_decoder *model = s->map->model;
    const mla_safetensors_info *output = find_tensor(s, "lm_head.weight");
    const mla_safetensors_info *input = find_tensor(s, mla_tensor_map_of(s->map, "model.embed_tokens.weight")->name);
    bool same = false;
    if (!model->config.tie_word_embeddings || !output) return MLA_OK;
    if (output->count == input->count) {
        const mla_status status = compare_tied(s, output, input, &same);
        if (status) return status;
    }
    if (same) return MLA_OK;
    return mla_fail(model->context, MLA_ERROR_FORMAT,
                    "%s: lm_head.weight is not %s, but config.json ties them; set tie_word_embeddings to false there",
                    output->file, input->name);
}

static mla_status check_memory(const mla_decoder *model) {
    const int64_t needed = mla_params_values_length(model->params) * (int64_t)sizeof(float);
    const int64_t available = mla_memory_available();
    if (!available || needed <= available) return MLA_OK;
    return mla_fail(model->context, MLA_ERROR_MEMORY,
                    "the model takes %.1f GiB in f32, and the machine has %.1f GiB left", (double)needed / (1 << 30),
                    (double)available / (1 << 30));
}

static mla_status read_mapped(source *s) {
    mla_params *params = s->map->model->params;
    mla_status status = find_prefix(s);
    if (!status) status = check_names(s);
    if (!status) status = check_shapes(s);
    if (!status) status = check_tied_output(s);
    if (status) return status;
    mla_params_lay_out(params);
    status = check_memory(s->map->model);
    if (!status) status = mla_params_allocate(params, false);
    return status ? status : read_values(s);
}

static mla_status read_tensors(const mla_decoder *model, const mla_family *family, source *s) {
    mla_tensor_map map;
    mla_status status = mla_tensor_map_create(&map, model, family->rules);
    s->map = &map;
    if (!status) status = read_mapped(s);
    mla_tensor_map_destroy(&map);
    return status;
}

/* The one type of all tensors, if it can be written, or F32, which holds them all. */
static const char *type_of(const mla_safetensors *file) {
    mla_safetensors_type type = MLA_SAFETENSORS_OTHER;
    for (int64_t i = 0; i < mla_safetensors_count(file); i++) {
        const mla_safetensors_info *t = mla_safetensors_at(file, i);
        if (mla_ends_with(t->name, "rotary_emb.inv_freq")) continue;
        if (type != MLA_SAFETENSORS_OTHER && type != t->type) return mla_safetensors_type_name(MLA_SAFETENSORS_F32);
        type = t->type;
    }
    return mla_safetensors_type_name(type <= MLA_SAFETENSORS_F16 ? type : MLA_SAFETENSORS_F32);
}

/* ---- the texts ---- */

/* A text of the folder; *text is NULL where there is no such file and it is not needed. */
static mla_status read_text(mla_context *context, const char *folder, const char *name, bool needed, char **text,
                            int64_t *length) {
    char path[PATH_MAX];
    *text = NULL;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= PATH_MAX)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%s: the path is too long", folder);
    if (!needed && access(path, F_OK)) return MLA_OK;
    return mla_file_read(context, text, length, path, LARGEST_CONFIG);
}

/* `s` gets what it says of tensors; `labels`: their names, to be freed. */
static mla_status read_config(mla_context *context, source *s, mla_model_config *config, const mla_family **family,
                              char **labels) {
    char *text, where[PATH_MAX + 16];
    int64_t length;
    json_t *json = NULL;
    mla_status status = read_text(context, s->folder, "config.json", true, &text, &length);
    snprintf(where, sizeof where, "%s/config.json: ", s->folder);
    if (!status) status = mla_json_read(context, where, text, length, 0, &json);
    if (!status) status = mla_hugging_face_read_json(context, where, json, config);
    if (!status) status = mla_hugging_face_labels(context, where, json, config, labels);
    if (!status) status = mla_quantization_read(context, where, json, &s->quantization);
    if (!status) *family = mla_family_of(json);
    s->prediction_layers = mla_config_number(json, "num_nextn_predict_layers",
                                             mla_config_number(json, "num_mtp_layers", 0));
    if (s->prediction_layers < 0 || s->prediction_layers > MOST_PREDICTION_LAYERS) s->prediction_layers = 0;
    json_decref(json);
    free(text);
    return status;
}

/* Quietly where the file was read before. */
static mla_status add_text(mla_context *context, json_t *all, const char *folder, const char *name) {
    char *text, where[PATH_MAX + 64];
    int64_t length;
    json_t *json = NULL;
    const unsigned flags = strcmp(name, "config.json") ? 0 : MLA_JSON_QUIET;
    mla_status status = read_text(context, folder, name, false, &text, &length);
    snprintf(where, sizeof where, "%s/%s: ", folder, name);
    if (!status && text) status = mla_json_read(context, where, text, length, flags, &json);
    if (json) json_object_set_new(all, name, json);
    free(text);
    return status;
}

/* A program, not JSON: newer models have it in a file of its own. */
static mla_status add_chat_template(mla_context *context, json_t *all, const char *folder) {
    char *text;
    int64_t length;
    const mla_status status = read_text(context, folder, "chat_template.jinja", false, &text, &length);
    if (!status && text) json_object_set_new(all, "chat_template.jinja", json_string(text));
    free(text);
    return status;
}

/* What /config/hugging_face holds; free() it. */
static mla_status collect_texts(mla_context *context, const char *folder, const char *type, char **out) {
    static const char *const names[] = {"config.json", "tokenizer_config.json", "generation_config.json"};
    json_t *all = json_pack("{s:s}", "dtype", type);
    mla_status status = MLA_OK;
    *out = NULL;
    for (int i = 0; i < 3 && !status; i++) status = add_text(context, all, folder, names[i]);
    if (!status) status = add_chat_template(context, all, folder);
    if (!status && !(*out = mla_json_text(context, all))) status = mla_error_status(context);
    json_decref(all);
    return status;
}

/* Files of a tokenizer that transformers reads, and makes a tokenizer.json of. */
static void warn_of_others(mla_context *context, const char *folder) {
    static const char *const names[] = {"tokenizer.model", "spiece.model", "vocab.json", "vocab.txt"};
    char path[PATH_MAX];
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%.4000s/%s", folder, names[i]);
        if (access(path, F_OK)) continue;
        mla_warn(context,
                 "%s: of tokenizers only tokenizer.json is read; the model is imported without one. Make it: python -c "
                 "\"from transformers import AutoTokenizer as T; T.from_pretrained('%s').save_pretrained('%s')\"",
                 path, folder, folder);
        return;
    }
}

/* The text of tokenizer.json; NULL where there is none that we understand. */
static mla_status read_tokenizer(mla_context *context, const char *folder, int64_t vocab_size, char **out) {
    char path[PATH_MAX];
    mla_tokenizer *tokenizer = NULL;
    *out = NULL;
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    if (access(path, F_OK)) return warn_of_others(context, folder), MLA_OK;
    if (mla_tokenizer_load_files(context, &tokenizer, path)) {
        mla_warn(context, "%s; the model is imported without a tokenizer", mla_error(context));
        mla_clear_error(context);
        return MLA_OK;
    }
    mla_status status = MLA_OK;
    if (mla_tokenizer_vocab_size(tokenizer) > vocab_size)
        status = mla_fail(context, MLA_ERROR_FORMAT, "%s has %d tokens, but the model has only %lld (vocab_size)", path,
                          (int)mla_tokenizer_vocab_size(tokenizer), (long long)vocab_size);
    else if (!(*out = mla_tokenizer_json(context, tokenizer))) status = mla_error_status(context);
    mla_tokenizer_destroy(tokenizer);
    return status;
}

/* ---- all of it ---- */

/* Where there is no safetensors file but one of torch.save, which is a program and not read. */
static mla_status refuse_pickles(mla_context *context, const char *folder) {
    glob_t safe = {0}, other = {0};
    char pattern[PATH_MAX];
    snprintf(pattern, sizeof pattern, "%.4000s/*.safetensors", folder);
    const bool has_safe = !glob(pattern, 0, NULL, &safe);
    snprintf(pattern, sizeof pattern, "%.4000s/*.{bin,pt,pth}", folder);
    const bool has_other = !has_safe && !glob(pattern, GLOB_BRACE, NULL, &other);
    mla_status status = MLA_OK;
    if (has_other)
        status = mla_fail(context, MLA_ERROR_FORMAT,
                          "%s: only safetensors files are read, not those of torch.save; convert it: python -c \"from "
                          "transformers import AutoModelForCausalLM as M; "
                          "M.from_pretrained('%s').save_pretrained('%s-safetensors')\"",
                          other.gl_pathv[0], folder, folder);
    globfree(&safe);
    globfree(&other);
    return status;
}

static mla_status import_save(mla_decoder *model, const char *folder, const char *path, const char *labels,
                              mla_import_report *report) {
    char *tokenizer = NULL, *texts = NULL;
    mla_status status = read_tokenizer(model->context, folder, model->config.vocab_size, &tokenizer);
    if (!status) status = collect_texts(model->context, folder, report->type, &texts);
    const mla_checkpoint_content content = {
        .model = model, .tokenizer = tokenizer, .hugging_face = texts, .labels = labels};
    if (!status) status = mla_checkpoint_save(model->context, path, &content, (mla_step_hook){0});
    report->parameters = mla_params_elements(model->params, false);
    report->tokenizer = tokenizer != NULL;
    free(texts);
    free(tokenizer);
    return status;
}

mla_status mla_import(mla_context *context, const char *folder, const char *path, mla_import_report *report) {
    mla_model_config config;
    const mla_family *family = NULL;
    mla_decoder *model = NULL;
    mla_safetensors *file = NULL;
    source s = {.folder = folder};
    char *labels = NULL;
    mla_status status = read_config(context, &s, &config, &family, &labels);
    if (!status) status = refuse_pickles(context, folder);
    if (!status) status = mla_safetensors_open(context, &file, folder);
    if (!status) status = mla_decoder_create(context, &model, &config);
    s.file = file;
    if (!status) status = read_tensors(model, family, &s);
    if (!status) {
        *report = (mla_import_report){.type = type_of(file)};
        status = import_save(model, folder, path, labels, report);
    }
    mla_decoder_destroy(model);
    mla_safetensors_close(file);
    free(labels);
    return status;
}
