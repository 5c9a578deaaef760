#include "autograd/base/file.h"
#include "layers/attention/latent_attention.h"
#include "layers/attention/multi_head_attention.h"
#include "layers/head/classification.h"
#include "layers/head/language.h"
#include "train/hugging_face/families/family.h"

#include <stdio.h>
#include <string.h>

/* ---- latent attention ---- */

static const char *const latent_keys[] = {"q_lora_rank",      "kv_lora_rank", "qk_nope_head_dim",
                                          "qk_rope_head_dim", "v_head_dim",   NULL};

/* In DeepSeek's models all layers from first_k_dense_replace on have experts. */
static mla_status check_routed_experts(const mla_config_file *file) {
    const int64_t dense = mla_config_number(file->json, "first_k_dense_replace", 0),
                  layers = mla_config_number(file->json, "num_hidden_layers", 0);
    const json_t *routed = json_object_get(file->json, "n_routed_experts");
    if (dense >= layers || (routed && mla_config_says_no(routed))) return MLA_OK;
    return mla_fail(file->context, MLA_ERROR_FORMAT,
                    "%sn_routed_experts: the layers from %lld on (first_k_dense_replace) are mixtures of experts, "
                    "which are not supported; models with dense layers only are",
                    file->where, (long long)dense);
}

static const char *latent_obstacle(const mla_family *f, const mla_model_config *c) {
    (void)f;
    if (!c->latent_norm) return "latent_norm: false";
    if (c->qk_norm)
        return "qk_norm: true, which this layout has no place for; a conversion of the original with mla convert "
               "--fold-qk-norm --calibrate TEXT has none, and says what that costs";
    return c->kv_lora_ranks.count ? "kv_lora_ranks, one for each layer: give all the largest of them, which changes "
                                    "nothing else: mla rank FILE.h5 --latent RANK --out EQUAL.h5"
                                  : NULL;
}

static void write_latent(json_t *file, const json_t *ours) {
    json_object_set(file, "num_key_value_heads", json_object_get(ours, "num_attention_heads"));
    json_object_set(file, "first_k_dense_replace", json_object_get(ours, "num_hidden_layers"));
    json_object_del(file, "num_mtp_layers"); /* these layers are left out */
    if (json_object_get(file, "num_nextn_predict_layers"))
        json_object_set_new(file, "num_nextn_predict_layers", json_integer(0));
}

static const mla_family_attention latent = {&mla_latent_kind,     latent_keys,     latent_keys,
                                            check_routed_experts, latent_obstacle, write_latent};

/* ---- multi-head attention ---- */

static const char *const multi_head_keys[] = {"num_key_value_heads", "head_dim", NULL};
static const char *const none[] = {NULL};

static mla_status check_experts(const mla_config_file *file) {
    if (mla_config_says_no(json_object_get(file->json, "num_experts")) &&
        mla_config_says_no(json_object_get(file->json, "num_local_experts")))
        return MLA_OK;
    return mla_config_refuse(file, "num_experts", "mixtures of experts are not supported");
}

static const char *multi_head_obstacle(const mla_family *f, const mla_model_config *c) {
    if (!c->attention_bias && c->qkv_bias != f->qkv_bias) return c->qkv_bias ? "qkv_bias: true" : "no qkv_bias";
    if (c->qk_norm != f->qk_norm) return c->qk_norm ? "qk_norm: true" : "no qk_norm";
    return NULL;
}

static const mla_family_attention multi_head = {&mla_multi_head_kind, multi_head_keys,     none,
                                                check_experts,        multi_head_obstacle, NULL};

/* ---- tensors ---- */

#define LAYER "model.layers.*."
static const mla_tensor_rule phi3_rules[] = {
    {.theirs = {LAYER "self_attn.qkv_proj.weight"},
     .ours = {LAYER "self_attn.q_proj.weight", LAYER "self_attn.k_proj.weight", LAYER "self_attn.v_proj.weight"}},
    {.theirs = {LAYER "mlp.gate_up_proj.weight"}, .ours = {LAYER "mlp.gate_proj.weight", LAYER "mlp.up_proj.weight"}},
    {.theirs = {NULL}},
};

/* ---- the table ---- */

const mla_family mla_families[] = {
    {"deepseek_v3", "DeepseekV3ForCausalLM", &latent, true, .keys = {"attention_bias", "rope_interleave"}},
    {"deepseek_v2", "DeepseekV2ForCausalLM", &latent, true, .keys = {"attention_bias", "mlp_bias"},
     .heads_divide = true, .no_tokens = true},
    {"llama", "LlamaForCausalLM", &multi_head, .keys = {"attention_bias", "mlp_bias"}, .heads_divide = true},
    {"qwen2", "Qwen2ForCausalLM", &multi_head, .qkv_bias = true},
    {"qwen3", "Qwen3ForCausalLM", &multi_head, .qk_norm = true, .head_dim = 128, .keys = {"attention_bias"}},
    {"mistral", "MistralForCausalLM", &multi_head, .needed = {"sliding_window", "num_key_value_heads"},
     .window_alone = true, .only_kept = true},
    {"phi3", "Phi3ForCausalLM", &multi_head, .needed = {"rms_norm_eps"}, .original_beside = 4096, .window_alone = true,
     .only_kept = true, .rules = phi3_rules},
};
const int mla_family_count = sizeof mla_families / sizeof *mla_families;

const mla_family_head mla_family_heads[] = {{"ForCausalLM", &mla_language_kind},
                                            {"ForSequenceClassification", &mla_sequence_kind},
                                            {"ForTokenClassification", &mla_token_kind},
                                            {NULL, NULL}};

const mla_family_head *mla_family_head_of(const char *architecture) {
    for (const mla_family_head *h = mla_family_heads; architecture && h->ending; h++)
        if (mla_ends_with(architecture, h->ending)) return h;
    return NULL;
}

static int stem_of(const mla_family *f) { return (int)(strlen(f->architecture) - strlen("ForCausalLM")); }

void mla_family_architecture(const mla_family *f, const mla_head_kind *head, size_t size, char *out) {
    const mla_family_head *h = mla_family_heads;
    while (h->ending && h->head != head) h++;
    snprintf(out, size, "%.*s%s", stem_of(f), f->architecture, h->ending ? h->ending : "");
}

static bool is_named(const mla_family *f, const char *architecture) {
    const mla_family_head *h = mla_family_head_of(architecture);
    char name[128];
    if (!h) return false;
    mla_family_architecture(f, h->head, sizeof name, name);
    return !strcmp(name, architecture);
}

const mla_family *mla_family_of(const json_t *config) {
    const char *type = json_string_value(json_object_get(config, "model_type"));
    const char *architecture = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    for (int i = 0; i < mla_family_count && (type || architecture); i++) {
        if (type && strcmp(type, mla_families[i].model_type)) continue;
        if (architecture && !is_named(&mla_families[i], architecture)) continue;
        return &mla_families[i];
    }
    return NULL;
}

bool mla_family_has_key(const mla_family *f, const char *key) {
    for (int i = 0; f->keys[i]; i++)
        if (!strcmp(f->keys[i], key)) return true;
    return false;
}

/* ---- for a family's own functions ---- */

mla_status mla_config_refuse(const mla_config_file *file, const char *key, const char *words) {
    return mla_fail(file->context, MLA_ERROR_FORMAT, "%s%s: %s", file->where, key, words);
}

bool mla_config_says_no(const json_t *value) {
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_number(value) && !(json_number_value(value) < 0) && !(json_number_value(value) > 0)) ||
           (json_is_object(value) && !json_object_size(value));
}

int64_t mla_config_number(const json_t *file, const char *key, int64_t otherwise) {
    const json_t *value = json_object_get(file, key);
    return json_is_integer(value) ? (int64_t)json_integer_value(value) : otherwise;
}
