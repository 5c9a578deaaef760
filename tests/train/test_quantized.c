/* Weights of eight bits and their scales. The numbers are PyTorch's, of its float8 types and in f32. */
#include "autograd/base/float8.h"
#include "layers/attention/multi_head_attention.h"
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "tests/support/model_folder.h"
#include "train/hugging_face/export.h"
#include "train/hugging_face/import.h"
#include "train/hugging_face/model_config.h"
#include "train/hugging_face/quantized.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the types ---- */

static uint64_t hash_of(float (*convert)(uint8_t)) {
    uint64_t hash = 0;
    for (int i = 0; i < 256; i++) {
        const float value = convert((uint8_t)i);
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        hash = hash * 31 + (isnan(value) ? 0x7fc00000u : bits);
    }
    return hash;
}

static float e4m3(uint8_t bits) { return mla_f8_e4m3_to_float(bits); }
static float e5m2(uint8_t bits) { return mla_f8_e5m2_to_float(bits); }

static void all_values_are_those_of_pytorch(void **state) {
    (void)state;
    assert_true(e4m3(1) == 0.001953125f && e4m3(60) == 1.5f && e4m3(0x7e) == 448.0f && isnan(e4m3(0xff)));
    assert_true(e5m2(1) == 1.52587890625e-05f && e5m2(0x7b) == 57344.0f && isinf(e5m2(0xfc)) && isnan(e5m2(0x7d)));
    assert_true(mla_f8_e8m0_to_float(127) == 1 && mla_f8_e8m0_to_float(0) == 0x1p-127f &&
                isnan(mla_f8_e8m0_to_float(255)));
    assert_true(hash_of(e4m3) == 0xe9fcc86016200000u);
    assert_true(hash_of(e5m2) == 0x8e91d665af000000u);
}

/* ---- the scales ---- */

enum { ROWS = 5, COLUMNS = 6, COUNT = ROWS * COLUMNS };

static const char fp8[] = "{\"quantization_config\": {\"quant_method\": \"fp8\", \"fmt\": \"e4m3\", "
                          "\"weight_block_size\": [2, 4]}}",
                  whole[] = "{\"quantization_config\": {\"quant_method\": \"fp8\", \"activation_scheme\": \"static\"}}",
                  rows[] = "{\"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"format\": "
                           "\"float-quantized\"}}";

/* A weight w of type `type`, and scales of a name and shape. */
static mla_status read_scaled(mla_context *context, const char *config, const char *type, const char *scale,
                              const char *shape, const float *scales, int count, float *out) {
    unsigned char bytes[1024];
    char *header = (char *)bytes + 8;
    mla_quantization q;
    mla_safetensors *file = NULL;
    json_t *json = json_loads(config, 0, NULL);
    const int length = snprintf(header, sizeof bytes - 8,
                                "{\"w\":{\"dtype\":\"%s\",\"shape\":[5,6],\"data_offsets\":[0,30]},\"%s\":{\"dtype\":"
                                "\"F32\",\"shape\":%s,\"data_offsets\":[30,%d]}}",
                                type, scale, shape, 30 + 4 * count);
    memcpy(bytes, &(uint64_t){(uint64_t)length}, 8);
    for (int i = 0; i < COUNT; i++) header[length + i] = (char)((i * 37 + 11) % 0x7e | (i % 3 ? 0 : 0x80));
    memcpy(header + length + COUNT, scales, (size_t)count * sizeof *scales);
    mla_status status = mla_quantization_read(context, "config.json: ", json, &q);
    if (!status) status = mla_safetensors_parse(context, &file, "f", bytes, 8 + length + COUNT + 4 * count);
    if (!status) status = mla_quantized_values(context, &q, file, mla_safetensors_find(file, "w"), out);
    mla_safetensors_close(file);
    json_decref(json);
    return status;
}

static const float blocks[] = {0.5f, 3.0f, 0.0625f, 1.5f, 7.0f, 0.1f}, of_rows[] = {1.0f, 2.0f, 0.25f, 0.1f, 8.0f};

static void each_weight_has_its_scale(void **state) {
    static const float by_block[COUNT] = {
        -0.0107421875f, 0.25f,       6.5f,           -160.0f,      0.421875f,    10.5f,
        -44.0f,         0.01953125f, 0.46875f,       -12.0f,       0.017578125f, 0.75f,
        -0.40625f,      10.0f,       0.00439453125f, -0.109375f,   66.0f,        0.029296875f,
        -0.029296875f,  0.75f,       18.0f,          -0.0078125f,  4.875f,       120.0f,
        -0.24609375f,   6.125f,      154.0f,         -0.02734375f, 0.0234375f,   0.6000000238418579f};
    static const float fourth_row[COLUMNS] = {
        -0.046875f, 1.2000000476837158f, 28.80000114440918f, -0.012500000186264515f, 0.32500001788139343f, 8.0f};
    static const float first_e5m2[COLUMNS] = {-2.136230432370212e-05f, 0.012500000186264515f, 8.0f,
                                              -4915.2001953125f,       0.0009765625f,         0.6000000238418579f};
    float out[COUNT];
    check_ok(*state, read_scaled(*state, fp8, "F8_E4M3", "w_scale_inv", "[3,2]", blocks, 6, out));
    assert_memory_equal(out, by_block, sizeof by_block);
    check_ok(*state, read_scaled(*state, rows, "F8_E4M3", "w_scale", "[5,1]", of_rows, 5, out));
    assert_memory_equal(out + 18, fourth_row, sizeof fourth_row);
    check_ok(*state, read_scaled(*state, whole, "F8_E5M2", "w_scale_inv", "[]", blocks + 5, 1, out));
    assert_memory_equal(out, first_e5m2, sizeof first_e5m2);
    check_ok(*state, read_scaled(*state, "{}", "F8_E4M3", "other", "[1]", blocks, 1, out)); /* numbers as they are */
    assert_true(out[2] == 13.0f);
}

static void scales_that_do_not_fit_are_named(void **state) {
    static const struct {
        const char *config, *scale, *shape, *words;
        int count;
    } wrong[] = {
        {fp8, "w_scale", "[3,2]", "tensor w is of type F8_E4M3, but its scales w_scale_inv are missing", 6},
        {fp8, "w_scale_inv", "[2,3]", "w_scale_inv: its shape does not fit w and the blocks of 2 x 4", 6},
        {fp8, "w_scale_inv", "[6]", "does not fit", 6},
        {whole, "w_scale_inv", "[3]", "does not fit", 3},
        {rows, "w_scale", "[1,5]", "does not fit", 5},
        {"{\"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [2]}}", "w_scale_inv", "[3,2]",
         "weight_block_size is not two sizes above 0", 6},
        {"{\"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4}}", "w", "[1]", "quant_method \"gptq\"",
         1},
        {"{\"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"format\": \"pack-quantized\"}}", "s",
         "[1]", "in the format \"pack-quantized\"", 1},
    };
    float out[COUNT];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        check_error(*state,
                    read_scaled(*state, wrong[i].config, "F8_E4M3", wrong[i].scale, wrong[i].shape, blocks,
                                wrong[i].count, out),
                    MLA_ERROR_FORMAT, wrong[i].words);
}

/* ---- models ---- */

/* in/ becomes a model whose first down_proj is 1.5 everywhere, in eight bits with blocks of 16 x 32 that are 2 or 4;
 * the other tensors are F32. */
static void write_model(model_folder *f, const char *more) {
    const mla_model_config config = model_folder_config(f->context, &mla_multi_head_kind);
    char *path = path_in(f->in, "model.safetensors"), header[8192] = "{";
    int64_t count, at = 0;
    mla_decoder *model = model_folder_model(f->context, &config);
    mla_safetensors_item *items = model_folder_items(model, &count);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < count; i++) {
            const bool small = !strcmp(items[i].name, "model.layers.0.mlp.down_proj.weight");
            const int64_t n = items[i].shape[0] * (items[i].ndim > 1 ? items[i].shape[1] : 1), size = small ? n : 4 * n;
            char shape[64];
            snprintf(shape, sizeof shape, items[i].ndim > 1 ? "[%lld,%lld]" : "[%lld]", (long long)items[i].shape[0],
                     (long long)items[i].shape[1]);
            if (!pass)
                snprintf(header + strlen(header), sizeof header - strlen(header),
                         "\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%lld,%lld]},", items[i].name,
                         small ? "F8_E4M3" : "F32", shape, (long long)at, (long long)(at + size));
            else if (!small) assert_int_equal(fwrite(items[i].values, 1, (size_t)size, file), size);
            else
                for (int64_t k = 0; k < n; k++) fputc(60, file);
            at += size;
        }
        if (pass) break;
        snprintf(header + strlen(header), sizeof header - strlen(header),
                 "\"%s\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[%lld,%lld]}}", more, (long long)at,
                 (long long)at + 16);
        fwrite(&(uint64_t){strlen(header)}, 8, 1, file);
        fwrite(header, 1, strlen(header), file);
    }
    fwrite((float[]){2, 4, 4, 2}, 4, 4, file);
    assert_int_equal(fclose(file), 0);
    free(path);
    free(items);
    mla_decoder_destroy(model);
    json_t *json = mla_hugging_face_write(f->context, &config, NULL);
    json_object_set_new(json, "quantization_config",
                        json_pack("{s:s, s:[i,i]}", "quant_method", "fp8", "weight_block_size", 16, 32));
    char *text = json_dumps(json, 0);
    model_folder_write_text(f->in, "config.json", text);
    free(text);
    json_decref(json);
}

static void a_model_is_read_and_written_in_f32(void **state) {
    model_folder *f = *state;
    mla_import_report in;
    mla_export_report out;
    mla_safetensors *file;
    write_model(f, "model.layers.0.mlp.down_proj.weight_scale_inv");
    check_ok(f->context, mla_import(f->context, f->in, f->file, &in));
    assert_string_equal(in.type, "F32");
    check_ok(f->context, mla_export(f->context, f->file, f->out, &(mla_export_options){0}, &out));
    check_ok(f->context, mla_safetensors_open(f->context, &file, f->out));
    const mla_safetensors_info *t = mla_safetensors_find(file, "model.layers.0.mlp.down_proj.weight");
    float *values = calloc((size_t)t->count, sizeof *values);
    check_ok(f->context, mla_safetensors_read(file, t, values));
    for (int64_t i = 0; i < t->count; i++) assert_true(values[i] == ((i / 48 < 16) == (i % 48 < 32) ? 3.0f : 6.0f));
    assert_null(mla_safetensors_find(file, "model.layers.0.mlp.down_proj.weight_scale_inv"));
    json_t *config = load_json(f->out, "config.json");
    assert_null(json_object_get(config, "quantization_config"));
    json_decref(config);
    free(values);
    mla_safetensors_close(file);
}

static void scales_of_no_tensor_are_named(void **state) {
    model_folder *f = *state;
    mla_import_report report;
    write_model(f, "model.layers.1.mlp.down_proj.weight_scale_inv");
    check_error(f->context, mla_import(f->context, f->in, f->file, &report), MLA_ERROR_FORMAT,
                "1 tensors are not of the model of its config.json: model.layers.1.mlp.down_proj.weight_scale_inv");
    write_model(f, "model.layers.0.mlp.down_proj.input_scale");
    check_error(f->context, mla_import(f->context, f->in, f->file, &report), MLA_ERROR_FORMAT,
                "its scales model.layers.0.mlp.down_proj.weight_scale_inv are missing");
    assert_non_null(strstr(f->warning, "activations are not quantized here"));
}

int main(void) {
    const struct CMUnitTest numbers[] = {
        cmocka_unit_test(all_values_are_those_of_pytorch),
        cmocka_unit_test(each_weight_has_its_scale),
        cmocka_unit_test(scales_that_do_not_fit_are_named),
    };
    const struct CMUnitTest models[] = {
        cmocka_unit_test_setup_teardown(a_model_is_read_and_written_in_f32, model_folder_create, model_folder_destroy),
        cmocka_unit_test_setup_teardown(scales_of_no_tensor_are_named, model_folder_create, model_folder_destroy),
    };
    return cmocka_run_group_tests(numbers, create_context, destroy_context) +
           cmocka_run_group_tests(models, NULL, NULL);
}
