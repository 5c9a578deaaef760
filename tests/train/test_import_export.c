/* Import and export: the same numbers, the same texts. */
#include "data/formats/safetensors.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/tokenizer.h"
#include "layers/attention/latent_attention.h"
#include "layers/attention/multi_head_attention.h"
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "tests/support/model_folder.h"
#include "train/checkpoint/checkpoint.h"
#include "train/hugging_face/chat_files.h"
#include "train/hugging_face/export.h"
#include "train/hugging_face/import.h"
#include "train/hugging_face/model_config.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- round trips ---- */

static void check_round_trip(model_folder *f, const mla_model_config *config, mla_safetensors_type type,
                             int64_t shard_bytes) {
    mla_import_report in;
    mla_export_report out;
    model_folder_write(f, config, type, shard_bytes);
    check_ok(f->context, mla_import(f->context, f->in, f->file, &in));
    assert_string_equal(in.type, mla_safetensors_type_name(type));
    assert_false(in.tokenizer);
    check_ok(f->context,
             mla_export(f->context, f->file, f->out, &(mla_export_options){.shard_bytes = shard_bytes / 2}, &out));
    check_same_tensors(f->context, f->in, f->out);
    assert_int_equal(in.parameters, out.parameters);
    json_t *written = load_json(f->out, "config.json");
    assert_int_equal(json_integer_value(json_object_get(written, "bos_token_id")), 11);
    json_decref(written);
    forget_folder(f->out);
    forget_folder(f->in);
    mkdir(f->in, 0777);
}

static void tensors_come_back_bit_by_bit(void **state) {
    model_folder *f = *state;
    mla_model_config v3 = model_folder_config(f->context, &mla_latent_kind),
                     llama = model_folder_config(f->context, &mla_multi_head_kind), qwen2 = llama, qwen3 = llama;
    qwen2.qkv_bias = qwen2.tie_word_embeddings = true;
    qwen3.qk_norm = true;
    const mla_model_config *configs[] = {&v3, &llama, &qwen2, &qwen3};
    for (int i = 0; i < 4; i++)
        for (mla_safetensors_type type = MLA_SAFETENSORS_F32; type <= MLA_SAFETENSORS_F16; type++) {
            check_round_trip(f, configs[i], type, 1 << 30);
            check_round_trip(f, configs[i], type, 20000);
        }
}

/* ---- a family with rules for its tensors ---- */

static const mla_param *param_of(const mla_decoder *model, const char *layer, const char *name) {
    char text[128];
    snprintf(text, sizeof text, "%.*s%s", (int)strlen("model.layers.0."), layer, name);
    return mla_params_find(model->params, text);
}

/* The rows of several parameters of the layer that `name` is in, as one tensor. */
static mla_safetensors_item fused(const mla_decoder *model, const char *name, const char *theirs,
                                  const char *const parts[]) {
    char *text = calloc(1, 128);
    snprintf(text, 128, "%.*s%s", (int)strlen("model.layers.0."), name, theirs);
    mla_safetensors_item item = {.name = text, .ndim = 2};
    float *values = NULL;
    for (int64_t count = 0; *parts; parts++) {
        const mla_param *p = param_of(model, name, *parts);
        values = realloc(values, (size_t)(count + p->count) * sizeof *values);
        memcpy(values + count, p->tensor.data, (size_t)p->count * sizeof *values);
        count += p->count;
        item.shape[0] += p->spec.shape[0];
        item.shape[1] = p->spec.shape[1];
    }
    item.values = values;
    return item;
}

/* in/ becomes the folder of a Phi-3 with the model's weights; its gate_up_proj has some rows fewer. */
static void write_phi3(model_folder *f, const mla_decoder *model, int64_t fewer) {
    static const char *const qkv[] = {"self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight",
                                      NULL};
    static const char *const gate_up[] = {"mlp.gate_proj.weight", "mlp.up_proj.weight", NULL};
    int64_t count, kept = 0;
    mla_safetensors_item *items = model_folder_items(model, &count);
    for (int64_t i = 0; i < count; i++) {
        const char *name = items[i].name;
        if (strstr(name, ".k_proj.") || strstr(name, ".v_proj.") || strstr(name, ".up_proj.")) continue;
        items[kept] = items[i];
        if (strstr(name, ".q_proj.")) items[kept] = fused(model, name, "self_attn.qkv_proj.weight", qkv);
        if (strstr(name, ".gate_proj.")) items[kept] = fused(model, name, "mlp.gate_up_proj.weight", gate_up);
        if (strstr(name, ".gate_proj.")) items[kept].shape[0] -= fewer;
        kept++;
    }
    check_ok(f->context, mla_safetensors_write_model(f->context, f->in, MLA_SAFETENSORS_F32, items, kept, 1 << 30));
    for (int64_t i = 0; i < kept; i++)
        if (strstr(items[i].name, "qkv_proj") || strstr(items[i].name, "gate_up"))
            free((void *)(uintptr_t)items[i].name), free((void *)(uintptr_t)items[i].values);
    free(items);
    json_t *json = mla_hugging_face_write(f->context, &model->config, NULL);
    json_object_set_new(json, "model_type", json_string("phi3"));
    json_object_set_new(json, "architectures", json_pack("[s]", "Phi3ForCausalLM"));
    char *text = mla_json_text(f->context, json);
    model_folder_write_text(f->in, "config.json", text);
    free(text);
    json_decref(json);
}

static void fused_tensors_are_split_and_joined(void **state) {
    model_folder *f = *state;
    const mla_model_config config = model_folder_config(f->context, &mla_multi_head_kind);
    mla_decoder *model = model_folder_model(f->context, &config), *again;
    mla_checkpoint *checkpoint;
    mla_import_report in;
    mla_export_report out;
    write_phi3(f, model, 0);
    check_ok(f->context, mla_import(f->context, f->in, f->file, &in));
    check_ok(f->context, mla_checkpoint_load(f->context, f->file, &checkpoint, &again));
    for (int64_t i = 0; i < mla_params_count(model->params); i++) {
        const mla_param *p = mla_params_at(model->params, i), *q = mla_params_find(again->params, p->spec.name);
        assert_memory_equal(p->tensor.data, q->tensor.data, (size_t)p->count * sizeof(float));
    }
    check_ok(f->context, mla_export(f->context, f->file, f->out, &(mla_export_options){0}, &out));
    assert_string_equal(out.architecture, "Phi3ForCausalLM");
    check_same_tensors(f->context, f->in, f->out);

    write_phi3(f, model, 1);
    check_error(f->context, mla_import(f->context, f->in, f->file, &in), MLA_ERROR_SHAPE,
                "mlp.gate_up_proj.weight has shape (95,32); by config.json it should be (96,32)");
    mla_checkpoint_close(checkpoint);
    mla_decoder_destroy(again);
    mla_decoder_destroy(model);
}

/* The checkpoint holds what the file held, widened; a type that is asked for is given. */
static void types_can_be_changed(void **state) {
    model_folder *f = *state;
    const mla_model_config config = model_folder_config(f->context, &mla_latent_kind);
    mla_import_report in;
    mla_export_report out;
    mla_safetensors *file;
    model_folder_write(f, &config, MLA_SAFETENSORS_BF16, 1 << 30);
    check_ok(f->context, mla_import(f->context, f->in, f->file, &in));
    check_ok(f->context, mla_export(f->context, f->file, f->out, &(mla_export_options){.type = MLA_EXPORT_F32}, &out));
    assert_string_equal(out.type, "F32");
    assert_string_equal(out.architecture, "DeepseekV3ForCausalLM");
    json_t *written = load_json(f->out, "config.json");
    assert_string_equal(json_string_value(json_object_get(written, "torch_dtype")), "float32");
    json_decref(written);
    check_ok(f->context, mla_safetensors_open(f->context, &file, f->out));
    const mla_safetensors_info *t = mla_safetensors_find(file, "lm_head.weight");
    for (int64_t i = 0; i < t->count; i++) {
        uint32_t bits;
        memcpy(&bits, t->data + 4 * i, 4);
        assert_int_equal(bits & 0xffff, 0);
    }
    mla_safetensors_close(file);
}

static void tokenizers_come_along(void **state) {
    model_folder *f = *state;
    mla_model_config config = model_folder_config(f->context, &mla_multi_head_kind);
    mla_import_report in;
    mla_export_report out;
    mla_tokenizer *tokenizer;
    int64_t size;
    char *path = path_in(f->in, "tokenizer.json"), *copy = path_in(f->out, "tokenizer.json");
    check_ok(f->context, mla_tokenizer_bytes(f->context, &tokenizer));
    check_ok(f->context, mla_tokenizer_save(f->context, tokenizer, path));
    mla_tokenizer_destroy(tokenizer);
    model_folder_write(f, &config, MLA_SAFETENSORS_F32, 1 << 30);
    check_ok(f->context, mla_import(f->context, f->in, f->file, &in));
    assert_true(in.tokenizer);
    check_ok(f->context, mla_export(f->context, f->file, f->out, &(mla_export_options){0}, &out));
    char *a = file_read(path, &size), *b = file_read(copy, &size);
    json_t *x = json_loads(a, 0, NULL), *y = json_loads(b, 0, NULL);
    assert_true(json_equal(x, y));
    json_t *settings = load_json(f->out, "tokenizer_config.json"), *model = load_json(f->out, "config.json");
    assert_string_equal(json_string_value(json_object_get(settings, "eos_token")), "<|endoftext|>");
    assert_int_equal(json_integer_value(json_object_get(model, "eos_token_id")), 256);
    json_decref(settings);
    json_decref(model);
    forget_folder(f->out);

    /* those of the folder have precedence */
    model_folder_write_text(f->in, "tokenizer_config.json",
                            "{\"eos_token\": \"<end>\", \"chat_template\": \"{{ x }}\"}");
    model_folder_write_text(f->in, "generation_config.json", "{\"temperature\": 0.5}");
    model_folder_write_text(f->in, "chat_template.jinja", "{{ y }}");
    check_ok(f->context, mla_import(f->context, f->in, f->file, &in));
    check_ok(f->context, mla_export(f->context, f->file, f->out, &(mla_export_options){0}, &out));
    settings = load_json(f->out, "tokenizer_config.json");
    assert_string_equal(json_string_value(json_object_get(settings, "chat_template")), "{{ x }}");
    json_decref(settings);
    json_decref(load_json(f->out, "generation_config.json"));
    char *jinja_path = path_in(f->out, "chat_template.jinja"), *jinja = file_read(jinja_path, &size);
    mla_chat_files found = {0};
    assert_string_equal(jinja, "{{ y }}");
    mla_checkpoint *checkpoint;
    check_ok(f->context, mla_checkpoint_open(f->context, &checkpoint, f->file));
    check_ok(f->context, mla_chat_files_of_checkpoint(f->context, mla_checkpoint_hugging_face(checkpoint), &found));
    assert_string_equal(found.chat_template, "{{ y }}");
    assert_string_equal(json_string_value(json_object_get(found.tokens, "eos_token")), "<end>");
    mla_chat_files_free(&found);
    mla_checkpoint_close(checkpoint);
    free(jinja), free(jinja_path);

    /* one that is not understood, and one that is too large */
    model_folder_write_text(f->in, "tokenizer.json", "{\"model\": {\"type\": \"Unigram\"}}");
    check_ok(f->context, mla_import(f->context, f->in, f->file, &in));
    assert_false(in.tokenizer);
    assert_non_null(strstr(f->warning, "imported without a tokenizer"));
    file_write(path, a, (int64_t)strlen(a));
    config.vocab_size = 256;
    model_folder_write(f, &config, MLA_SAFETENSORS_F32, 1 << 30);
    check_error(f->context, mla_import(f->context, f->in, f->file, &in), MLA_ERROR_FORMAT,
                "tokenizer.json has 257 tokens, but the model has only 256");
    json_decref(x);
    json_decref(y);
    free(a);
    free(b);
    free(path);
    free(copy);
}

static void infer(const mla_decoder *model, float *logits) {
    enum { T = 20 };
    int32_t ids[T];
    mla_tape *tape;
    for (int i = 0; i < T; i++) ids[i] = i * 37 % 256;
    check_ok(model->context, mla_tape_create(model->context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){.inference = true});
    const mla_tensor *y = mla_decoder_logits(tape, model, mla_input(tape, MLA_I32, 2, (int64_t[]){1, T}, ids), NULL);
    check_ok(model->context, mla_error_status(model->context));
    memcpy(logits, y->data, (size_t)mla_count(y) * sizeof(float));
    mla_tape_destroy(tape);
}

/* Rotary pairs of neighbours become pairs of halves: other rows, the same function. */
static void neighbours_become_halves(void **state) {
    enum { LOGITS = 20 * 260 };
    model_folder *f = *state;
    static float before[LOGITS], after[LOGITS];
    mla_model_config config = model_folder_config(f->context, &mla_multi_head_kind);
    config.rope_interleave = config.attention_bias = config.qk_norm = true;
    mla_import_report in;
    mla_export_report out;
    mla_decoder *model = model_folder_model(f->context, &config), *again;
    mla_checkpoint *checkpoint;
    infer(model, before);
    check_ok(f->context,
             mla_checkpoint_save(f->context, f->file, &(mla_checkpoint_content){.model = model}, (mla_step_hook){0}));
    check_ok(f->context, mla_export(f->context, f->file, f->out, &(mla_export_options){0}, &out));
    assert_string_equal(out.architecture, "Qwen3ForCausalLM");
    check_ok(f->context, mla_import(f->context, f->out, f->file, &in));
    check_ok(f->context, mla_checkpoint_load(f->context, f->file, &checkpoint, &again));
    assert_false(again->config.rope_interleave);
    infer(again, after);
    assert_true(relative_error(LOGITS, after, before) < 1e-6);
    mla_checkpoint_close(checkpoint);
    mla_decoder_destroy(again);
    mla_decoder_destroy(model);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, model_folder_create, model_folder_destroy)

int main(void) {
    const struct CMUnitTest tests[] = {CASE(tensors_come_back_bit_by_bit), CASE(types_can_be_changed),
                                       CASE(fused_tensors_are_split_and_joined), CASE(tokenizers_come_along),
                                       CASE(neighbours_become_halves)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
