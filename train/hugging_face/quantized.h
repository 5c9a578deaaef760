/* Weights of eight bits and their scales, as DeepSeek-V3, Qwen3-FP8 and others publish them. Beside a tensor X.weight
 * of type F8_E4M3 or F8_E5M2 lies X.weight_scale_inv or X.weight_scale: one number for a block of it, for a row, or for
 * all. A weight is the product of the two; it is computed in f32. */
#ifndef MLA_TRAIN_HUGGING_FACE_QUANTIZED_H
#define MLA_TRAIN_HUGGING_FACE_QUANTIZED_H

#include "data/formats/safetensors.h"

struct json_t; /* of jansson */

/* What config.json says of it, in quantization_config. */
typedef struct {
    bool scaled;           /* weights of eight bits have scales; else they are the numbers themselves */
    int64_t rows, columns; /* of a block; 0: a scale is for a row, or for the whole */
    const char *scale;     /* behind the name of a weight */
} mla_quantization;

/* Of the config.json that messages call `where`. MLA_ERROR_FORMAT names a scheme that is not read. */
mla_status mla_quantization_read(mla_context *context, const char *where, const struct json_t *config,
                                 mla_quantization *out);

/* The numbers of a tensor of any type: what mla_safetensors_read gives, times the scales of one of eight bits.
 * MLA_ERROR_FORMAT where they are missing or do not fit. */
mla_status mla_quantized_values(mla_context *context, const mla_quantization *quantization, const mla_safetensors *file,
                                const mla_safetensors_info *tensor, float *out);

/* The weight that a tensor holds the scales of; NULL where it holds none. */
const mla_safetensors_info *mla_scaled_tensor(const mla_quantization *quantization, const mla_safetensors *file,
                                              const mla_safetensors_info *scale);

/* Whether a tensor scales what goes into a layer, which is not of eight bits here. */
bool mla_scales_activations(const mla_quantization *quantization, const char *name);

#endif
