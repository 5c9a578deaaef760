#include "train/hugging_face/model_config.h"
#include "data/labels/label_set.h"
#include "layers/head/head.h"
#include "train/hugging_face/families/family.h"
#include "train/hugging_face/quantized.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what transformers has ---- */

/* Keys that mean the same in all files and here. */
static const char *const common_keys[] = {"vocab_size",        "hidden_size",         "intermediate_size",
                                          "num_hidden_layers", "num_attention_heads", "max_position_embeddings",
                                          "rms_norm_eps",      "tie_word_embeddings", "attention_dropout",
                                          "initializer_range", "hidden_act",          NULL};
static const char *const yarn_keys[] = {"factor",           "original_max_position_embeddings",
                                        "beta_fast",        "beta_slow",
                                        "mscale",           "mscale_all_dim",
                                        "attention_factor", NULL};
static const char *const linear_keys[] = {"factor", NULL};
static const char *const longrope_keys[] = {
    "factor", "original_max_position_embeddings", "short_factor", "long_factor", "attention_factor", NULL};
static const char *const llama3_keys[] = {"factor", "original_max_position_embeddings", "low_freq_factor",
                                          "high_freq_factor", NULL};
/* Those whose defaults in transformers are the sizes of some large model. */
static const char *const needed_keys[] = {"vocab_size",
                                          "hidden_size",
                                          "intermediate_size",
                                          "num_hidden_layers",
                                          "num_attention_heads",
                                          "max_position_embeddings",
                                          NULL};

/* ---- reading ---- */

typedef struct {
    mla_config_file file;
    const mla_family *family;
    json_t *ours; /* the same in our keys */
} reader;

static mla_status model_config_refuse(const reader *r, const char *key, const char *words) {
    return mla_config_refuse(&r->file, key, words);
}

static bool says_no(const json_t *value) { return mla_config_says_no(value); }

static json_t *get(const reader *r, const char *key) { return json_object_get(r->file.json, key); }

static int compare(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* "A, B and C", sorted; cut where the text ends. */
static void list_architectures(char *text, size_t size) {
    const char *names[mla_family_count];
    for (int i = 0; i < mla_family_count; i++) names[i] = mla_families[i].architecture;
    qsort(names, (size_t)mla_family_count, sizeof *names, compare);
    size_t used = 0;
    for (int i = 0; i < mla_family_count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s",
                                 i == 0                     ? ""
                                 : i < mla_family_count - 1 ? ", "
                                                            : " and ",
                                 names[i]);
}

static mla_status find_family(reader *r) {
    char known[512];
    r->family = mla_family_of(r->file.json);
    if (r->family) return MLA_OK;
    const char *type = json_string_value(get(r, "model_type"));
    const char *architecture = json_string_value(json_array_get(get(r, "architectures"), 0));
    list_architectures(known, sizeof known);
    return mla_fail(r->file.context, MLA_ERROR_FORMAT,
                    "%smodel_type %.100s, architecture %.100s: not supported; %s are", r->file.where,
                    type ? type : "(none)", architecture ? architecture : "(none)", known);
}

/* ---- features that a model here has not ---- */

static mla_status check_others(const reader *r) {
    static const char *const keys[] = {
        "attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar", "embedding_multiplier",
        "residual_multiplier",    "attention_multiplier",    "logits_scaling",        NULL};
    mla_quantization quantization;
    const mla_status status = mla_quantization_read(r->file.context, r->file.where, r->file.json, &quantization);
    if (status) return status;
    for (int i = 0; keys[i]; i++)
        if (!says_no(get(r, keys[i]))) return model_config_refuse(r, keys[i], "not supported");
    return MLA_OK;
}

/* A window as long as the positions hides nothing. layer_types has the last word, but for families that do not know it;
 * without it, Qwen's layers from max_window_layers on have windows if they are in use. */
static mla_status check_windows(const reader *r) {
    static const char words[] = "sliding windows are not supported; attention must be full in all layers, "
                                "as it is where max_position_embeddings is at most the window";
    const json_t *types = get(r, "layer_types"), *use = get(r, "use_sliding_window");
    const int64_t window = mla_config_number(r->file.json, "sliding_window", 0);
    const bool whole = window > 0 && window >= mla_config_number(r->file.json, "max_position_embeddings", 0);
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (whole && type && !strcmp(type, "sliding_attention")) continue;
        if (!type || strcmp(type, "full_attention")) return model_config_refuse(r, "layer_types", words);
    }
    if (whole || says_no(get(r, "sliding_window"))) return MLA_OK;
    if (r->family->window_alone) return model_config_refuse(r, "sliding_window", words);
    if (json_is_array(types)) return MLA_OK;
    if (use && says_no(use)) return MLA_OK;
    if (mla_config_number(r->file.json, "max_window_layers", 0) >=
        mla_config_number(r->file.json, "num_hidden_layers", 0))
        return MLA_OK;
    return model_config_refuse(r, "sliding_window", words);
}

static mla_status check_needed(const reader *r, const char *const *keys) {
    for (; *keys; keys++)
        if (!get(r, *keys)) return model_config_refuse(r, *keys, "is missing");
    return MLA_OK;
}

/* ---- translation ---- */

static void copy_keys(json_t *to, const json_t *from, const char *const *keys) {
    for (; *keys; keys++)
        if (json_object_get(from, *keys)) json_object_set(to, *keys, json_object_get(from, *keys));
}

static json_t *first_of(json_t *a, json_t *b) { return says_no(a) ? b : a; }

static mla_status check_rope(const reader *r, const json_t *rope) {
    const json_t *partial = first_of(json_object_get(rope, "partial_rotary_factor"), get(r, "partial_rotary_factor"));
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)rope, key, value) if (json_is_object(value)) return model_config_refuse(
        r, key, "a RoPE of its own for each kind of layer is not supported");
    if (!says_no(partial) && (json_number_value(partial) < 1 || json_number_value(partial) > 1))
        return model_config_refuse(r, "partial_rotary_factor", "only 1 is supported");
    if (json_is_false(json_object_get(rope, "truncate")))
        return model_config_refuse(r, "truncate", "only true is supported");
    return MLA_OK;
}

/* RoPE's types beside "default", with the keys that they have and those that they need. */
typedef struct {
    const char *name;
    const char *const *keys;
    const char *needed[3];
} rope_type;
static const rope_type rope_types[] = {
    {"yarn", yarn_keys, {"factor"}},
    {"llama3", llama3_keys, {"factor"}},
    {"linear", linear_keys, {"factor"}},
    {"longrope", longrope_keys, {"short_factor", "long_factor"}},
};
enum { ROPE_TYPES = sizeof rope_types / sizeof *rope_types };

static const rope_type *find_rope_type(const char *name) {
    for (int i = 0; i < ROPE_TYPES; i++)
        if (!strcmp(rope_types[i].name, name)) return &rope_types[i];
    return NULL;
}

/* What transformers calls it today: "su" is the older name of longrope, and so is "yarn" in Phi-3. Dynamic scaling
 * begins behind max_position_embeddings, where a model here ends. */
static const char *rope_name(const reader *r, const char *type) {
    if (!strcmp(type, "su") || (r->family->original_beside && !strcmp(type, "yarn"))) return "longrope";
    if (strcmp(type, "dynamic")) return type;
    mla_warn(r->file.context,
             "%srope_type dynamic: read as default, from which it differs only behind "
             "max_position_embeddings, where the model ends here",
             r->file.where);
    return "default";
}

static mla_status check_rope_type(const reader *r, const char *name) {
    const bool phi = r->family->original_beside;
    if (find_rope_type(name) && !(phi && strcmp(name, "longrope"))) return MLA_OK;
    return mla_fail(r->file.context, MLA_ERROR_FORMAT, "%srope_type: \"%.100s\" is not supported; %s", r->file.where,
                    name,
                    phi ? "of this model_type only default and longrope are"
                        : "default, yarn, llama3, linear, dynamic and longrope are");
}

/* longrope's factor only makes attention_factor, and follows from the lengths where it is not given. */
static void complete_longrope(json_t *scaling, double longest) {
    const double original = json_number_value(json_object_get(scaling, "original_max_position_embeddings"));
    const json_t *factor = json_object_get(scaling, "factor");
    if (says_no(factor) && original > 0)
        json_object_set_new(scaling, "factor", json_real(longest > original ? longest / original : 1));
    else if (json_is_number(factor) && json_number_value(factor) < 1) /* says the same as 1 */
        json_object_set_new(scaling, "factor", json_real(1));
}

static mla_status translate_scaling(reader *r, const json_t *rope, const rope_type *type) {
    json_t *scaling = json_object(), *original = get(r, "original_max_position_embeddings"),
           *longest = get(r, "max_position_embeddings");
    json_object_set_new(r->ours, "rope_scaling", scaling);
    json_object_set(scaling, "original_max_position_embeddings", longest);
    copy_keys(scaling, rope, type->keys);
    if (r->family->original_beside && says_no(original))
        json_object_set_new(scaling, "original_max_position_embeddings", json_integer(r->family->original_beside));
    if (!says_no(original)) json_object_set(scaling, "original_max_position_embeddings", original); /* wins */
    json_object_set_new(scaling, "type", json_string(type->name));
    if (strcmp(type->name, "yarn") && !says_no(json_object_get(rope, "mscale_all_dim")))
        return model_config_refuse(r, "mscale_all_dim", "only supported with yarn");
    for (int i = 0; type->needed[i]; i++)
        if (!json_object_get(rope, type->needed[i])) return model_config_refuse(r, type->needed[i], "is missing");
    if (!strcmp(type->name, "longrope")) complete_longrope(scaling, json_number_value(longest));
    return MLA_OK;
}

/* transformers 5 has rope_parameters with rope_theta inside, older ones rope_scaling and rope_theta beside
 * it. */
static mla_status translate_rope(reader *r) {
    json_t *rope = first_of(get(r, "rope_scaling"), get(r, "rope_parameters"));
    json_t *theta = first_of(json_object_get(rope, "rope_theta"), get(r, "rope_theta"));
    json_t *type = first_of(json_object_get(rope, "rope_type"), json_object_get(rope, "type"));
    const char *given = type ? json_string_value(type) : "default", *name = rope_name(r, given ? given : "");
    mla_status status = check_rope(r, rope);
    if (status) return status;
    if (!says_no(theta)) json_object_set(r->ours, "rope_theta", theta);
    if (!strcmp(name, "default")) return MLA_OK;
    status = check_rope_type(r, name);
    return status ? status : translate_scaling(r, rope, find_rope_type(name));
}

/* As transformers decides: id2label before num_labels, two labels where nothing is said; one is a number. */
static mla_status translate_head(reader *r) {
    const mla_family_head *h = mla_family_head_of(json_string_value(json_array_get(get(r, "architectures"), 0)));
    const json_t *names = get(r, "id2label"), *problem = get(r, "problem_type");
    if (!h || !h->head->labels) return MLA_OK;
    const bool tokens = h->head->labels == MLA_LABELS_OF_TOKENS;
    const int64_t count = json_is_object(names) ? (int64_t)json_object_size(names)
                                                : mla_config_number(r->file.json, "num_labels", 2);
    const json_t *first = get(r, "classifier_dropout"),
                 *dropout = json_is_number(first) ? first : get(r, "hidden_dropout");
    json_object_set_new(r->ours, "head", json_string(h->head->name));
    json_object_set_new(r->ours, "num_labels", json_integer(count));
    if (says_no(problem) && count == 1 && !tokens)
        json_object_set_new(r->ours, "problem_type", json_string("regression"));
    else if (!says_no(problem) && !tokens) json_object_set(r->ours, "problem_type", (json_t *)(uintptr_t)problem);
    if (tokens && json_is_false(get(r, "token_classification_bias")))
        return model_config_refuse(r, "token_classification_bias", "only true is supported");
    if (tokens)
        json_object_set_new(r->ours, "classifier_dropout",
                            json_is_number(dropout) ? json_deep_copy(dropout) : json_real(0.1));
    return MLA_OK;
}

static mla_status translate(reader *r) {
    const mla_family *f = r->family;
    if (f->head_dim) json_object_set_new(r->ours, "head_dim", json_integer(f->head_dim));
    json_object_set_new(r->ours, "rope_interleave", json_boolean(f->rope_interleave));
    json_object_set_new(r->ours, "attention", json_string(f->attention->kind->name));
    json_object_set_new(r->ours, "qkv_bias", json_boolean(f->qkv_bias));
    json_object_set_new(r->ours, "qk_norm", json_boolean(f->qk_norm));
    copy_keys(r->ours, r->file.json, common_keys);
    copy_keys(r->ours, r->file.json, f->attention->keys);
    copy_keys(r->ours, r->file.json, f->keys);
    const mla_status status = translate_head(r);
    return status ? status : translate_rope(r);
}

static mla_status read_file(reader *r, mla_model_config *out) {
    if (!json_is_object(r->file.json))
        return mla_fail(r->file.context, MLA_ERROR_FORMAT, "%sexpected a JSON object", r->file.where);
    mla_status status = find_family(r);
    if (!status) status = check_others(r);
    if (!status) status = check_needed(r, needed_keys);
    if (!status) status = check_needed(r, r->family->attention->needed);
    if (!status) status = check_needed(r, r->family->needed);
    if (!status) status = r->family->attention->check_experts(&r->file);
    if (!status) status = check_windows(r);
    if (!status) status = translate(r);
    mla_model_config_default(r->file.context, out);
    if (!status) status = mla_fields_read_json(r->file.context, r->file.where, &mla_model_fields, out, r->ours, NULL);
    return status ? status : mla_model_config_check(r->file.context, r->file.where, out);
}

mla_status mla_hugging_face_read_json(mla_context *context, const char *where, json_t *file, mla_model_config *out) {
    reader r = {.file = {context, where, file}, .ours = json_object()};
    const mla_status status = r.ours ? read_file(&r, out)
                                     : mla_fail(context, MLA_ERROR_MEMORY, "no memory for a configuration");
    json_decref(r.ours);
    return status;
}

mla_status mla_hugging_face_read(mla_context *context, const char *where, const char *text, mla_model_config *out) {
    json_t *file;
    mla_status status = mla_json_parse(context, where, text, &file);
    if (!status) status = mla_hugging_face_read_json(context, where, file, out);
    json_decref(file);
    return status;
}

/* ---- writing ---- */

/* What of a model a family has no word for; NULL where it has one for all. */
static const char *obstacle(const mla_family *f, const mla_model_config *c) {
    if (c->attention != f->attention->kind) return "attention of this kind";
    if (c->head->labels == MLA_LABELS_OF_TOKENS && f->no_tokens) return "head: token";
    if (c->pooling != MLA_POOLING_LAST) return "pooling: mean";
    if (c->position != MLA_POSITION_ROPE) return "position other than rope";
    if (c->norm != MLA_NORM_RMSNORM) return "norm: layernorm";
    if (c->norm_position != MLA_NORM_PRE) return "norm_position: post";
    if (!c->final_norm) return "final_norm: false";
    if (!c->causal) return "causal: false";
    if (!c->gated) return "gated: false";
    if (f->original_beside && c->rope_scaling.type != MLA_ROPE_SCALING_NONE &&
        c->rope_scaling.type != MLA_ROPE_SCALING_LONGROPE)
        return "rope_scaling of this type";
    if (c->rope_interleave != f->rope_interleave && !mla_family_has_key(f, "rope_interleave"))
        return c->rope_interleave ? "rope_interleave: true" : "rope_interleave: false";
    if (c->attention_bias && !mla_family_has_key(f, "attention_bias")) return "attention_bias: true";
    if (c->mlp_bias && !mla_family_has_key(f, "mlp_bias")) return "mlp_bias: true";
    const char *own = f->attention->obstacle(f, c);
    if (!own && f->heads_divide && c->hidden_size % c->num_attention_heads)
        return "heads that do not divide hidden_size";
    return own;
}

/* The origin's family if it still fits, otherwise the first that does. */
static const mla_family *choose_family(mla_context *context, const mla_model_config *c, const char *origin) {
    const mla_family *closest = mla_families;
    for (int i = 0; origin && i < mla_family_count; i++)
        if (!strcmp(mla_families[i].model_type, origin) && !obstacle(&mla_families[i], c)) return &mla_families[i];
    for (int i = mla_family_count - 1; i >= 0; i--)
        if (mla_families[i].attention->kind == c->attention) closest = &mla_families[i];
    for (int i = 0; i < mla_family_count; i++)
        if (!mla_families[i].only_kept && !obstacle(&mla_families[i], c)) return &mla_families[i];
    mla_fail(context, MLA_ERROR_ARGUMENT, "transformers has no architecture for this model: %s has no %s",
             closest->architecture, obstacle(closest, c));
    return NULL;
}

/* Members that are 0 where they are not given must stay away. */
static json_t *write_scaling(const json_t *ours) {
    const json_t *from = json_object_get(ours, "rope_scaling");
    if (json_is_null(from)) return json_null();
    json_t *to = json_object();
    const char *type = json_string_value(json_object_get(from, "type"));
    json_object_set_new(to, "rope_type", json_string(type));
    for (const char *const *key = find_rope_type(type)->keys; *key; key++) {
        json_t *value = json_object_get(from, *key);
        if (!says_no(value)) json_object_set(to, *key, value);
    }
    return to;
}

static void write_head(json_t *file, const mla_family *f, const mla_head_kind *head, const json_t *ours) {
    char architecture[128];
    mla_family_architecture(f, head, sizeof architecture, architecture);
    json_object_set_new(file, "architectures", json_pack("[s]", architecture));
    json_object_del(file, "num_labels");
    json_object_del(file, "problem_type");
    json_object_del(file, "classifier_dropout");
    if (head->labels) json_object_set(file, "problem_type", json_object_get(ours, "problem_type"));
    if (head->labels == MLA_LABELS_OF_TOKENS)
        json_object_set(file, "classifier_dropout", json_object_get(ours, "classifier_dropout"));
}

static void write_keys(json_t *file, const mla_family *f, const json_t *ours) {
    json_object_set_new(file, "model_type", json_string(f->model_type));
    copy_keys(file, ours, common_keys);
    copy_keys(file, ours, f->attention->keys);
    copy_keys(file, ours, f->keys);
    json_object_del(file, "rope_parameters");
    json_object_del(file, "original_max_position_embeddings");
    json_object_del(file, "quantization_config"); /* numbers of eight bits are not written */
    json_object_del(file, "auto_map");            /* names of program files that do not come along */
    json_object_set(file, "rope_theta", json_object_get(ours, "rope_theta"));
    json_object_set_new(file, "rope_scaling", write_scaling(ours));
    json_t *original = json_object_get(json_object_get(file, "rope_scaling"), "original_max_position_embeddings");
    if (f->original_beside && original) json_object_set(file, "original_max_position_embeddings", original);
    if (f->attention->write) f->attention->write(file, ours);
}

json_t *mla_hugging_face_write(mla_context *context, const mla_model_config *config, const json_t *origin) {
    const char *type = json_string_value(json_object_get(origin, "model_type"));
    const mla_family *f = choose_family(context, config, type);
    if (!f) return NULL;
    json_t *ours = mla_fields_write_json(context, &mla_model_fields, config);
    if (!ours) return NULL;
    json_t *file = type && !strcmp(type, f->model_type) ? json_deep_copy(origin) : json_object();
    if (file) write_head(file, f, config->head, ours);
    if (file) write_keys(file, f, ours);
    else mla_fail(context, MLA_ERROR_MEMORY, "no memory for a configuration");
    json_decref(ours);
    return file;
}

/* ---- the names of labels ---- */

mla_status mla_hugging_face_labels(mla_context *context, const char *where, const json_t *file,
                                   const mla_model_config *config, char **out) {
    mla_label_set set;
    *out = NULL;
    if (!config->head->labels) return MLA_OK;
    mla_status status = mla_label_set_read_ids(context, where, json_object_get(file, "id2label"), config->num_labels,
                                               &set);
    if (!status && !(*out = mla_label_set_json(context, &set))) status = MLA_ERROR_MEMORY;
    mla_label_set_free(&set);
    return status;
}

mla_status mla_hugging_face_set_labels(mla_context *context, const char *labels, json_t *config) {
    mla_label_set set;
    json_object_del(config, "id2label");
    json_object_del(config, "label2id");
    if (!labels) return MLA_OK;
    const mla_status status = mla_label_set_parse(context, "labels", labels, &set);
    if (status) return status;
    json_t *numbers = json_object();
    for (int64_t i = 0; i < set.count; i++) json_object_set_new(numbers, set.names[i], json_integer(i));
    json_object_set_new(config, "id2label", mla_label_set_ids(&set));
    json_object_set_new(config, "label2id", numbers);
    mla_label_set_free(&set);
    return MLA_OK;
}
