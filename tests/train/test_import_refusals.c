/* Import and export: every way in which a folder can be wrong. */
#include "data/formats/safetensors.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/tokenizer.h"
#include "layers/attention/latent_attention.h"
#include "layers/attention/multi_head_attention.h"
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "tests/support/model_folder.h"
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
    model_folder *f = *state;
    mla_model_config untied = model_folder_config(f->context, &mla_latent_kind), tied = untied;
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
        content c = {.model = model_folder_model(f->context, cases[i].config)};
        mla_import_report report;
        c.items = model_folder_items(c.model, &c.count);
        cases[i].change(&c);
        check_ok(f->context,
                 mla_safetensors_write_model(f->context, f->in, MLA_SAFETENSORS_F32, c.items, c.count, 1 << 30));
        model_folder_write_config(f, cases[i].config);
        const mla_status status = mla_import(f->context, f->in, f->file, &report);
        if (cases[i].status) check_error(f->context, status, cases[i].status, cases[i].words);
        else check_ok(f->context, status);
        assert_int_equal(file_exists(f->file), cases[i].status == MLA_OK);
        unlink(f->file);
        free(c.items);
        mla_decoder_destroy(c.model);
    }
}

static void wrong_folders_are_named(void **state) {
    model_folder *f = *state;
    mla_import_report report;
    const mla_model_config config = model_folder_config(f->context, &mla_latent_kind);
    check_error(f->context, mla_import(f->context, f->in, f->file, &report), MLA_ERROR_IO, "config.json");
    model_folder_write_config(f, &config);
    check_error(f->context, mla_import(f->context, f->in, f->file, &report), MLA_ERROR_IO,
                "has neither model.safetensors");
    model_folder_write(f, &config, MLA_SAFETENSORS_F16, 10000);
    char *shard = path_in(f->in, "model-00002-of-00007.safetensors");
    assert_int_equal(truncate(shard, 9000), 0);
    check_error(f->context, mla_import(f->context, f->in, f->file, &report), MLA_ERROR_FORMAT,
                "model-00002-of-00007.safetensors: tensor ");
    unlink(shard);
    check_error(f->context, mla_import(f->context, f->in, f->file, &report), MLA_ERROR_IO,
                "00002-of-00007.safetensors is missing");
    free(shard);
    model_folder_write(f, &config, MLA_SAFETENSORS_F16, 1 << 30);
    model_folder_write_text(f->in, "generation_config.json", "{");
    check_error(f->context, mla_import(f->context, f->in, f->file, &report), MLA_ERROR_FORMAT,
                "generation_config.json: not valid");
    check_error(f->context, mla_import(f->context, f->file, f->out, &report), MLA_ERROR_IO, "config.json");
    assert_false(file_exists(f->file));
}

static void save(model_folder *f, const mla_model_config *config, float first) {
    mla_decoder *model = model_folder_model(f->context, config);
    mla_params_values(model->params)[0] = first;
    check_ok(f->context,
             mla_checkpoint_save(f->context, f->file, &(mla_checkpoint_content){.model = model}, (mla_step_hook){0}));
    mla_decoder_destroy(model);
}

static void exports_are_refused(void **state) {
    model_folder *f = *state;
    mla_export_report report;
    mla_model_config config = model_folder_config(f->context, &mla_latent_kind);
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
    model_folder *f = *state;
    mla_export_report report;
    const mla_model_config config = model_folder_config(f->context, &mla_latent_kind);
    char *disk = disk_create(f->folder, 64);
    if (!disk) return;
    char *out = path_in(disk, "out"), *temporary = path_in(disk, "out.tmp");
    save(f, &config, 1);
    check_error(f->context, mla_export(f->context, f->file, out, &(mla_export_options){.shard_bytes = 10000}, &report),
                MLA_ERROR_IO, "No space left");
    assert_false(file_exists(out) || file_exists(temporary));
    free(out);
    free(temporary);
    disk_remove(disk);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, model_folder_create, model_folder_destroy)

int main(void) {
    const struct CMUnitTest tests[] = {CASE(wrong_tensors_are_named), CASE(wrong_folders_are_named),
                                       CASE(exports_are_refused), CASE(full_disks_are_left_clean)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
