#include "autograd/base/file.h"
#include "layers/adapt/names.h"
#include "layers/head/head.h"
#include "train/adapter/adapter_internal.h"
#include "train/adapter/base.h"
#include "train/hugging_face/families/rotary_rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGEST_CONFIG = 16 << 20 };

static const char prefix[] = "base_model.model.";

/* ---- opening ---- */

static mla_status parse_config(mla_adapter *a, const char *file, const char *text, int64_t length) {
    char where[PATH_MAX + 64];
    snprintf(where, sizeof where, "%s: ", file);
    const mla_status status = mla_json_read(a->context, where, text, length, 0, &a->config);
    return status ? status : mla_adapter_check_config(a->context, a->path, a->config);
}

static mla_status add_tensor(mla_adapter *a, int64_t i, const char *name, int ndim, const int64_t *shape) {
    mla_adapter_tensor *t = &a->tensors[i];
    if (strlen(name) >= sizeof t->name || mla_shape_count(ndim, shape) < 0)
        return mla_fail(a->context, MLA_ERROR_FORMAT, "%s: %.100s is no tensor of an adapter", a->path, name);
    snprintf(t->name, sizeof t->name, "%s", name);
    t->ndim = ndim;
    memcpy(t->shape, shape, (size_t)ndim * sizeof *shape);
    return MLA_OK;
}

static mla_status adapter_make_room(mla_adapter *a, int64_t count) {
    a->count = count;
    a->tensors = mla_alloc(a->context, count, sizeof *a->tensors, "the tensors of an adapter");
    return a->tensors ? MLA_OK : MLA_ERROR_MEMORY;
}

/* Takes the first `part` out of a name; `instead` may take its place. */
static void replace_part(char *name, const char *part, const char *instead) {
    char *at = strstr(name, part);
    if (!at) return;
    memmove(at + strlen(instead), at + strlen(part), strlen(at + strlen(part)) + 1);
    memcpy(at, instead, strlen(instead));
}

/* A training loop that saves the state itself has wrappers in front and the adapter's name inside:
 * "module.base_model.model.X.lora_A.default.weight" is PEFT's "base_model.model.X.lora_A.weight". */
static void canonical_name(const char *stored, size_t size, char *out) {
    const char *base = strstr(stored, prefix);
    size_t front = base ? (size_t)(base - stored) : 0;
    if (strncmp(stored, "module.", front) && strncmp(stored, "_orig_mod.", front)) front = 0;
    snprintf(out, size, "%s", stored + front);
    replace_part(out, ".modules_to_save.default.", ".");
    replace_part(out, ".modules_to_save.", ".");
    replace_part(out, ".default.weight", ".weight");
    if (mla_ends_with(out, ".lora_embedding_A.default") || mla_ends_with(out, ".lora_embedding_B.default"))
        replace_part(out, ".default", "");
    replace_part(out, ".lora_magnitude_vector.weight", ".lora_magnitude_vector");
    replace_part(out, ".lora_magnitude_vector.default", ".lora_magnitude_vector");
}

static mla_status list_safetensors(mla_adapter *a) {
    mla_status status = adapter_make_room(a, mla_safetensors_count(a->safetensors));
    for (int64_t i = 0; i < a->count && !status; i++) {
        const mla_safetensors_info *t = mla_safetensors_at(a->safetensors, i);
        char name[2 * MLA_H5_MAX_NAME];
        canonical_name(t->name, sizeof name, name);
        for (int64_t k = 0; k < i && !status; k++)
            if (!strcmp(a->tensors[k].name, name))
                status = mla_fail(a->context, MLA_ERROR_FORMAT, "%s: %.200s is there twice", a->path, name);
        if (!status) status = add_tensor(a, i, name, t->ndim, t->shape);
        a->tensors[i].stored = t;
    }
    return status;
}

static mla_status list_checkpoint(mla_adapter *a) {
    mla_h5_info *all = NULL;
    int64_t count = 0;
    mla_status status = mla_checkpoint_list_adapter(a->checkpoint, &all, &count);
    if (!status) status = adapter_make_room(a, count);
    for (int64_t i = 0; i < count && !status; i++) status = add_tensor(a, i, all[i].name, all[i].ndim, all[i].shape);
    free(all);
    return status;
}

static mla_status open_peft(mla_adapter *a, const char *folder) {
    char path[PATH_MAX + 32], *text = NULL;
    int64_t length;
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    mla_status status = mla_file_read(a->context, &text, &length, path, LARGEST_CONFIG);
    if (!status) status = parse_config(a, path, text, length);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    if (!status) status = mla_safetensors_open(a->context, &a->safetensors, path);
    if (!status) status = list_safetensors(a);
    free(text);
    return status;
}

static mla_status open_own(mla_adapter *a, const char *path) {
    mla_status status = mla_checkpoint_open(a->context, &a->checkpoint, path);
    if (status) return status;
    snprintf(a->path, sizeof a->path, "%s", mla_checkpoint_path(a->checkpoint));
    const char *config = mla_checkpoint_adapter(a->checkpoint);
    if (!config) return mla_fail(a->context, MLA_ERROR_ARGUMENT, "%s: is a model, not an adapter", a->path);
    status = parse_config(a, a->path, config, (int64_t)strlen(config));
    return status ? status : list_checkpoint(a);
}

mla_status mla_adapter_open(mla_context *context, mla_adapter **out, const char *path) {
    char config[PATH_MAX];
    mla_adapter *a = *out = mla_alloc(context, 1, sizeof *a, "an adapter");
    if (!a) return MLA_ERROR_MEMORY;
    a->context = context;
    if (snprintf(a->path, sizeof a->path, "%s", path) >= PATH_MAX - 32)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%.100s...: the path is too long", path);
    snprintf(config, sizeof config, "%.4000s/adapter_config.json", path);
    const mla_status status = access(config, F_OK) ? open_own(a, path) : open_peft(a, path);
    return status ? status : mla_adapter_check_head(a);
}

void mla_adapter_close(mla_adapter *a) {
    if (!a) return;
    mla_checkpoint_close(a->checkpoint);
    mla_safetensors_close(a->safetensors);
    json_decref(a->config);
    free(a->labels);
    free(a->tensors);
    free(a);
}

const char *mla_adapter_path(const mla_adapter *a) { return a->path; }
const json_t *mla_adapter_config(const mla_adapter *a) { return a->config; }
const char *mla_adapter_labels(const mla_adapter *a) { return a->labels; }
const char *mla_adapter_recipe(const mla_adapter *a) {
    return a->checkpoint ? mla_checkpoint_recipe(a->checkpoint) : NULL;
}

/* ---- names: PREFIX PROJECTION ENDING ---- */

/* The length of the projection's name in a tensor's, which ends in `ending`; 0 where it is not so. */
static int projection_length(const char *name, const char *ending) {
    const size_t length = strlen(name), begin = strlen(prefix), end = strlen(ending);
    if (length <= begin + end || strncmp(name, prefix, begin) || strcmp(name + length - end, ending)) return 0;
    return (int)(length - begin - end);
}

mla_adapter_tensor *mla_adapter_find(const mla_adapter *a, const char *projection, const char *ending) {
    char name[2 * MLA_H5_MAX_NAME];
    snprintf(name, sizeof name, "%s%s%s", prefix, projection, ending);
    for (int64_t i = 0; i < a->count; i++)
        if (!strcmp(a->tensors[i].name, name)) return &a->tensors[i];
    return NULL;
}

bool mla_adapter_has(const mla_adapter *a, const char *module) {
    return mla_adapter_find(a, module, ".lora_A.weight") || mla_adapter_find(a, module, ".lora_embedding_A");
}

int64_t mla_adapter_projections(const mla_adapter *a) {
    int64_t count = 0;
    for (int64_t i = 0; i < a->count; i++) count += projection_length(a->tensors[i].name, ".lora_A.weight") > 0;
    return count;
}

int64_t mla_adapter_elements(const mla_adapter *a) {
    int64_t sum = 0;
    for (int64_t i = 0; i < a->count; i++)
        if (__builtin_add_overflow(sum, mla_shape_count(a->tensors[i].ndim, a->tensors[i].shape), &sum))
            return INT64_MAX;
    return sum;
}

/* ---- attaching ---- */

static mla_status assign(const mla_adapter *a, const char *projection, const char *ending, const mla_tensor *to) {
    mla_adapter_tensor *t = mla_adapter_find(a, projection, ending);
    char expected[MLA_SHAPE_TEXT], found[MLA_SHAPE_TEXT];
    if (!t) return mla_fail(a->context, MLA_ERROR_FORMAT, "%s: %s%s%s is missing", a->path, prefix, projection, ending);
    mla_tensor shape = {.dtype = to->dtype, .ndim = t->ndim};
    memcpy(shape.shape, t->shape, sizeof shape.shape);
    t->to = to;
    if (mla_same_shape(&shape, to)) return MLA_OK;
    return mla_fail(a->context, MLA_ERROR_SHAPE,
                    "%s: %s has shape %s; on this model it should be %s: is it for another base?", a->path, t->name,
                    mla_shape_text(&shape, found), mla_shape_text(to, expected));
}

static mla_status settings_of(const mla_adapter *a, const char *projection, mla_lora_spec *spec) {
    double rank;
    mla_status status = mla_adapter_setting(a->context, a->path, a->config, "rank_pattern", "r", projection, &rank);
    if (!status)
        status = mla_adapter_setting(a->context, a->path, a->config, "alpha_pattern", "lora_alpha", projection,
                                     &spec->alpha);
    if (!status && rank != (double)spec->rank)
        status = mla_fail(a->context, MLA_ERROR_FORMAT,
                          "%s: the adapter of %s has rank %lld, by its configuration it should be "
                          "%g",
                          a->path, projection, (long long)spec->rank, rank);
    spec->rslora = json_is_true(json_object_get(a->config, "use_rslora"));
    spec->dora = json_is_true(json_object_get(a->config, "use_dora"));
    return status;
}

static mla_lora_layer *last(const mla_linear_layer *p) {
    mla_lora_layer *l = p->lora;
    while (l->next) l = l->next;
    return l;
}

static mla_status attach_part(const mla_adapter *a, mla_decoder *model, mla_linear_layer *p, const char *projection,
                              const mla_lora_spec *spec, const char *const endings[3]) {
    mla_status status = mla_lora_add(a->context, model->params, p, spec);
    if (!status) status = assign(a, projection, endings[0], last(p)->a);
    if (!status) status = assign(a, projection, endings[1], last(p)->b);
    if (!status && spec->dora) status = assign(a, projection, endings[2], last(p)->magnitude);
    return status;
}

/* What PEFT's adapters may have and ours do not. */
static mla_status refuse_feature(const mla_adapter *a, const char *tensor, const char *feature) {
    return mla_fail(a->context, MLA_ERROR_FORMAT,
                    "%s: %s: %s is not supported; merge it with PEFT (merge_and_unload) and import that model", a->path,
                    tensor, feature);
}

static mla_status attach_projection(const mla_adapter *a, mla_decoder *model, const mla_adapter_tensor *tensor,
                                    const char *projection, const char *name, float share) {
    static const char *const endings[] = {".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"};
    static const char *const begins[] = {".lora_A.start.weight", ".lora_B.start.weight", ""};
    char start[128];
    mla_linear_layer *p = mla_adapters_find(model, projection);
    if (!p && (!strcmp(projection, "lm_head") || !strcmp(projection, "score")))
        return refuse_feature(a, tensor->name, "an adapter on the output");
    if (!p)
        return mla_fail(a->context, MLA_ERROR_ARGUMENT,
                        "%s: %s: this model has no projection %s: is it for another base?", a->path, tensor->name,
                        projection);
    mla_lora_spec spec = {.name = name, .rank = tensor->shape[0], .share = share, .frozen = true};
    mla_status status = settings_of(a, projection, &spec);
    if (!status) status = attach_part(a, model, p, projection, &spec, endings);
    if (status || !mla_adapter_find(a, projection, begins[0])) return status;
    snprintf(start, sizeof start, "%.100s-start", name);
    spec.name = start;
    spec.share = -share;
    return attach_part(a, model, p, projection, &spec, begins);
}

/* What a tensor is of that no projection's adapter has. */
static mla_status refuse_tensor(const mla_adapter *a, const char *name) {
    if (strstr(name, ".lora_embedding_")) return refuse_feature(a, name, "an adapter on the embedding");
    if (mla_ends_with(name, ".lora_B.bias")) return refuse_feature(a, name, "a bias of lora_B (lora_bias)");
    if (!strstr(name, ".lora_") && mla_ends_with(name, ".bias"))
        return refuse_feature(a, name, "a bias of the base beside the adapter (bias: all, lora_only)");
    if (!strstr(name, ".lora_") && mla_ends_with(name, ".weight"))
        return refuse_feature(
            a, name, "a whole weight beside the adapter (modules_to_save but the head, save_embedding_layers)");
    return mla_fail(a->context, MLA_ERROR_FORMAT, "%s: %s is no tensor of its adapter that we know", a->path, name);
}

static mla_status attach_head(const mla_adapter *a, mla_decoder *model) {
    mla_status status = MLA_OK;
    if (!mla_adapter_has_head(a)) return MLA_OK;
    if (!model->config.head->labels || mla_adapters_have_head(model))
        return mla_fail(a->context, MLA_ERROR_ARGUMENT,
                        "%s: has a head of its own, which %s: put it on the model alone", a->path,
                        model->config.head->labels ? "another adapter brings as well" : "the model has no place for");
    mla_adapters_own_head(model, true);
    for (int64_t i = 0; i < mla_params_count(model->params) && !status; i++) {
        const mla_param *p = mla_params_at(model->params, i);
        if (!mla_name_is_of_backbone(p->spec.name)) status = assign(a, p->spec.name, "", &p->tensor);
    }
    return status;
}

static mla_status check_all_used(const mla_adapter *a) {
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < a->count && !status; i++)
        if (!a->tensors[i].to) status = refuse_tensor(a, a->tensors[i].name);
    return status;
}

static mla_status check_base(const mla_adapter *a, const mla_model_config *config) {
    const mla_model_config *wanted = mla_checkpoint_config(a->checkpoint);
    if (!mla_adapter_has_head(a) && wanted->head != config->head)
        return mla_fail(a->context, MLA_ERROR_ARGUMENT,
                        "%s: was trained on a model with head %s, and this one has %s, its own or another adapter's",
                        a->path, wanted->head->name, config->head->name);
    return mla_base_check_config(a->context, a->path, wanted, config);
}

mla_status mla_adapter_attach(mla_adapter *a, mla_decoder *model, const char *name, float share) {
    mla_status status = a->checkpoint ? check_base(a, &model->config) : MLA_OK;
    for (int64_t i = 0; i < a->count && !status; i++) {
        char projection[MLA_H5_MAX_NAME];
        const int length = projection_length(a->tensors[i].name, ".lora_A.weight");
        if (!length) continue;
        snprintf(projection, sizeof projection, "%.*s", length, a->tensors[i].name + strlen(prefix));
        status = attach_projection(a, model, &a->tensors[i], projection, name, share);
    }
    if (!status) status = attach_head(a, model);
    if (!status) status = check_all_used(a);
    return status ? status : mla_adapter_check_targets(a, model);
}

/* ---- reading ---- */

mla_status mla_adapter_read_tensor(const mla_adapter *a, const mla_adapter_tensor *t, const mla_tensor *to) {
    if (a->checkpoint) return mla_checkpoint_read_adapter(a->checkpoint, t->name, to);
    const float *values = to->data;
    mla_status status = mla_safetensors_read(a->safetensors, t->stored, to->data);
    for (int64_t i = 0; i < mla_count(to) && !status; i++)
        if (!isfinite(values[i]))
            status = mla_fail(a->context, MLA_ERROR_NUMERIC, "%s: %s: element %lld is %g, not a finite number", a->path,
                              t->name, (long long)i, (double)values[i]);
    return status;
}

/* PEFT's adapters are for exported models, of which the rows of some projections stand in another order. */
static mla_status from_exported(const mla_adapter *a, const mla_decoder *model, const mla_adapter_tensor *t) {
    const bool b = strstr(t->name, ".lora_B."), magnitude = strstr(t->name, ".lora_magnitude_vector");
    if (a->checkpoint || !(b || magnitude) || !mla_rotary_rows_differ(&model->config, t->name)) return MLA_OK;
    return mla_rotary_rows_reorder(a->context, model->config.head_dim, t->shape[0], b ? t->shape[1] : 1,
                                   MLA_TO_NEIGHBOURS, t->to->data);
}

mla_status mla_adapter_read(mla_adapter *a, const mla_decoder *model) {
    mla_status status = MLA_OK;
    if (a->checkpoint && mla_checkpoint_base(a->checkpoint))
        status = mla_base_check(a->context, a->path, mla_checkpoint_base(a->checkpoint), model);
    for (int64_t i = 0; i < a->count && !status; i++) {
        status = mla_adapter_read_tensor(a, &a->tensors[i], a->tensors[i].to);
        if (!status) status = from_exported(a, model, &a->tensors[i]);
    }
    mla_params_changed(model->params);
    return status;
}
