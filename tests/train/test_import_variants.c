/* Folders as the world leaves them: names with wrappers in front, layers behind the last one, an output projection in
 * another type, files of torch.save. What is read is the same model; what is not is named. */
#include "layers/attention/latent_attention.h"
#include "layers/attention/multi_head_attention.h"
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "tests/support/model_folder.h"
#include "train/hugging_face/export.h"
#include "train/hugging_face/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME = 160, ODD = 1 << 20 };

/* in/ with a latent model whose names begin with `prefix`; `odd` names one more tensor. */
static void write_model(model_folder *f, const char *prefix, const char *odd) {
    const mla_model_config config = model_folder_config(f->context, &mla_latent_kind);
    int64_t count;
    mla_decoder *model = model_folder_model(f->context, &config);
    mla_safetensors_item *items = model_folder_items(model, &count);
    char(*names)[NAME] = calloc((size_t)count, NAME);
    for (int64_t i = 0; i < count; i++) {
        snprintf(names[i], NAME, "%s%s", prefix, items[i].name);
        items[i].name = names[i];
    }
    if (odd) {
        items[count] = items[0];
        items[count++].name = odd;
    }
    check_ok(f->context, mla_safetensors_write_model(f->context, f->in, MLA_SAFETENSORS_F32, items, count, ODD));
    model_folder_write_config(f, &config);
    free(names);
    free(items);
    mla_decoder_destroy(model);
}

static mla_status import_it(model_folder *f) {
    mla_import_report report;
    f->warning[0] = '\0';
    unlink(f->file);
    return mla_import(f->context, f->in, f->file, &report);
}

static void check_exported_is_plain(model_folder *f, const char *plain) {
    mla_export_report report;
    check_ok(f->context, mla_export(f->context, f->file, f->out, &(mla_export_options){0}, &report));
    check_same_tensors(f->context, f->out, plain);
    forget_folder(f->out);
}

static void wrappers_are_read_without(void **state) {
    model_folder *f = *state;
    static const char *const prefixes[] = {"_orig_mod.", "module.", "base_model.model.", "module._orig_mod."};
    char *plain = path_in(f->folder, "plain");
    mla_export_report report;
    write_model(f, "", NULL);
    check_ok(f->context, import_it(f));
    check_ok(f->context, mla_export(f->context, f->file, plain, &(mla_export_options){0}, &report));
    for (int i = 0; i < 4; i++) {
        write_model(f, prefixes[i], NULL);
        check_ok(f->context, import_it(f));
        assert_non_null(strstr(f->warning, "the names of its tensors are read without"));
        assert_non_null(strstr(f->warning, prefixes[i]));
        check_exported_is_plain(f, plain);
    }
    write_model(f, "module.", "extra.weight");
    check_error(f->context, import_it(f), MLA_ERROR_FORMAT, "other names do not begin as this one");
    free(plain);
}

static void prediction_layers_are_left_out(void **state) {
    model_folder *f = *state;
    write_model(f, "", "model.layers.2.eh_proj.weight");
    check_error(f->context, import_it(f), MLA_ERROR_FORMAT, "1 tensors are not of the model");
    json_t *config = load_json(f->in, "config.json");
    json_object_set_new(config, "num_nextn_predict_layers", json_integer(1));
    char *text = json_dumps(config, 0);
    model_folder_write_text(f->in, "config.json", text);
    check_ok(f->context, import_it(f));
    assert_non_null(strstr(f->warning, "are left out: model.layers.2.eh_proj.weight"));
    check_ok(f->context, mla_export(f->context, f->file, f->out, &(mla_export_options){0}, &(mla_export_report){0}));
    json_t *exported = load_json(f->out, "config.json");
    assert_int_equal(json_integer_value(json_object_get(exported, "num_nextn_predict_layers")), 0);
    json_decref(exported);
    write_model(f, "", "model.layers.3.eh_proj.weight"); /* one more than is said */
    model_folder_write_text(f->in, "config.json", text);
    check_error(f->context, import_it(f), MLA_ERROR_FORMAT, "are not of the model");
    free(text);
    json_decref(config);
}

static void files_of_torch_are_named(void **state) {
    model_folder *f = *state;
    static const char *const names[] = {"pytorch_model-00001-of-00002.bin", "model.pt", "model.pth"};
    const mla_model_config config = model_folder_config(f->context, &mla_multi_head_kind);
    model_folder_write_config(f, &config);
    for (int i = 0; i < 3; i++) {
        model_folder_write_text(f->in, names[i], "PK");
        check_error(f->context, import_it(f), MLA_ERROR_FORMAT, names[i]);
        check_error(f->context, import_it(f), MLA_ERROR_FORMAT, "save_pretrained('");
        char *path = path_in(f->in, names[i]);
        unlink(path);
        free(path);
    }
    model_folder_write_text(f->in, "model.pt", "PK"); /* beside safetensors they are not needed */
    write_model(f, "", NULL);
    check_ok(f->context, import_it(f));
}

/* SentencePiece's file, or GPT-2's two, without a tokenizer.json. */
static void other_tokenizers_are_named(void **state) {
    static const char *const names[] = {"tokenizer.model", "vocab.json"};
    model_folder *f = *state;
    write_model(f, "", NULL);
    check_ok(f->context, import_it(f));
    assert_string_equal(f->warning, "");
    for (int i = 0; i < 2; i++) {
        model_folder_write_text(f->in, names[i], "x");
        check_ok(f->context, import_it(f));
        assert_non_null(strstr(f->warning, names[i]));
        assert_non_null(strstr(f->warning, "only tokenizer.json is read"));
        char *path = path_in(f->in, names[i]);
        unlink(path);
        free(path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(wrappers_are_read_without, model_folder_create, model_folder_destroy),
        cmocka_unit_test_setup_teardown(prediction_layers_are_left_out, model_folder_create, model_folder_destroy),
        cmocka_unit_test_setup_teardown(files_of_torch_are_named, model_folder_create, model_folder_destroy),
        cmocka_unit_test_setup_teardown(other_tokenizers_are_named, model_folder_create, model_folder_destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
