/* Import and export: the same numbers, the same texts, and every way in which a folder can be wrong. */
#include "data/tokenizer/bpe.h"
#include "data/formats/safetensors.h"
#include "data/tokenizer/tokenizer.h"
#include "train/hugging_face/model_config.h"
#include "layers/attention/latent_attention.h"
#include "layers/attention/multi_head_attention.h"
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "train/checkpoint/checkpoint.h"
#include "train/hugging_face/export.h"
#include "train/hugging_face/import.h"
#include "train/hugging_face/jinja.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    mla_context *context;
    char *folder, *in, *out, *file; /* a folder, and in it: the model, the exported model, the checkpoint */
    char warning[512];
} fixture;

static void keep_warning(void *user, const char *message) {
    fixture *f = user;
    snprintf(f->warning, sizeof f->warning, "%s", message);
}

static int create(void **state) {
    fixture *f = *state = calloc(1, sizeof *f);
    f->folder = folder_create();
    f->in = path_in(f->folder, "in");
    f->out = path_in(f->folder, "out");
    f->file = path_in(f->folder, "model.h5");
    return mkdir(f->in, 0777) ||
           mla_context_create(&f->context, &(mla_context_options){.warn = keep_warning, .user = f});
}

static int destroy(void **state) {
    fixture *f = *state;
    mla_context_destroy(f->context);
    folder_remove(f->folder);
    free(f->in);
    free(f->out);
    free(f->file);
    free(f);
    return 0;
}

/* ---- models and folders ---- */

static mla_model_config small(mla_context *context, const mla_attention_kind *attention) {
    mla_model_config c;
    mla_model_config_default(context, &c);
    c.vocab_size = 260;
    c.hidden_size = 32;
    c.intermediate_size = 48;
    c.num_hidden_layers = 2;
    c.num_key_value_heads = attention == &mla_multi_head_kind ? 2 : 0;
    c.kv_lora_rank = 24;
    c.q_lora_rank = attention == &mla_latent_kind ? 16 : 0;
    c.qk_rope_head_dim = 8;
    c.max_position_embeddings = 64;
    c.attention = attention;
    c.rope_interleave = attention == &mla_latent_kind;
    check_ok(context, mla_model_config_check(context, "", &c));
    return c;
}

static mla_decoder *model_of(mla_context *context, const mla_model_config *config) {
    mla_decoder *model;
    check_ok(context, mla_decoder_create(context, &model, config));
    check_ok(context, mla_params_allocate(model->params, false));
    mla_params_initialise(model->params, 7);
    for (int64_t i = 0; i < mla_params_values_length(model->params);
         i++) /* gains and biases are to differ, too */
        mla_params_values(model->params)[i] += 0.1f * sinf((float)i);
    return model;
}

/* Room for one more than the model has. */
static mla_safetensors_item *items_of(const mla_decoder *model, int64_t *count) {
    *count = mla_params_count(model->params);
    mla_safetensors_item *items = calloc((size_t)*count + 1, sizeof *items);
    for (int64_t i = 0; i < *count; i++) {
        const mla_param *p = mla_params_at(model->params, i);
        items[i] =
            (mla_safetensors_item){.name = p->spec.name, .ndim = p->spec.ndim, .values = p->tensor.data};
        memcpy(items[i].shape, p->spec.shape, sizeof p->spec.shape);
    }
    return items;
}

static void write_text(const char *folder, const char *name, const char *text) {
    char *path = path_in(folder, name);
    file_write(path, text, (int64_t)strlen(text));
    free(path);
}

static void write_config(fixture *f, const mla_model_config *config) {
    json_t *json = mla_hugging_face_write(f->context, config, NULL);
    check_ok(f->context, mla_error_status(f->context));
    json_object_set_new(json, "bos_token_id", json_integer(11));
    char *text = mla_json_text(f->context, json);
    write_text(f->in, "config.json", text);
    free(text);
    json_decref(json);
}

/* in/ becomes the model's folder, without a tokenizer. */
static void write_folder(fixture *f, const mla_model_config *config, mla_safetensors_type type,
                         int64_t shard_bytes) {
    int64_t count;
    mla_decoder *model = model_of(f->context, config);
    mla_safetensors_item *items = items_of(model, &count);
    check_ok(f->context, mla_safetensors_write_model(f->context, f->in, type, items, count, shard_bytes));
    write_config(f, config);
    free(items);
    mla_decoder_destroy(model);
}

static void check_same_tensors(mla_context *context, const char *a, const char *b) {
    mla_safetensors *x, *y;
    check_ok(context, mla_safetensors_open(context, &x, a));
    check_ok(context, mla_safetensors_open(context, &y, b));
    assert_int_equal(mla_safetensors_count(x), mla_safetensors_count(y));
    for (int64_t i = 0; i < mla_safetensors_count(x); i++) {
        const mla_safetensors_info *p = mla_safetensors_at(x, i), *q = mla_safetensors_at(y, i);
        assert_string_equal(p->name, q->name);
        assert_int_equal(p->type, q->type);
        assert_int_equal(p->end - p->begin, q->end - q->begin);
        assert_memory_equal(p->data, q->data, (size_t)(p->end - p->begin));
    }
    mla_safetensors_close(x);
    mla_safetensors_close(y);
}

static json_t *load_json(const char *folder, const char *name) {
    char *path = path_in(folder, name);
    json_t *json = json_load_file(path, 0, NULL);
    assert_non_null(json);
    free(path);
    return json;
}

static void forget_folder(const char *path) { folder_remove(strdup(path)); }

/* ---- round trips ---- */

static void check_round_trip(fixture *f, const mla_model_config *config, mla_safetensors_type type,
                             int64_t shard_bytes) {
    mla_import_report in;
    mla_export_report out;
    write_folder(f, config, type, shard_bytes);
    check_ok(f->context, mla_import(f->context, f->in, f->file, &in));
    assert_string_equal(in.type, mla_safetensors_type_name(type));
    assert_false(in.tokenizer);
    check_ok(f->context, mla_export(f->context, f->file, f->out,
                                    &(mla_export_options){.shard_bytes = shard_bytes / 2}, &out));
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
    fixture *f = *state;
    mla_model_config v3 = small(f->context, &mla_latent_kind),
                     llama = small(f->context, &mla_multi_head_kind), qwen2 = llama, qwen3 = llama;
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
static void write_phi3(fixture *f, const mla_decoder *model, int64_t fewer) {
    static const char *const qkv[] = {"self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight",
                                      NULL};
    static const char *const gate_up[] = {"mlp.gate_proj.weight", "mlp.up_proj.weight", NULL};
    int64_t count, kept = 0;
    mla_safetensors_item *items = items_of(model, &count);
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
    write_text(f->in, "config.json", text);
    free(text);
    json_decref(json);
}

static void fused_tensors_are_split_and_joined(void **state) {
    fixture *f = *state;
    const mla_model_config config = small(f->context, &mla_multi_head_kind);
    mla_decoder *model = model_of(f->context, &config), *again;
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
    fixture *f = *state;
    const mla_model_config config = small(f->context, &mla_latent_kind);
    mla_import_report in;
    mla_export_report out;
    mla_safetensors *file;
    write_folder(f, &config, MLA_SAFETENSORS_BF16, 1 << 30);
    check_ok(f->context, mla_import(f->context, f->in, f->file, &in));
    check_ok(f->context,
             mla_export(f->context, f->file, f->out, &(mla_export_options){.type = MLA_EXPORT_F32}, &out));
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
    fixture *f = *state;
    mla_model_config config = small(f->context, &mla_multi_head_kind);
    mla_import_report in;
    mla_export_report out;
    mla_tokenizer *tokenizer;
    int64_t size;
    char *path = path_in(f->in, "tokenizer.json"), *copy = path_in(f->out, "tokenizer.json");
    check_ok(f->context, mla_tokenizer_bytes(f->context, &tokenizer));
    check_ok(f->context, mla_tokenizer_save(f->context, tokenizer, path));
    mla_tokenizer_destroy(tokenizer);
    write_folder(f, &config, MLA_SAFETENSORS_F32, 1 << 30);
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
    write_text(f->in, "tokenizer_config.json", "{\"eos_token\": \"<end>\", \"chat_template\": \"{{ x }}\"}");
    write_text(f->in, "generation_config.json", "{\"temperature\": 0.5}");
    write_text(f->in, "chat_template.jinja", "{{ y }}");
    check_ok(f->context, mla_import(f->context, f->in, f->file, &in));
    check_ok(f->context, mla_export(f->context, f->file, f->out, &(mla_export_options){0}, &out));
    settings = load_json(f->out, "tokenizer_config.json");
    assert_string_equal(json_string_value(json_object_get(settings, "chat_template")), "{{ x }}");
    json_decref(settings);
    json_decref(load_json(f->out, "generation_config.json"));
    char *jinja_path = path_in(f->out, "chat_template.jinja"), *jinja = file_read(jinja_path, &size), *found;
    assert_string_equal(jinja, "{{ y }}");
    mla_checkpoint *checkpoint;
    check_ok(f->context, mla_checkpoint_open(f->context, &checkpoint, f->file));
    check_ok(f->context, mla_jinja_of_checkpoint(f->context, mla_checkpoint_hugging_face(checkpoint), &found));
    assert_string_equal(found, "{{ y }}");
    mla_checkpoint_close(checkpoint);
    free(jinja), free(jinja_path), free(found);

    /* one that is not understood, and one that is too large */
    write_text(f->in, "tokenizer.json", "{\"model\": {\"type\": \"Unigram\"}}");
    check_ok(f->context, mla_import(f->context, f->in, f->file, &in));
    assert_false(in.tokenizer);
    assert_non_null(strstr(f->warning, "imported without a tokenizer"));
    file_write(path, a, (int64_t)strlen(a));
    config.vocab_size = 256;
    write_folder(f, &config, MLA_SAFETENSORS_F32, 1 << 30);
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
    const mla_tensor *y =
        mla_decoder_logits(tape, model, mla_input(tape, MLA_I32, 2, (int64_t[]){1, T}, ids), NULL);
    check_ok(model->context, mla_error_status(model->context));
    memcpy(logits, y->data, (size_t)mla_count(y) * sizeof(float));
    mla_tape_destroy(tape);
}

/* Rotary pairs of neighbours become pairs of halves: other rows, the same function. */
static void neighbours_become_halves(void **state) {
    enum { LOGITS = 20 * 260 };
    fixture *f = *state;
    static float before[LOGITS], after[LOGITS];
    mla_model_config config = small(f->context, &mla_multi_head_kind);
    config.rope_interleave = config.attention_bias = config.qk_norm = true;
    mla_import_report in;
    mla_export_report out;
    mla_decoder *model = model_of(f->context, &config), *again;
    mla_checkpoint *checkpoint;
    infer(model, before);
    check_ok(f->context, mla_checkpoint_save(f->context, f->file, &(mla_checkpoint_content){.model = model},
                                             (mla_step_hook){0}));
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

/* ---- what is refused ---- */

typedef struct {
    mla_safetensors_item *items;
    int64_t count;
    mla_decoder *model;
} content;

static void drop_two(content *c) {
    c->count -= 2;
    c->items[0] = c->items[c->count];
}
static void add_one(content *c) {
    c->items[c->count] = c->items[1];
    c->items[c->count++].name = "model.layers.7.mlp.down_proj.weight";
}
static void add_frequencies(content *c) {
    c->items[c->count] = c->items[1];
    c->items[c->count++].name = "model.layers.0.self_attn.rotary_emb.inv_freq";
}
static void transpose_one(content *c) {
    const mla_safetensors_item was = c->items[0];
    c->items[0].shape[0] = was.shape[1];
    c->items[0].shape[1] = was.shape[0];
}
static void flatten_one(content *c) {
    c->items[0].ndim = 1;
    c->items[0].shape[0] *= c->items[0].shape[1];
}
static void break_one(content *c) { ((float *)(uintptr_t)c->items[3].values)[5] = NAN; }
static void grow_one(content *c) { ((float *)(uintptr_t)c->items[3].values)[5] = -INFINITY; }
static void add_output(content *c) {
    c->items[c->count] = c->items[0];
    c->items[c->count++].name = "lm_head.weight";
}
static void add_other_output(content *c) {
    static const float zeros[260 * 32];
    add_output(c);
    c->items[c->count - 1].values = zeros;
}

static void wrong_tensors_are_named(void **state) {
    fixture *f = *state;
    mla_model_config untied = small(f->context, &mla_latent_kind), tied = untied;
    tied.tie_word_embeddings = true;
    const struct {
        const mla_model_config *config;
        void (*change)(content *c);
        mla_status status;
        const char *words;
    } cases[] = {
        {&untied, drop_two, MLA_ERROR_FORMAT,
         "2 tensors of the model of its config.json are missing: model.embed_tokens.weight, lm_head.weight"},
        {&untied, add_one, MLA_ERROR_FORMAT,
         "1 tensors are not of the model of its config.json: model.layers.7.mlp.down"},
        {&untied, add_frequencies, MLA_OK, NULL},
        {&untied, transpose_one, MLA_ERROR_SHAPE,
         "tensor model.embed_tokens.weight has shape (32,260); by config.json it should be (260,32)"},
        {&untied, flatten_one, MLA_ERROR_SHAPE, "tensor model.embed_tokens.weight has shape (8320)"},
        {&untied, break_one, MLA_ERROR_NUMERIC, "element 5 is nan, not a finite number"},
        {&untied, grow_one, MLA_ERROR_NUMERIC, "element 5 is -inf, not a finite number"},
        {&tied, add_output, MLA_OK, NULL},
        {&tied, add_other_output, MLA_ERROR_FORMAT, "lm_head.weight is not model.embed_tokens.weight"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        content c = {.model = model_of(f->context, cases[i].config)};
        mla_import_report report;
        c.items = items_of(c.model, &c.count);
        cases[i].change(&c);
        check_ok(f->context, mla_safetensors_write_model(f->context, f->in, MLA_SAFETENSORS_F32, c.items,
                                                         c.count, 1 << 30));
        write_config(f, cases[i].config);
        const mla_status status = mla_import(f->context, f->in, f->file, &report);
        if (cases[i].status)
            check_error(f->context, status, cases[i].status, cases[i].words);
        else
            check_ok(f->context, status);
        assert_int_equal(file_exists(f->file), cases[i].status == MLA_OK);
        unlink(f->file);
        free(c.items);
        mla_decoder_destroy(c.model);
    }
}

static void wrong_folders_are_named(void **state) {
    fixture *f = *state;
    mla_import_report report;
    const mla_model_config config = small(f->context, &mla_latent_kind);
    check_error(f->context, mla_import(f->context, f->in, f->file, &report), MLA_ERROR_IO, "config.json");
    write_config(f, &config);
    check_error(f->context, mla_import(f->context, f->in, f->file, &report), MLA_ERROR_IO,
                "has neither model.safetensors");
    write_folder(f, &config, MLA_SAFETENSORS_F16, 10000);
    char *shard = path_in(f->in, "model-00002-of-00007.safetensors");
    assert_int_equal(truncate(shard, 9000), 0);
    check_error(f->context, mla_import(f->context, f->in, f->file, &report), MLA_ERROR_FORMAT,
                "model-00002-of-00007.safetensors: tensor ");
    unlink(shard);
    check_error(f->context, mla_import(f->context, f->in, f->file, &report), MLA_ERROR_IO,
                "00002-of-00007.safetensors is missing");
    free(shard);
    write_folder(f, &config, MLA_SAFETENSORS_F16, 1 << 30);
    write_text(f->in, "generation_config.json", "{");
    check_error(f->context, mla_import(f->context, f->in, f->file, &report), MLA_ERROR_FORMAT,
                "generation_config.json: not valid");
    check_error(f->context, mla_import(f->context, f->file, f->out, &report), MLA_ERROR_IO, "config.json");
    assert_false(file_exists(f->file));
}

static void save(fixture *f, const mla_model_config *config, float first) {
    mla_decoder *model = model_of(f->context, config);
    mla_params_values(model->params)[0] = first;
    check_ok(f->context, mla_checkpoint_save(f->context, f->file, &(mla_checkpoint_content){.model = model},
                                             (mla_step_hook){0}));
    mla_decoder_destroy(model);
}

static void exports_are_refused(void **state) {
    fixture *f = *state;
    mla_export_report report;
    mla_model_config config = small(f->context, &mla_latent_kind);
    const mla_export_options f32 = {0}, f16 = {.type = MLA_EXPORT_F16};
    char *temporary = path_in(f->folder, "out.tmp"), *slash = path_in(f->folder, "out///");
    check_error(f->context, mla_export(f->context, f->file, f->out, &f32, &report), MLA_ERROR_IO, "model.h5");
    save(f, &config, 1e6f);
    check_error(f->context, mla_export(f->context, f->file, f->out, &f16, &report), MLA_ERROR_NUMERIC,
                "tensor model.embed_tokens.weight: element 0, 1e+06, is too large for F16");
    assert_false(file_exists(f->out) || file_exists(temporary));
    mkdir(f->out, 0777); /* an empty one may be there */
    check_ok(f->context, mla_export(f->context, f->file, slash, &f32, &report));
    check_error(f->context, mla_export(f->context, f->file, f->out, &f32, &report), MLA_ERROR_ARGUMENT,
                "out is not empty (");
    check_error(f->context, mla_export(f->context, f->file, f->file, &f32, &report), MLA_ERROR_IO,
                "model.h5: cannot be read");
    forget_folder(f->out);
    mkdir(temporary, 0777);
    check_error(f->context, mla_export(f->context, f->file, f->out, &f32, &report), MLA_ERROR_IO,
                "an export was interrupted");
    rmdir(temporary);
    check_error(f->context, mla_export(f->context, f->file, "/nowhere/x", &f32, &report), MLA_ERROR_IO,
                "/nowhere/x.tmp");
    config.norm = MLA_NORM_LAYERNORM;
    save(f, &config, 1);
    check_error(f->context, mla_export(f->context, f->file, f->out, &f32, &report), MLA_ERROR_ARGUMENT,
                "no norm: layernorm");
    assert_false(file_exists(f->out) || file_exists(temporary));
    free(temporary);
    free(slash);
}

static void full_disks_are_left_clean(void **state) {
    fixture *f = *state;
    mla_export_report report;
    const mla_model_config config = small(f->context, &mla_latent_kind);
    char *disk = disk_create(f->folder, 64);
    if (!disk) return;
    char *out = path_in(disk, "out"), *temporary = path_in(disk, "out.tmp");
    save(f, &config, 1);
    check_error(f->context,
                mla_export(f->context, f->file, out, &(mla_export_options){.shard_bytes = 10000}, &report),
                MLA_ERROR_IO, "No space left");
    assert_false(file_exists(out) || file_exists(temporary));
    free(out);
    free(temporary);
    disk_remove(disk);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, create, destroy)

int main(void) {
    const struct CMUnitTest tests[] = {CASE(tensors_come_back_bit_by_bit), CASE(types_can_be_changed),
                                       CASE(fused_tensors_are_split_and_joined),
                                       CASE(tokenizers_come_along),        CASE(neighbours_become_halves),
                                       CASE(wrong_tensors_are_named),      CASE(wrong_folders_are_named),
                                       CASE(exports_are_refused),          CASE(full_disks_are_left_clean)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
