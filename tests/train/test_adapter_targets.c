/* Which modules an adapter_config.json promises adapters for. What each case matches is what PEFT 0.21 puts adapters on
 * in a Llama of 12 layers; a folder with exactly these tensors is taken, one with a module less or more is refused. */
#include "layers/adapt/adapters.h"
#include "layers/attention/multi_head_attention.h"
#include "layers/head/classification.h"
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "tests/support/model_folder.h"
#include "train/adapter/adapter.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 256, NAME = 128 };

static const struct {
    const char *config;
    int count;           /* of modules that PEFT matches */
    const char *modules; /* those, as an extended regular expression */
} cases[] = {
    {"'target_modules': ['q_proj', 'v_proj']", 24, "attn\\.[qv]_proj"},
    {"'target_modules': ['self_attn.q_proj', 'nothing']", 12, "attn\\.q_proj"},
    {"'target_modules': ['attn.q_proj', 'model.layers.3.mlp.up_proj']", 1, "s\\.3\\.mlp\\.up_proj"},
    {"'target_modules': ['_proj', 'o_proj']", 12, "o_proj"},
    {"'target_modules': 'model\\\\.layers\\\\.[0-1]\\\\.self_attn\\\\.(q|v)_proj'", 4,
     "s\\.[01]\\.self_attn\\.[qv]_proj"},
    {"'target_modules': '.*layers\\\\.1.*up_proj'", 3, "s\\.(1|10|11)\\.mlp\\.up_proj"},
    {"'target_modules': 'q_proj|.*\\\\.3\\\\..*(?<!q)_proj'", 6, "s\\.3\\..*[^q]_proj"},
    {"'target_modules': 'all-linear'", 84, "_proj"},
    {"'target_modules': 'ALL-LINEAR', 'exclude_modules': ['mlp.up_proj', 'k_proj']", 60, "([qvo]|gate|down)_proj"},
    {"'target_modules': ['q_proj'], 'layers_to_transform': 1", 1, "s\\.1\\..*q_proj"},
    {"'target_modules': ['q_proj'], 'layers_to_transform': [0, 11]", 2, "s\\.(0|11)\\..*q_proj"},
    {"'target_modules': ['q_proj'], 'layers_to_transform': []", 12, "q_proj"},
    {"'target_modules': ['q_proj'], 'layers_to_transform': [2], 'layers_pattern': 'layers'", 1, "s\\.2\\..*q_proj"},
    {"'target_modules': ['q_proj'], 'layers_to_transform': [2], 'layers_pattern': ['h', 'lay[a-z]*']", 1,
     "s\\.2\\..*q_proj"},
    {"'target_modules': ['model.layers.5.self_attn.q_proj', 'k_proj'], 'layers_to_transform': [2]", 2,
     "s\\.(5\\..*q|2\\..*k)_proj"},
    {"'target_modules': ['q_proj', 'k_proj'], 'exclude_modules': '.*\\\\.[0-9]\\\\..*'", 4, "s\\.1[01]\\..*[qk]_proj"},
    {"'target_modules': ['q_proj', 'k_proj'], 'exclude_modules': ['model.layers.3.self_attn.k_proj', 'attn.q_proj']",
     23, "q_proj|s\\.[^3]*\\.self_attn\\.k_proj"},
};
enum { CASES = sizeof cases / sizeof *cases };

static mla_decoder *twelve_layers(mla_context *context) {
    mla_model_config config = model_folder_config(context, &mla_multi_head_kind);
    mla_decoder *model;
    config.num_hidden_layers = 12;
    check_ok(context, mla_decoder_create(context, &model, &config));
    return model;
}

static void write_config(const model_folder *f, const char *targets) {
    char text[512];
    const int length = snprintf(text, sizeof text, "{'peft_type': 'LORA', 'r': 1, 'lora_alpha': 1, %s}", targets);
    for (int i = 0; i < length; i++)
        if (text[i] == '\'') text[i] = '"';
    model_folder_write_text(f->in, "adapter_config.json", text);
}

/* A and B of some projections, all zeros. */
typedef struct {
    mla_safetensors_item items[MOST];
    char names[MOST][NAME];
    int64_t count;
} tensors;

static void add(tensors *t, const mla_linear_layer *p) {
    static const float zeros[64];
    for (int i = 0; i < 2; i++) {
        char *name = t->names[t->count];
        snprintf(name, NAME, "base_model.model.%.*s.lora_%c.weight", mla_adapters_stem(p), p->weight->name, "AB"[i]);
        t->items[t->count++] = (mla_safetensors_item){
            .name = name,
            .ndim = 2,
            .shape = {i ? p->weight->shape[0] : 1, i ? 1 : p->weight->shape[1]},
            .values = zeros};
    }
}

static mla_status attach_to(const model_folder *f, mla_decoder *model, const tensors *t) {
    char *path = path_in(f->in, "adapter_model.safetensors");
    mla_adapter *adapter;
    check_ok(f->context, mla_safetensors_write(f->context, path, MLA_SAFETENSORS_F32, t->items, t->count));
    mla_status status = mla_adapter_open(f->context, &adapter, f->in);
    if (!status) status = mla_adapter_attach(adapter, model, "default", 1);
    mla_adapter_close(adapter);
    mla_decoder_destroy(model);
    free(path);
    return status;
}

static mla_status attach(const model_folder *f, const tensors *t) { return attach_to(f, twelve_layers(f->context), t); }

/* The projections of a case; the first one that is none of them goes to `other`. */
static void collect(const mla_decoder *model, const char *modules, tensors *t, const mla_linear_layer **other) {
    const mla_linear_layer *p;
    regex_t expression;
    *t = (tensors){0};
    *other = NULL;
    assert_int_equal(regcomp(&expression, modules, REG_EXTENDED | REG_NOSUB), 0);
    for (int64_t i = 0; (p = mla_decoder_projection(model, i)); i++) {
        if (!regexec(&expression, p->weight->name, 0, NULL, 0)) add(t, p);
        else if (!*other) *other = p;
    }
    regfree(&expression);
}

static void targets_are_those_of_peft(void **state) {
    model_folder *f = *state;
    mla_decoder *model = twelve_layers(f->context);
    static tensors t;
    for (int i = 0; i < CASES; i++) {
        const mla_linear_layer *other;
        char words[2 * NAME];
        write_config(f, cases[i].config);
        collect(model, cases[i].modules, &t, &other);
        assert_int_equal(t.count, 2 * cases[i].count);
        f->warning[0] = '\0';
        check_ok(f->context, attach(f, &t));
        if (strstr(cases[i].config, "nothing")) assert_non_null(strstr(f->warning, "does not have: nothing"));
        else if (!strstr(cases[i].config, "attn.q") && i != 3) assert_string_equal(f->warning, "");
        if (other) {
            add(&t, other);
            snprintf(words, sizeof words, "out: %.*s", mla_adapters_stem(other), other->weight->name);
            check_error(f->context, attach(f, &t), MLA_ERROR_FORMAT, words);
            t.count -= 2;
        }
        t.count -= 2;
        const char *name = t.names[t.count] + strlen("base_model.model.");
        snprintf(words, sizeof words, "no tensors for 1 of the %d modules of its target_modules: %.*s", cases[i].count,
                 (int)(strlen(name) - strlen(".lora_A.weight")), name);
        check_error(f->context, attach(f, &t), MLA_ERROR_FORMAT, words);
    }
    mla_decoder_destroy(model);
}

static void nothing_is_no_adapter(void **state) {
    model_folder *f = *state;
    static const tensors none;
    write_config(f, "'target_modules': ['q_proj', 'v_proj']");
    check_error(f->context, attach(f, &none), MLA_ERROR_FORMAT,
                "no tensors for 24 of the 24 modules of its target_modules: model.layers.0.self_attn.q_proj, "
                "model.layers.0.self_attn.v_proj, model.layers.1.self_attn.q_proj, model.layers.1.self_attn.v_proj, "
                "...; was it saved from sharded weights (ZeRO-3, FSDP)?");
    write_config(f, "'target_modules': ['q_prj']");
    check_error(f->context, attach(f, &none), MLA_ERROR_ARGUMENT, "name no module of this model");
    write_config(f, "'bias': 'none'");
    check_error(f->context, attach(f, &none), MLA_ERROR_FORMAT, "target_modules: expected names");
    write_config(f, "'target_modules': ['embed_tokens', 'lm_head']");
    check_error(f->context, attach(f, &none), MLA_ERROR_FORMAT, "model.embed_tokens, lm_head");
    write_config(f, "'target_modules': '(q_proj'");
    check_error(f->context, attach(f, &none), MLA_ERROR_FORMAT, "\"(q_proj\" is no pattern of names");
    write_config(f, "'target_modules': ['q_proj'], 'layers_to_transform': [0], 'layers_pattern': '('");
    check_error(f->context, attach(f, &none), MLA_ERROR_FORMAT, "\"(\" is no pattern of names");
}

/* Names as training loops save them by themselves: the same adapter. */
static void names_of_other_savers_are_read(void **state) {
    model_folder *f = *state;
    static const char *const forms[] = {"base_model.model.%s.lora_%c.default.weight",
                                        "module.base_model.model.%s.lora_%c.weight",
                                        "_orig_mod.base_model.model.%s.lora_%c.default.weight"};
    static tensors t;
    const mla_linear_layer *other;
    mla_decoder *model = twelve_layers(f->context);
    write_config(f, "'target_modules': ['q_proj']");
    for (int i = 0; i < 3; i++) {
        collect(model, "q_proj", &t, &other);
        for (int64_t k = 0; k < t.count; k++) {
            char module[NAME];
            snprintf(module, sizeof module, "model.layers.%d.self_attn.q_proj", (int)(k / 2));
            snprintf(t.names[k], NAME, forms[i], module, "AB"[k % 2]);
        }
        check_ok(f->context, attach(f, &t));
    }
    collect(model, "q_proj", &t, &other);
    snprintf(t.names[1], NAME, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight");
    t.items[1] = t.items[0];
    t.items[1].name = t.names[1];
    check_error(f->context, attach(f, &t), MLA_ERROR_FORMAT, "is there twice");
    mla_decoder_destroy(model);
}

static mla_decoder *with_head(mla_context *context, const mla_head_kind *head) {
    mla_model_config config = model_folder_config(context, &mla_multi_head_kind);
    mla_decoder *model;
    config.num_hidden_layers = 12;
    config.head = head;
    config.num_labels = 3;
    check_ok(context, mla_decoder_create(context, &model, &config));
    return model;
}

/* A head as PEFT saves it, and as training loops save it by themselves; what goes with it in the configuration. */
static void heads_are_known_by_all_their_names(void **state) {
    model_folder *f = *state;
    static const char *const names[] = {"base_model.model.score.weight",
                                        "base_model.model.score.modules_to_save.default.weight",
                                        "module.base_model.model.score.modules_to_save.default.weight",
                                        "base_model.model.score.modules_to_save.weight"};
    static const char targets[] = "'target_modules': ['q_proj'], 'task_type': 'SEQ_CLS', 'modules_to_save': ['score']";
    static tensors t;
    static float zeros[1024];
    const mla_linear_layer *other;
    mla_decoder *model = twelve_layers(f->context);
    collect(model, "q_proj", &t, &other);
    mla_safetensors_item *head = &t.items[t.count++];
    *head = (mla_safetensors_item){.ndim = 2, .shape = {3, model->config.hidden_size}, .values = zeros};
    write_config(f, targets);
    for (int i = 0; i < 4; i++) {
        head->name = names[i];
        check_ok(f->context, attach_to(f, with_head(f->context, &mla_sequence_kind), &t));
    }
    check_error(f->context, attach(f, &t), MLA_ERROR_ARGUMENT, "a head of its own, which the model has no place for");
    head->shape[0] = 2;
    check_error(f->context, attach_to(f, with_head(f->context, &mla_sequence_kind), &t), MLA_ERROR_SHAPE,
                "on this model it should be");
    *head = (mla_safetensors_item){.name = names[0], .ndim = 1, .shape = {3}, .values = zeros};
    check_error(f->context, attach_to(f, with_head(f->context, &mla_sequence_kind), &t), MLA_ERROR_FORMAT,
                "is no matrix");
    *head = (mla_safetensors_item){
        .name = names[1], .ndim = 2, .shape = {3, model->config.hidden_size}, .values = zeros};
    t.items[t.count++] = (mla_safetensors_item){
        .name = "base_model.model.score.modules_to_save.default.bias", .ndim = 1, .shape = {3}, .values = zeros};
    check_ok(f->context, attach_to(f, with_head(f->context, &mla_token_kind), &t));
    t.count -= 2;
    check_error(f->context, attach_to(f, with_head(f->context, &mla_sequence_kind), &t), MLA_ERROR_FORMAT,
                "score.weight is missing");
    mla_decoder_destroy(model);
}

static void features_are_named(void **state) {
    model_folder *f = *state;
    static const struct {
        const char *tensor, *words;
    } features[] = {
        {"base_model.model.lm_head.lora_A.weight", "an adapter on the output is not supported; merge it with PEFT"},
        {"base_model.model.model.embed_tokens.lora_embedding_A", "an adapter on the embedding is not supported"},
        {"base_model.model.model.embed_tokens.weight",
         "a whole weight beside the adapter (modules_to_save but the head, save_"},
        {"base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias", "a bias of lora_B (lora_bias)"},
        {"base_model.model.model.layers.0.self_attn.q_proj.bias", "a bias of the base beside the adapter (bias: all"},
    };
    static const float zero;
    static tensors t;
    const mla_linear_layer *other;
    mla_decoder *model = twelve_layers(f->context);
    write_config(f, "'target_modules': ['q_proj', 'lm_head', 'embed_tokens']");
    for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
        collect(model, "q_proj", &t, &other);
        t.items[t.count++] = (mla_safetensors_item){
            .name = features[i].tensor, .ndim = 2, .shape = {1, 1}, .values = &zero};
        check_error(f->context, attach(f, &t), MLA_ERROR_FORMAT, features[i].words);
    }

    collect(model, "q_proj", &t, &other);
    t.items[t.count++] = (mla_safetensors_item){
        .name = "base_model.model.model.norm.weight", .ndim = 2, .shape = {0, 8}, .values = &zero};
    check_error(f->context, attach(f, &t), MLA_ERROR_FORMAT, "model.norm.weight is no tensor of an adapter");
    mla_decoder_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(targets_are_those_of_peft, model_folder_create, model_folder_destroy),
        cmocka_unit_test_setup_teardown(names_of_other_savers_are_read, model_folder_create, model_folder_destroy),
        cmocka_unit_test_setup_teardown(heads_are_known_by_all_their_names, model_folder_create, model_folder_destroy),
        cmocka_unit_test_setup_teardown(features_are_named, model_folder_create, model_folder_destroy),
        cmocka_unit_test_setup_teardown(nothing_is_no_adapter, model_folder_create, model_folder_destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
