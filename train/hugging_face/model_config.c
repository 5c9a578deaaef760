#include "train/hugging_face/model_config.h"
#include "layers/attention/latent_attention.h"
#include "layers/attention/multi_head_attention.h"

#include <jansson.h>
#include <string.h>

/* ---- what transformers has ---- */

/* Keys that mean the same in all files and here. */
static const char *const common_keys[] = {
    "vocab_size",        "hidden_size",         "intermediate_size",
    "num_hidden_layers", "num_attention_heads", "max_position_embeddings",
    "rms_norm_eps",      "tie_word_embeddings", "attention_dropout",
    "initializer_range", "hidden_act",          NULL};
static const char *const latent_keys[] = {"q_lora_rank",      "kv_lora_rank", "qk_nope_head_dim",
                                          "qk_rope_head_dim", "v_head_dim",   NULL};
static const char *const multi_head_keys[] = {"num_key_value_heads", "head_dim", NULL};
static const char *const yarn_keys[] = {"factor",           "original_max_position_embeddings",
                                        "beta_fast",        "beta_slow",
                                        "mscale",           "mscale_all_dim",
                                        "attention_factor", NULL};
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

enum { OWN_KEYS = 3 };

typedef struct {
    const char *model_type, *architecture;
    const mla_attention_kind *attention;
    bool rope_interleave;       /* where it has no such key, or the file does not say */
    bool qkv_bias, qk_norm;     /* always or never */
    int64_t head_dim;           /* where the file does not say; 0: follows from the others */
    const char *keys[OWN_KEYS]; /* beside those of all, and of all with its kind of attention */
    bool heads_divide;          /* it wants the heads to divide hidden_size */
} family;

/* In the order in which they are tried for a model that came from none of them. */
static const family families[] = {
    {"deepseek_v3", "DeepseekV3ForCausalLM", &mla_latent_kind, true,
     .keys = {"attention_bias", "rope_interleave"}},
    {"deepseek_v2", "DeepseekV2ForCausalLM", &mla_latent_kind, true,
     .keys = {"attention_bias", "mlp_bias"}, .heads_divide = true},
    {"llama", "LlamaForCausalLM", &mla_multi_head_kind, .keys = {"attention_bias", "mlp_bias"},
     .heads_divide = true},
    {"qwen2", "Qwen2ForCausalLM", &mla_multi_head_kind, .qkv_bias = true},
    {"qwen3", "Qwen3ForCausalLM", &mla_multi_head_kind, .qk_norm = true, .head_dim = 128,
     .keys = {"attention_bias"}},
};
enum { FAMILIES = sizeof families / sizeof *families };

static bool has_key(const family *f, const char *key) {
    for (int i = 0; i < OWN_KEYS && f->keys[i]; i++)
        if (!strcmp(f->keys[i], key)) return true;
    return false;
}

static const char *const *attention_keys(const family *f) {
    return f->attention == &mla_latent_kind ? latent_keys : multi_head_keys;
}

/* ---- reading ---- */

typedef struct {
    mla_context *context;
    const char *where;
    const json_t *file;
    const family *family;
    json_t *ours; /* the same in our keys */
} reader;

static mla_status refuse(const reader *r, const char *key, const char *words) {
    return mla_fail(r->context, MLA_ERROR_FORMAT, "%s%s: %s", r->where, key, words);
}

/* Absent, null, false, 0 and {} all say no. */
static bool says_no(const json_t *value) {
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_number(value) && !(json_number_value(value) < 0) && !(json_number_value(value) > 0)) ||
           (json_is_object(value) && !json_object_size(value));
}

static int64_t number(const json_t *file, const char *key, int64_t otherwise) {
    const json_t *value = json_object_get(file, key);
    return json_is_integer(value) ? (int64_t)json_integer_value(value) : otherwise;
}

static mla_status find_family(reader *r) {
    const char *type = json_string_value(json_object_get(r->file, "model_type"));
    const json_t *architectures = json_object_get(r->file, "architectures");
    const char *architecture = json_string_value(json_array_get(architectures, 0));
    for (int i = 0; i < FAMILIES; i++) {
        if (type && strcmp(type, families[i].model_type)) continue;
        if (architecture && strcmp(architecture, families[i].architecture)) continue;
        if (!type && !architecture) continue;
        r->family = &families[i];
        return MLA_OK;
    }
    return mla_fail(r->context, MLA_ERROR_FORMAT,
                    "%smodel_type %.100s, architecture %.100s: not supported; DeepseekV2ForCausalLM, "
                    "DeepseekV3ForCausalLM, LlamaForCausalLM, Qwen2ForCausalLM and Qwen3ForCausalLM are",
                    r->where, type ? type : "(none)", architecture ? architecture : "(none)");
}

/* ---- features that a model here has not ---- */

static mla_status check_others(const reader *r) {
    static const char *const keys[] = {
        "attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar", "embedding_multiplier",
        "residual_multiplier",    "attention_multiplier",    "logits_scaling",        NULL};
    if (!says_no(json_object_get(r->file, "quantization_config")))
        return refuse(r, "quantization_config",
                      "quantized weights are not supported; take a version in F32, BF16 or F16");
    for (int i = 0; keys[i]; i++)
        if (!says_no(json_object_get(r->file, keys[i]))) return refuse(r, keys[i], "not supported");
    return MLA_OK;
}

/* In DeepSeek's models all layers from first_k_dense_replace on have experts. */
static mla_status check_experts(const reader *r) {
    const int64_t dense = number(r->file, "first_k_dense_replace", 0),
                  layers = number(r->file, "num_hidden_layers", 0);
    const json_t *routed = json_object_get(r->file, "n_routed_experts");
    if (r->family->attention == &mla_latent_kind) {
        if (dense >= layers || (routed && says_no(routed))) return MLA_OK;
        return mla_fail(r->context, MLA_ERROR_FORMAT,
                        "%sn_routed_experts: the layers from %lld on (first_k_dense_replace) are mixtures of "
                        "experts, which "
                        "are not supported; models with dense layers only are",
                        r->where, (long long)dense);
    }
    if (says_no(json_object_get(r->file, "num_experts")) &&
        says_no(json_object_get(r->file, "num_local_experts")))
        return MLA_OK;
    return refuse(r, "num_experts", "mixtures of experts are not supported");
}

/* layer_types has the last word; without it, Qwen's layers from max_window_layers on have windows if they are
 * in use. */
static mla_status check_windows(const reader *r) {
    static const char words[] = "sliding windows are not supported; attention must be full in all layers";
    const json_t *types = json_object_get(r->file, "layer_types"),
                 *use = json_object_get(r->file, "use_sliding_window");
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (!type || strcmp(type, "full_attention")) return refuse(r, "layer_types", words);
    }
    if (json_is_array(types) || says_no(json_object_get(r->file, "sliding_window"))) return MLA_OK;
    if (use && says_no(use)) return MLA_OK;
    if (number(r->file, "max_window_layers", 0) >= number(r->file, "num_hidden_layers", 0)) return MLA_OK;
    return refuse(r, "sliding_window", words);
}

static mla_status check_needed(const reader *r, const char *const *keys) {
    for (; *keys; keys++)
        if (!json_object_get(r->file, *keys)) return refuse(r, *keys, "is missing");
    return MLA_OK;
}

/* ---- translation ---- */

static void copy_keys(json_t *to, const json_t *from, const char *const *keys) {
    for (; *keys; keys++)
        if (json_object_get(from, *keys)) json_object_set(to, *keys, json_object_get(from, *keys));
}

static json_t *first_of(json_t *a, json_t *b) { return says_no(a) ? b : a; }

static mla_status check_rope(const reader *r, const json_t *rope, const char *type) {
    const json_t *partial = first_of(json_object_get(rope, "partial_rotary_factor"),
                                     json_object_get(r->file, "partial_rotary_factor"));
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)rope, key, value) if (json_is_object(value)) return refuse(
        r, key, "a RoPE of its own for each kind of layer is not supported");
    if (!says_no(partial) && (json_number_value(partial) < 1 || json_number_value(partial) > 1))
        return refuse(r, "partial_rotary_factor", "only 1 is supported");
    if (json_is_false(json_object_get(rope, "truncate")))
        return refuse(r, "truncate", "only true is supported");
    if (!strcmp(type, "default")) return MLA_OK;
    if (strcmp(type, "yarn") && strcmp(type, "llama3"))
        return mla_fail(r->context, MLA_ERROR_FORMAT,
                        "%srope_type: \"%.100s\" is not supported; default, yarn and llama3 are", r->where,
                        type);
    if (!strcmp(type, "llama3") && !says_no(json_object_get(rope, "mscale_all_dim")))
        return refuse(r, "mscale_all_dim", "not supported with llama3");
    return json_object_get(rope, "factor") ? MLA_OK : refuse(r, "rope_scaling.factor", "is missing");
}

static const char *const *scaling_keys(const char *type) {
    return strcmp(type, "yarn") ? llama3_keys : yarn_keys;
}

/* transformers 5 has rope_parameters with rope_theta inside, older ones rope_scaling and rope_theta beside
 * it. */
static mla_status translate_rope(reader *r) {
    json_t *rope =
        first_of(json_object_get(r->file, "rope_scaling"), json_object_get(r->file, "rope_parameters"));
    json_t *theta = first_of(json_object_get(rope, "rope_theta"), json_object_get(r->file, "rope_theta"));
    json_t *type = first_of(json_object_get(rope, "rope_type"), json_object_get(rope, "type"));
    const char *name = type ? json_string_value(type) : "default";
    const mla_status status = check_rope(r, rope, name ? name : "");
    if (status) return status;
    if (!says_no(theta)) json_object_set(r->ours, "rope_theta", theta);
    if (!strcmp(name, "default")) return MLA_OK;
    json_t *scaling = json_object(), *original = json_object_get(r->file, "original_max_position_embeddings");
    json_object_set(scaling, "original_max_position_embeddings",
                    json_object_get(r->file, "max_position_embeddings"));
    copy_keys(scaling, rope, scaling_keys(name));
    if (!says_no(original)) json_object_set(scaling, "original_max_position_embeddings", original); /* wins */
    json_object_set_new(scaling, "type", json_string(name));
    json_object_set_new(r->ours, "rope_scaling", scaling);
    return MLA_OK;
}

static mla_status translate(reader *r) {
    const family *f = r->family;
    if (f->head_dim) json_object_set_new(r->ours, "head_dim", json_integer(f->head_dim));
    json_object_set_new(r->ours, "rope_interleave", json_boolean(f->rope_interleave));
    json_object_set_new(r->ours, "attention",
                        json_string(f->attention->name));
    json_object_set_new(r->ours, "qkv_bias", json_boolean(f->qkv_bias));
    json_object_set_new(r->ours, "qk_norm", json_boolean(f->qk_norm));
    copy_keys(r->ours, r->file, common_keys);
    copy_keys(r->ours, r->file, attention_keys(f));
    copy_keys(r->ours, r->file, f->keys);
    return translate_rope(r);
}

static mla_status read_file(reader *r, mla_model_config *out) {
    if (!json_is_object(r->file))
        return mla_fail(r->context, MLA_ERROR_FORMAT, "%sexpected a JSON object", r->where);
    mla_status status = find_family(r);
    if (!status) status = check_others(r);
    if (!status) status = check_needed(r, needed_keys);
    if (!status && r->family->attention == &mla_latent_kind) status = check_needed(r, latent_keys);
    if (!status) status = check_experts(r);
    if (!status) status = check_windows(r);
    if (!status) status = translate(r);
    mla_model_config_default(r->context, out);
    if (!status) status = mla_fields_read_json(r->context, r->where, &mla_model_fields, out, r->ours, NULL);
    return status ? status : mla_model_config_check(r->context, r->where, out);
}

mla_status mla_hugging_face_read(mla_context *context, const char *where, const char *text,
                                 mla_model_config *out) {
    json_t *file;
    mla_status status = mla_json_parse(context, where, text, &file);
    if (status) return status;
    reader r = {.context = context, .where = where, .file = file, .ours = json_object()};
    status =
        r.ours ? read_file(&r, out) : mla_fail(context, MLA_ERROR_MEMORY, "no memory for a configuration");
    json_decref(r.ours);
    json_decref(file);
    return status;
}

/* ---- writing ---- */

static const char unequal_ranks[] = "kv_lora_ranks, one for each layer";

/* What of a model a family has no word for; NULL where it has one for all. */
static const char *obstacle(const family *f, const mla_model_config *c) {
    const bool latent = c->attention == &mla_latent_kind;
    if (c->attention != f->attention) return latent ? "attention: latent" : "attention: multi_head";
    if (c->position != MLA_POSITION_ROPE) return "position other than rope";
    if (c->norm != MLA_NORM_RMSNORM) return "norm: layernorm";
    if (c->norm_position != MLA_NORM_PRE) return "norm_position: post";
    if (!c->final_norm) return "final_norm: false";
    if (!c->causal) return "causal: false";
    if (!c->gated) return "gated: false";
    if (latent && !c->latent_norm) return "latent_norm: false";
    if (latent && c->kv_lora_ranks.count) return unequal_ranks;
    if (c->rope_interleave != f->rope_interleave && !has_key(f, "rope_interleave"))
        return c->rope_interleave ? "rope_interleave: true" : "rope_interleave: false";
    if (c->attention_bias && !has_key(f, "attention_bias")) return "attention_bias: true";
    if (c->mlp_bias && !has_key(f, "mlp_bias")) return "mlp_bias: true";
    if (!latent && !c->attention_bias && c->qkv_bias != f->qkv_bias)
        return c->qkv_bias ? "qkv_bias: true" : "no qkv_bias";
    if (!latent && c->qk_norm != f->qk_norm) return c->qk_norm ? "qk_norm: true" : "no qk_norm";
    if (f->heads_divide && c->hidden_size % c->num_attention_heads)
        return "heads that do not divide hidden_size";
    return NULL;
}

/* The origin's family if it still fits, otherwise the first that does. */
static const family *choose_family(mla_context *context, const mla_model_config *c, const char *origin) {
    const family *closest = NULL;
    for (int i = 0; origin && i < FAMILIES; i++)
        if (!strcmp(families[i].model_type, origin) && !obstacle(&families[i], c)) return &families[i];
    for (int i = 0; i < FAMILIES; i++) {
        if (!obstacle(&families[i], c)) return &families[i];
        if (!closest && families[i].attention == c->attention) closest = &families[i];
    }
    const char *what = obstacle(closest, c),
               *remedy = what == unequal_ranks ? ": give all the largest of them, which changes nothing "
                                                 "else: mla rank FILE.h5 --latent RANK --out EQUAL.h5"
                                               : "";
    mla_fail(context, MLA_ERROR_ARGUMENT, "transformers has no architecture for this model: %s has no %s%s",
             closest->architecture, what, remedy);
    return NULL;
}

/* Members that are 0 where they are not given must stay away. */
static json_t *write_scaling(const json_t *ours) {
    const json_t *from = json_object_get(ours, "rope_scaling");
    if (json_is_null(from)) return json_null();
    json_t *to = json_object();
    const char *type = json_string_value(json_object_get(from, "type"));
    json_object_set_new(to, "rope_type", json_string(type));
    for (const char *const *key = scaling_keys(type); *key; key++) {
        json_t *value = json_object_get(from, *key);
        if (!says_no(value)) json_object_set(to, *key, value);
    }
    return to;
}

static void write_keys(json_t *file, const family *f, const json_t *ours) {
    json_object_set_new(file, "architectures", json_pack("[s]", f->architecture));
    json_object_set_new(file, "model_type", json_string(f->model_type));
    copy_keys(file, ours, common_keys);
    copy_keys(file, ours, attention_keys(f));
    copy_keys(file, ours, f->keys);
    json_object_del(file, "rope_parameters");
    json_object_del(file, "original_max_position_embeddings");
    json_object_del(file, "auto_map"); /* names of program files that do not come along */
    json_object_set(file, "rope_theta", json_object_get(ours, "rope_theta"));
    json_object_set_new(file, "rope_scaling", write_scaling(ours));
    if (f->attention != &mla_latent_kind) return;
    json_object_set(file, "num_key_value_heads", json_object_get(ours, "num_attention_heads"));
    json_object_set(file, "first_k_dense_replace", json_object_get(ours, "num_hidden_layers"));
}

json_t *mla_hugging_face_write(mla_context *context, const mla_model_config *config, const json_t *origin) {
    const char *type = json_string_value(json_object_get(origin, "model_type"));
    const family *f = choose_family(context, config, type);
    if (!f) return NULL;
    json_t *ours = mla_fields_write_json(context, &mla_model_fields, config);
    if (!ours) return NULL;
    json_t *file = type && !strcmp(type, f->model_type) ? json_deep_copy(origin) : json_object();
    if (file)
        write_keys(file, f, ours);
    else
        mla_fail(context, MLA_ERROR_MEMORY, "no memory for a configuration");
    json_decref(ours);
    return file;
}
