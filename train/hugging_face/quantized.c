#include "train/hugging_face/quantized.h"
#include "autograd/base/file.h"
#include "autograd/json/tree.h"
#include "train/hugging_face/families/family.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what config.json says ---- */

static mla_status refuse(mla_context *context, const char *where, const char *method, const char *words) {
    return mla_fail(
        context, MLA_ERROR_FORMAT,
        "%squantization_config: %s \"%.40s\"; of quantized weights those of eight bits are read (quant_method "
        "fp8, fbgemm_fp8, and compressed-tensors in the format float-quantized): take a version in F32, BF16, "
        "F16 or FP8",
        where, words, method);
}

/* "weight_block_size": [128, 128]; without it a scale is for a row, or for the whole. */
static mla_status read_block(mla_context *context, const char *where, const json_t *size, mla_quantization *out) {
    if (!size || json_is_null(size)) return MLA_OK;
    out->rows = (int64_t)json_integer_value(json_array_get(size, 0));
    out->columns = (int64_t)json_integer_value(json_array_get(size, 1));
    if (json_array_size(size) == 2 && out->rows > 0 && out->columns > 0) return MLA_OK;
    return mla_fail(context, MLA_ERROR_FORMAT, "%squantization_config: weight_block_size is not two sizes above 0",
                    where);
}

mla_status mla_quantization_read(mla_context *context, const char *where, const json_t *config, mla_quantization *out) {
    const json_t *q = json_object_get(config, "quantization_config");
    const char *method = mla_json_text_of(q, "quant_method"), *format = mla_json_text_of(q, "format"),
               *fmt = mla_json_text_of(q, "fmt");
    *out = (mla_quantization){.scale = "_scale"};
    if (mla_config_says_no(q)) return MLA_OK;
    out->scaled = true;
    if (!strcmp(method, "fbgemm_fp8")) return MLA_OK;
    if (!strcmp(method, "compressed-tensors"))
        return strcmp(format, "float-quantized") ? refuse(context, where, format, "compressed-tensors in the format")
                                                 : MLA_OK;
    if (strcmp(method, "fp8")) return refuse(context, where, method, "quant_method");
    if (*fmt && strcmp(fmt, "e4m3") && strcmp(fmt, "e5m2")) return refuse(context, where, fmt, "fmt");
    out->scale = "_scale_inv";
    return read_block(context, where, json_object_get(q, "weight_block_size"), out);
}

/* ---- numbers ---- */

static bool is_eight_bits(const mla_safetensors_info *t) {
    return t->type == MLA_SAFETENSORS_F8_E4M3 || t->type == MLA_SAFETENSORS_F8_E5M2;
}

const mla_safetensors_info *mla_scaled_tensor(const mla_quantization *q, const mla_safetensors *file,
                                              const mla_safetensors_info *scale) {
    char name[512];
    if (!q->scaled || !mla_ends_with(scale->name, q->scale)) return NULL;
    snprintf(name, sizeof name, "%.*s", (int)(strlen(scale->name) - strlen(q->scale)), scale->name);
    const mla_safetensors_info *t = mla_safetensors_find(file, name);
    return t && is_eight_bits(t) ? t : NULL;
}

bool mla_scales_activations(const mla_quantization *q, const char *name) {
    return q->scaled && (mla_ends_with(name, ".input_scale") || mla_ends_with(name, ".activation_scale"));
}

/* How many rows and columns share a scale; false where the shape of the scales is another. */
static bool find_block(const mla_quantization *q, const mla_safetensors_info *t, const mla_safetensors_info *scale,
                       int64_t *rows, int64_t *columns) {
    const int64_t height = t->shape[0], width = t->ndim == 2 ? t->shape[1] : 1;
    if (t->ndim < 1 || t->ndim > 2) return false;
    *rows = q->rows ? q->rows : scale->count == 1 ? height : 1;
    *columns = q->rows ? q->columns : width;
    const int64_t down = (height - 1) / *rows + 1, across = (width - 1) / *columns + 1;
    if (q->rows) return scale->ndim == t->ndim && scale->shape[0] == down && (t->ndim < 2 || scale->shape[1] == across);
    return scale->count == down && (scale->count == 1 || scale->shape[0] == down);
}

static mla_status multiply(mla_context *context, const mla_quantization *q, const mla_safetensors *file,
                           const mla_safetensors_info *t, const mla_safetensors_info *scale, float *out) {
    const int64_t width = t->ndim == 2 ? t->shape[1] : 1;
    int64_t rows, columns;
    if (!find_block(q, t, scale, &rows, &columns))
        return mla_fail(context, MLA_ERROR_FORMAT,
                        "%s: tensor %s: its shape does not fit %s and the blocks of %lld x %lld (weight_block_size)",
                        scale->file, scale->name, t->name, (long long)q->rows, (long long)q->columns);
    float *scales = mla_alloc(context, scale->count, sizeof *scales, scale->name);
    const mla_status status = scales ? mla_safetensors_read(file, scale, scales) : MLA_ERROR_MEMORY;
    const int64_t across = (width - 1) / columns + 1;
    for (int64_t row = 0; row < t->shape[0] && !status; row++)
        for (int64_t i = 0; i < width; i++) out[row * width + i] *= scales[row / rows * across + i / columns];
    free(scales);
    return status;
}

mla_status mla_quantized_values(mla_context *context, const mla_quantization *q, const mla_safetensors *file,
                                const mla_safetensors_info *t, float *out) {
    char name[512];
    const mla_status status = mla_safetensors_read(file, t, out);
    if (status || !q->scaled || !is_eight_bits(t) || !t->count) return status;
    snprintf(name, sizeof name, "%s%s", t->name, q->scale);
    const mla_safetensors_info *scale = mla_safetensors_find(file, name);
    if (scale) return multiply(context, q, file, t, scale, out);
    return mla_fail(context, MLA_ERROR_FORMAT, "%s: tensor %s is of type %s, but its scales %s are missing", t->file,
                    t->name, t->type_name, name);
}
