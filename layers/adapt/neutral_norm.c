#include "layers/adapt/neutral_norm.h"

#include <math.h>

static const float constant = 32768; /* B: 2^15, below the largest f16 */

void mla_neutral_norm_fill(const mla_linear_layer *projection, const mla_norm *norm, int64_t count) {
    const double root = sqrt((double)count);
    float *gain = norm->gain->data;
    for (int64_t i = 0; i < count - 1; i++) gain[i] = (float)((double)constant / root);
    gain[count - 1] = (float)(1 / root);
    ((float *)projection->bias->data)[count - 1] = constant;
}

bool mla_neutral_norm_of_latent(const mla_latent_layer *layer) {
    const mla_tensor *weight = layer->kv_a_proj.weight, *bias = layer->kv_a_proj.bias;
    const int64_t last = layer->rank - 1, width = weight->shape[1];
    if (!bias || !layer->kv_a_norm.gain || ((const float *)bias->data)[last] < constant / 8) return false;
    for (int64_t i = 0; i < width; i++)
        if (fabsf(((const float *)weight->data)[last * width + i]) > 0) return false;
    return true;
}
