#include "layers/head/head.h"
#include "train/adapter/adapter_internal.h"
#include "train/adapter/pattern.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */

static mla_status adapter_config_refuse(mla_context *context, const char *where, const char *key, const json_t *value) {
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    const mla_status status = mla_fail(context, MLA_ERROR_FORMAT, "%s: %s: %.200s is not supported", where, key,
                                       text ? text : "this");
    free(text);
    return status;
}

/* null, false, 0, "", [], {} and "none" ask for nothing. */
static bool asks_for_nothing(const json_t *value) {
    if (!value || json_is_null(value) || json_is_false(value)) return true;
    if (json_is_string(value)) return !json_string_value(value)[0] || !strcmp(json_string_value(value), "none");
    return (json_is_array(value) && !json_array_size(value)) || (json_is_object(value) && !json_object_size(value));
}

/* Beginnings that leave the base's weights as they are. Others take something out of them, and an adapter of theirs
 * is nothing without that base. */
static mla_status check_init(mla_context *context, const char *where, const json_t *value) {
    static const char *const known[] = {"gaussian", "eva", "orthogonal", "mla-pissa"};
    const char *text = json_string_value(value);
    if (!value || json_is_boolean(value) || json_is_null(value)) return MLA_OK;
    for (int i = 0; text && i < 4; i++)
        if (!strcmp(text, known[i])) return MLA_OK;
    return mla_fail(context, MLA_ERROR_FORMAT,
                    "%s: init_lora_weights: \"%s\" changes the base as well; convert the adapter "
                    "first (PEFT: save_pretrained with path_initial_model_for_weight_conversion)",
                    where, text ? text : "?");
}

mla_status mla_adapter_check_config(mla_context *context, const char *where, const json_t *config) {
    static const char *const unsupported[] = {"layer_replication",
                                              "trainable_token_indices",
                                              "alora_invocation_tokens",
                                              "use_qalora",
                                              "use_bdlora",
                                              "lora_bias",
                                              "fan_in_fan_out",
                                              "bias",
                                              "kasa_config",
                                              "monteclora_config",
                                              "velora_config",
                                              "arrow_config",
                                              "megatron_config"};
    const char *type = json_string_value(json_object_get(config, "peft_type"));
    if (!type || strcmp(type, "LORA"))
        return mla_fail(context, MLA_ERROR_FORMAT, "%s: peft_type: \"%s\"; only LORA is supported", where,
                        type ? type : "none");
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++) {
        const json_t *value = json_object_get(config, unsupported[i]);
        if (!asks_for_nothing(value)) return adapter_config_refuse(context, where, unsupported[i], value);
    }
    const mla_status status = mla_adapter_check_saved_modules(context, where, config);
    return status ? status : check_init(context, where, json_object_get(config, "init_lora_weights"));
}

mla_status mla_adapter_setting(mla_context *context, const char *where, const json_t *config, const char *pattern,
                               const char *key, const char *projection, double *out) {
    const json_t *value = json_object_get(config, key), *found;
    const char *name;
    bool matches = false;
    json_object_foreach(json_object_get(config, pattern), name, found) {
        const mla_pattern key_of_pattern = {"(.*\\.)?(", name, ")"};
        const mla_status status = mla_pattern_match(context, where, key_of_pattern, projection, &matches, NULL);
        if (status) return status;
        if (!matches) continue;
        value = found;
        break;
    }
    *out = json_number_value(value);
    if (json_is_number(value) && isfinite(*out) && *out > 0) return MLA_OK;
    return mla_fail(context, MLA_ERROR_FORMAT, "%s: %s: for %s it is no number above 0", where, key, projection);
}

/* ---- writing ---- */

/* Sets what differs from the adapter's own number for this projection. */
static void set_pattern(json_t *config, const char *pattern, const char *key, const char *projection, double value) {
    if (json_number_value(json_object_get(config, key)) != value) /* both were given as the same number */
        json_object_set_new(json_object_get(config, pattern), projection,
                            value == floor(value) ? json_integer((json_int_t)value) : json_real(value));
}

static json_t *number(double value) {
    return value == floor(value) ? json_integer((json_int_t)value) : json_real(value);
}

static const char *init_word(mla_lora_init init) { return init == MLA_LORA_PISSA ? "mla-pissa" : "gaussian"; }

static const char *task_of(const mla_decoder *model) {
    if (!mla_adapters_have_head(model)) return "CAUSAL_LM";
    return model->config.head->labels == MLA_LABELS_OF_TOKENS ? "TOKEN_CLS" : "SEQ_CLS";
}

static json_t *new_config(const mla_decoder *model, const mla_lora_options *o, const char *base) {
    return json_pack("{s:s, s:s, s:s, s:I, s:o, s:f, s:b, s:b, s:s, s:b, s:o, s:[], s:{}, s:{}, s:b, s:o}", "peft_type",
                     "LORA", "task_type", task_of(model), "base_model_name_or_path", base, "r", (json_int_t)o->rank,
                     "lora_alpha", number(o->alpha), "lora_dropout", o->dropout, "use_rslora", (int)o->rslora,
                     "use_dora", (int)o->dora, "bias", "none", "fan_in_fan_out", 0, "init_lora_weights",
                     o->init == MLA_LORA_UNIFORM ? json_true() : json_string(init_word(o->init)), "target_modules",
                     "rank_pattern", "alpha_pattern", "inference_mode", 1, "modules_to_save",
                     mla_adapters_have_head(model) ? json_pack("[s]", "score") : json_null());
}

char *mla_adapter_config_text(const mla_decoder *model, const mla_lora_options *o, const char *base) {
    const mla_linear_layer *p;
    char *text = NULL;
    json_t *config = new_config(model, o, base);
    for (int64_t i = 0; config && (p = mla_decoder_projection(model, i)); i++) {
        char name[MLA_H5_MAX_NAME];
        if (!p->lora) continue;
        snprintf(name, sizeof name, "%.*s", mla_adapters_stem(p), p->weight->name);
        json_array_append_new(json_object_get(config, "target_modules"), json_string(name));
        set_pattern(config, "rank_pattern", "r", name, (double)p->lora->rank);
        set_pattern(config, "alpha_pattern", "lora_alpha", name, p->lora->alpha);
    }
    if (config) text = mla_json_text(model->context, config);
    else mla_fail(model->context, MLA_ERROR_MEMORY, "no memory for adapter_config.json");
    json_decref(config);
    return text;
}
