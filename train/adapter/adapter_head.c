/* A head that labels and is the adapter's own: PEFT's modules_to_save: ["score"]. Our checkpoints say themselves which
 * head it is. PEFT's folders have task_type and the tensor; what is missing there, the names of the labels and what
 * kind they are, stands in labels.json beside it, with the keys of a config.json (which is no name for it: transformers
 * takes a folder with one for a whole model). */
#include "autograd/base/file.h"
#include "data/labels/label_set.h"
#include "layers/head/classification.h"
#include "train/adapter/adapter_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGEST_LABELS = 16 << 20 };

/* ---- whether it has one ---- */

/* PEFT itself names both "classifier" and "score" for tasks that label; no model here has the former. */
static bool is_head(const char *module) {
    return module && (!strcmp(module, "score") || !strcmp(module, "classifier"));
}

mla_status mla_adapter_check_saved_modules(mla_context *context, const char *where, const json_t *config) {
    const json_t *modules = json_object_get(config, "modules_to_save");
    if (modules && !json_is_null(modules) && !json_is_array(modules))
        return mla_fail(context, MLA_ERROR_FORMAT, "%s: modules_to_save: expected a list of names", where);
    for (size_t i = 0; i < json_array_size(modules); i++) {
        const char *name = json_string_value(json_array_get(modules, i));
        if (!is_head(name))
            return mla_fail(
                context, MLA_ERROR_FORMAT,
                "%s: modules_to_save: \"%.100s\" is not supported, only \"score\", the head of a model that "
                "labels; merge it with PEFT (merge_and_unload) and import that model",
                where, name ? name : "?");
    }
    return MLA_OK;
}

static const mla_adapter_tensor *head_weight(const mla_adapter *a) { return mla_adapter_find(a, "score", ".weight"); }

bool mla_adapter_has_head(const mla_adapter *a) { return head_weight(a) != NULL; }

static bool promises_head(const json_t *config) {
    const json_t *modules = json_object_get(config, "modules_to_save");
    bool found = false;
    for (size_t i = 0; i < json_array_size(modules); i++)
        found |= !strcmp(json_string_value(json_array_get(modules, i)), "score");
    return found;
}

mla_status mla_adapter_check_head(const mla_adapter *a) {
    const mla_adapter_tensor *weight = head_weight(a);
    if (!weight && promises_head(a->config))
        return mla_fail(a->context, MLA_ERROR_FORMAT,
                        "%s: its modules_to_save name \"score\", but base_model.model.score.weight is missing",
                        a->path);
    if (weight && !promises_head(a->config))
        return mla_fail(a->context, MLA_ERROR_FORMAT,
                        "%s: has %s, which its modules_to_save do not name, and PEFT would leave out", a->path,
                        weight->name);
    if (!weight || weight->ndim == 2) return MLA_OK;
    return mla_fail(a->context, MLA_ERROR_FORMAT, "%s: %s is no matrix", a->path, weight->name);
}

/* ---- labels.json ---- */

static mla_status read_labels_file(const mla_adapter *a, char where[PATH_MAX + 32], json_t **out) {
    char path[PATH_MAX + 16], *text = NULL;
    int64_t length;
    snprintf(path, sizeof path, "%s/labels.json", a->path);
    snprintf(where, PATH_MAX + 32, "%s: ", path);
    *out = NULL;
    if (access(path, F_OK)) return MLA_OK;
    mla_status status = mla_file_read(a->context, &text, &length, path, LARGEST_LABELS);
    if (!status) status = mla_json_read(a->context, where, text, length, 0, out);
    free(text);
    const char *key;
    json_t *value;
    json_object_foreach(*out, key, value) if (!status && strcmp(key, "id2label") && strcmp(key, "problem_type"))
        status = mla_fail(a->context, MLA_ERROR_FORMAT,
                          "%s\"%.100s\" is no key of it; it has id2label and problem_type", where, key);
    return status;
}

mla_status mla_adapter_write_labels(const mla_adapter *a, const char *path) {
    const char *names = mla_checkpoint_labels(a->checkpoint);
    const mla_model_config *config = mla_checkpoint_config(a->checkpoint);
    mla_label_set set;
    if (!mla_adapter_has_head(a) || !names) return MLA_OK;
    if (config->pooling != MLA_POOLING_LAST)
        return mla_fail(a->context, MLA_ERROR_ARGUMENT, "%s: PEFT's models have no pooling: mean", a->path);
    mla_status status = mla_label_set_parse(a->context, a->path, names, &set);
    if (status) return status;
    json_t *json = json_pack("{s:o, s:s}", "id2label", mla_label_set_ids(&set), "problem_type",
                             mla_problem_names[config->problem_type]);
    char *text = mla_json_text(a->context, json);
    status = text ? mla_file_write(a->context, path, text, (int64_t)strlen(text)) : MLA_ERROR_MEMORY;
    free(text);
    json_decref(json);
    mla_label_set_free(&set);
    return status;
}

/* ---- which one it is ---- */

static mla_status name_labels(mla_adapter *a, const char *where, const json_t *names, int64_t count) {
    mla_label_set set;
    if (names && json_object_size(names) != (size_t)count)
        return mla_fail(a->context, MLA_ERROR_FORMAT, "%sid2label: %zu names, but the head has %lld labels", where,
                        json_object_size(names), (long long)count);
    const mla_status status = mla_label_set_read_ids(a->context, where, names, count, &set);
    if (status) return status;
    a->labels = mla_label_set_json(a->context, &set);
    mla_label_set_free(&set);
    return a->labels ? MLA_OK : MLA_ERROR_MEMORY;
}

static char *copy_of(mla_context *context, const char *text) {
    char *copy = mla_alloc(context, (int64_t)strlen(text) + 1, 1, "the names of labels");
    return copy ? strcpy(copy, text) : NULL;
}

/* As transformers decides where nothing is said: one label is a number. */
static mla_status take_problem(const mla_adapter *a, const char *where, const json_t *problem,
                               mla_model_config *config) {
    const char *name = json_string_value(problem);
    config->problem_type = config->num_labels == 1 ? MLA_PROBLEM_REGRESSION : MLA_PROBLEM_SINGLE_LABEL;
    if (!problem) return MLA_OK;
    for (int i = 0; name && mla_problem_names[i]; i++) {
        config->problem_type = (mla_problem_type)i;
        if (!strcmp(name, mla_problem_names[i])) return MLA_OK;
    }
    return mla_fail(a->context, MLA_ERROR_FORMAT, "%sproblem_type: %.100s is none that is known", where,
                    name ? name : "no text");
}

/* What the base says of its labels is said of these, where they are as many; labels.json says it for sure. */
static mla_status take_names(mla_adapter *a, const mla_checkpoint *base, mla_model_config *config) {
    const mla_model_config *other = mla_checkpoint_config(base);
    const bool same = other->head == config->head && other->num_labels == config->num_labels;
    char where[PATH_MAX + 32];
    json_t *file;
    mla_status status = read_labels_file(a, where, &file);
    if (!status && !file && same && mla_checkpoint_labels(base)) {
        mla_model_config_take_head(config, other);
        a->labels = copy_of(a->context, mla_checkpoint_labels(base));
        return a->labels ? MLA_OK : MLA_ERROR_MEMORY;
    }
    if (!status) status = take_problem(a, where, json_object_get(file, "problem_type"), config);
    if (!status) status = name_labels(a, where, json_object_get(file, "id2label"), config->num_labels);
    json_decref(file);
    return status;
}

static mla_status take_peft_head(mla_adapter *a, const mla_checkpoint *base, mla_model_config *config) {
    const char *task = json_string_value(json_object_get(a->config, "task_type"));
    mla_model_config head = {.num_labels = head_weight(a)->shape[0]};
    if (task && !strcmp(task, "SEQ_CLS")) head.head = &mla_sequence_kind;
    else if (task && !strcmp(task, "TOKEN_CLS")) head.head = &mla_token_kind;
    else
        return mla_fail(a->context, MLA_ERROR_FORMAT,
                        "%s: task_type: \"%.100s\", but it has a head that labels: SEQ_CLS (texts) or TOKEN_CLS",
                        a->path, task ? task : "none");
    const mla_status status = take_names(a, base, &head);
    if (!status) mla_model_config_take_head(config, &head);
    return status;
}

mla_status mla_adapter_take_head(mla_adapter *a, const mla_checkpoint *base, mla_model_config *config) {
    if (!mla_adapter_has_head(a)) return MLA_OK;
    if (!a->checkpoint) return take_peft_head(a, base, config);
    const char *labels = mla_checkpoint_labels(a->checkpoint);
    mla_model_config_take_head(config, mla_checkpoint_config(a->checkpoint));
    a->labels = labels ? copy_of(a->context, labels) : NULL;
    return !labels || a->labels ? MLA_OK : MLA_ERROR_MEMORY;
}
