/* Which modules an adapter_config.json promises adapters for, as PEFT finds them, held against the tensors there are.
 */
#include "autograd/base/few_names.h"
#include "train/adapter/adapter_internal.h"
#include "train/adapter/pattern.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- what PEFT's keys match ---- */

typedef struct {
    mla_context *context;
    const char *where;
    const json_t *config;
    mla_status status;
} matcher;

/* A name, whole or from a dot on. */
static bool ends_as(const char *module, const char *ending) {
    const size_t length = strlen(module), end = ending ? strlen(ending) : length + 1;
    return end <= length && !strcmp(module + length - end, ending) &&
           (end == length || module[length - end - 1] == '.');
}

/* `value` is a regular expression or a list of names. */
static bool names_module(matcher *m, const json_t *value, const char *module) {
    bool found = false;
    if (json_is_string(value) && !m->status)
        m->status = mla_pattern_match(m->context, m->where, (mla_pattern){"", json_string_value(value), ""}, module,
                                      &found, NULL);
    for (size_t i = 0; i < json_array_size(value) && !found; i++)
        found = ends_as(module, json_string_value(json_array_get(value, i)));
    return found;
}

static bool lists_whole_name(const json_t *list, const char *module) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (name && !strcmp(name, module)) return true;
    }
    return false;
}

/* The number behind the pattern in a module's name; -1: none. */
static int64_t layer_of(matcher *m, const char *pattern, const char *module) {
    const mla_pattern whole = {"(?:^|.*?\\.)", pattern, "\\.(?P<idx>\\d+)\\..*"};
    int64_t layer = -1;
    bool found;
    if (pattern && !m->status) m->status = mla_pattern_match(m->context, m->where, whole, module, &found, &layer);
    return layer;
}

static int64_t layer_by_patterns(matcher *m, const json_t *patterns, const char *module) {
    int64_t layer = -1;
    if (json_is_string(patterns) && json_string_length(patterns))
        return layer_of(m, json_string_value(patterns), module);
    if (!json_array_size(patterns)) return layer_of(m, "[^.]*", module);
    for (size_t i = 0; i < json_array_size(patterns) && layer < 0; i++)
        layer = layer_of(m, json_string_value(json_array_get(patterns, i)), module);
    return layer;
}

/* layers_to_transform: a number or a list of them, of which an empty one means all. */
static bool is_in_layers(matcher *m, const char *module) {
    const json_t *layers = json_object_get(m->config, "layers_to_transform");
    if (!json_is_integer(layers) && !json_array_size(layers)) return true;
    const int64_t layer = layer_by_patterns(m, json_object_get(m->config, "layers_pattern"), module);
    if (json_is_integer(layers)) return layer == json_integer_value(layers);
    for (size_t i = 0; i < json_array_size(layers); i++)
        if (layer >= 0 && layer == json_integer_value(json_array_get(layers, i))) return true;
    return false;
}

static bool is_all_linear(const json_t *targets) {
    return json_is_string(targets) && !strcasecmp(json_string_value(targets), "all-linear");
}

/* Whether the configuration promises an adapter for a module. */
static bool is_target(matcher *m, const char *module, bool output_or_embedding) {
    const json_t *targets = json_object_get(m->config, "target_modules");
    if (names_module(m, json_object_get(m->config, "exclude_modules"), module)) return false;
    if (is_all_linear(targets)) return !output_or_embedding;
    if (lists_whole_name(targets, module)) return true;
    return names_module(m, targets, module) && (json_is_string(targets) || is_in_layers(m, module));
}

/* ---- against the tensors ---- */

static mla_status check_kind(const matcher *m) {
    const json_t *targets = json_object_get(m->config, "target_modules");
    if (json_is_string(targets) || json_array_size(targets)) return MLA_OK;
    return mla_fail(m->context, MLA_ERROR_FORMAT, "%s: target_modules: expected names or a pattern of names", m->where);
}

typedef struct {
    mla_few_names missing, unnamed;
    int64_t targets;
} findings;

static void find_module(matcher *m, const mla_adapter *a, const char *module, bool output_or_embedding, findings *f) {
    const bool target = is_target(m, module, output_or_embedding), there = mla_adapter_has(a, module);
    f->targets += target;
    if (target && !there) mla_few_names_add(&f->missing, module);
    if (there && !target) mla_few_names_add(&f->unnamed, module);
}

static mla_status report(const matcher *m, const findings *f) {
    if (m->status) return m->status;
    if (f->missing.count)
        return mla_fail(m->context, MLA_ERROR_FORMAT,
                        "%s: has no tensors for %lld of the %lld modules of its target_modules: %s; was it saved from "
                        "sharded weights (ZeRO-3, FSDP)? Gather them and save it again",
                        m->where, (long long)f->missing.count, (long long)f->targets, f->missing.text);
    if (f->unnamed.count)
        return mla_fail(m->context, MLA_ERROR_FORMAT,
                        "%s: has tensors for %lld modules that its target_modules do not name, and PEFT would leave "
                        "out: %s",
                        m->where, (long long)f->unnamed.count, f->unnamed.text);
    if (f->targets) return MLA_OK;
    return mla_fail(m->context, MLA_ERROR_ARGUMENT,
                    "%s: its target_modules name no module of this model: is it for another base?", m->where);
}

/* PEFT takes lists of names for many models at once; what names nothing in this one is reported. */
static void warn_of_names(const mla_adapter *a, const mla_decoder *model) {
    const json_t *names = json_object_get(a->config, "target_modules");
    mla_few_names unknown = {0};
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        const mla_linear_layer *p;
        bool found = name && (ends_as("model.embed_tokens", name) || ends_as("lm_head", name));
        for (int64_t k = 0; !found && (p = mla_decoder_projection(model, k)); k++) {
            char module[MLA_H5_MAX_NAME];
            snprintf(module, sizeof module, "%.*s", mla_adapters_stem(p), p->weight->name);
            found = ends_as(module, name);
        }
        if (!found) mla_few_names_add(&unknown, name ? name : "(no text)");
    }
    if (json_array_size(json_object_get(a->config, "target_parameters")))
        mla_warn(a->context, "%s: target_parameters is not acted on: it is for experts, which no model here has",
                 a->path);
    if (unknown.count)
        mla_warn(a->context, "%s: target_modules names what this model does not have: %s", a->path, unknown.text);
}

mla_status mla_adapter_check_targets(const mla_adapter *a, const mla_decoder *model) {
    const mla_linear_layer *p;
    matcher m = {.context = a->context, .where = a->path, .config = a->config};
    findings f = {0};
    m.status = check_kind(&m);
    for (int64_t i = 0; !m.status && (p = mla_decoder_projection(model, i)); i++) {
        char module[MLA_H5_MAX_NAME];
        snprintf(module, sizeof module, "%.*s", mla_adapters_stem(p), p->weight->name);
        find_module(&m, a, module, false, &f);
    }
    if (!m.status) find_module(&m, a, "model.embed_tokens", true, &f);
    if (!m.status) find_module(&m, a, "lm_head", true, &f);
    const mla_status status = report(&m, &f);
    if (!status) warn_of_names(a, model);
    return status;
}
