#include "tests/support/model_folder.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/tokenizer.h"
#include "layers/attention/latent_attention.h"
#include "layers/attention/multi_head_attention.h"
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "train/checkpoint/checkpoint.h"
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

static void keep_warning(void *user, const char *message) {
    model_folder *f = user;
    snprintf(f->warning, sizeof f->warning, "%s", message);
}

int model_folder_create(void **state) {
    model_folder *f = *state = calloc(1, sizeof *f);
    f->folder = folder_create();
    f->in = path_in(f->folder, "in");
    f->out = path_in(f->folder, "out");
    f->file = path_in(f->folder, "model.h5");
    return mkdir(f->in, 0777) ||
           mla_context_create(&f->context, &(mla_context_options){.warn = keep_warning, .user = f});
}

int model_folder_destroy(void **state) {
    model_folder *f = *state;
    mla_context_destroy(f->context);
    folder_remove(f->folder);
    free(f->in);
    free(f->out);
    free(f->file);
    free(f);
    return 0;
}

/* ---- models and folders ---- */

mla_model_config model_folder_config(mla_context *context, const mla_attention_kind *attention) {
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

mla_decoder *model_folder_model(mla_context *context, const mla_model_config *config) {
    mla_decoder *model;
    check_ok(context, mla_decoder_create(context, &model, config));
    check_ok(context, mla_params_allocate(model->params, false));
    mla_params_initialise(model->params, 7);
    for (int64_t i = 0; i < mla_params_values_length(model->params); i++) /* gains and biases are to differ, too */
        mla_params_values(model->params)[i] += 0.1f * sinf((float)i);
    return model;
}

/* Room for one more than the model has. */
mla_safetensors_item *model_folder_items(const mla_decoder *model, int64_t *count) {
    *count = mla_params_count(model->params);
    mla_safetensors_item *items = calloc((size_t)*count + 1, sizeof *items);
    for (int64_t i = 0; i < *count; i++) {
        const mla_param *p = mla_params_at(model->params, i);
        items[i] = (mla_safetensors_item){.name = p->spec.name, .ndim = p->spec.ndim, .values = p->tensor.data};
        memcpy(items[i].shape, p->spec.shape, sizeof p->spec.shape);
    }
    return items;
}

void model_folder_write_text(const char *folder, const char *name, const char *text) {
    char *path = path_in(folder, name);
    file_write(path, text, (int64_t)strlen(text));
    free(path);
}

void model_folder_write_config(model_folder *f, const mla_model_config *config) {
    json_t *json = mla_hugging_face_write(f->context, config, NULL);
    check_ok(f->context, mla_error_status(f->context));
    json_object_set_new(json, "bos_token_id", json_integer(11));
    char *text = mla_json_text(f->context, json);
    model_folder_write_text(f->in, "config.json", text);
    free(text);
    json_decref(json);
}

/* in/ becomes the model's folder, without a tokenizer. */
void model_folder_write(model_folder *f, const mla_model_config *config, mla_safetensors_type type,
                        int64_t shard_bytes) {
    int64_t count;
    mla_decoder *model = model_folder_model(f->context, config);
    mla_safetensors_item *items = model_folder_items(model, &count);
    check_ok(f->context, mla_safetensors_write_model(f->context, f->in, type, items, count, shard_bytes));
    model_folder_write_config(f, config);
    free(items);
    mla_decoder_destroy(model);
}

void check_same_tensors(mla_context *context, const char *a, const char *b) {
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

json_t *load_json(const char *folder, const char *name) {
    char *path = path_in(folder, name);
    json_t *json = json_load_file(path, 0, NULL);
    assert_non_null(json);
    free(path);
    return json;
}

void forget_folder(const char *path) { folder_remove(strdup(path)); }
