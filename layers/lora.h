/* Adapters of low rank on a projection, as PEFT defines them:
 *
 *     LoRA (Hu et al. 2021):    W x + s B A dropout(x) + bias,   A (r,in), B (out,r),  s = alpha / r
 *     rsLoRA (Kalajdzievski 2023):                                                     s = alpha / sqrt(r)
 *     DoRA (Liu et al. 2024):   m / |W + s B A| (W x + s B A dropout(x)) + bias,   m (out), norms of rows, constant
 *
 * In training with dropout, PEFT's DoRA drops elements of x before W too, in part; here W sees all of x.
 *
 * Several adapters on one projection add up, each by its share:  W + sum of share_i dW_i,  where dW is s B A, or for
 * DoRA what it makes of W, less W. */
#ifndef MLA_LAYERS_LORA_H
#define MLA_LAYERS_LORA_H

#include "layers/linear.h"

typedef struct mla_lora_layer mla_lora_layer;
struct mla_lora_layer {
    mla_tensor *a, *b, *magnitude; /* of the registry; magnitude: DoRA only, otherwise NULL */
    int64_t rank;
    double alpha;
    float scale, share, dropout;
    mla_lora_layer *next;
};

typedef struct {
    const char *name; /* of the adapter: parameters are called as PEFT's, PROJECTION.lora_A.NAME.weight, ... */
    int64_t rank;
    double alpha;
    bool rslora, dora, frozen;
    float share;     /* in a stack; 1 for one by itself */
    float dropout;   /* in training */
    float deviation; /* of A's normal initial values; 0: uniform in 1/sqrt(in), as PEFT's. B starts at 0 */
} mla_lora_spec;

/* Adds an adapter behind those that the projection has, before mla_params_allocate. Error: MLA_ERROR_ARGUMENT for a
 * rank below 1 or above the width, those of mla_params_add. */
mla_status mla_lora_add(mla_context *context, mla_params *params, mla_linear_layer *layer, const mla_lora_spec *spec);
/* Takes all adapters off; their parameters stay in the registry. */
void mla_lora_remove(mla_linear_layer *layer);

/* For layers/linear.c: a projection with adapters, and its weight with them in it. */
mla_tensor *mla_lora_layer_apply(mla_tape *tape, const mla_linear_layer *layer, mla_tensor *x);
mla_tensor *mla_lora_layer_weight(mla_tape *tape, const mla_linear_layer *layer, mla_dtype out);

#endif
