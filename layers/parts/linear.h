/* A projection of a model: weight (out,in), with or without bias, and with any number of adapters of low rank as PEFT
 * defines them (layers/adapt/lora adds them):
 *
 *     LoRA (Hu et al. 2021):    W x + s B A dropout(x) + bias,   A (r,in), B (out,r),  s = alpha / r
 *     rsLoRA (Kalajdzievski 2023):                                                     s = alpha / sqrt(r)
 *     DoRA (Liu et al. 2024):   m / |W + s B A| (W x + s B A dropout(x)) + bias,   m (out), norms of rows, constant
 *
 * In training with dropout, PEFT's DoRA drops elements of x before W too, in part; here W sees all of x.
 *
 * Several adapters on one projection add up, each by its share:  W + sum of share_i dW_i,  where dW is s B A, or for
 * DoRA what it makes of W, less W. */
#ifndef MLA_LAYERS_PARTS_LINEAR_H
#define MLA_LAYERS_PARTS_LINEAR_H

#include "layers/parts/builder.h"

typedef struct mla_lora_layer mla_lora_layer;
struct mla_lora_layer {
    mla_tensor *a, *b, *magnitude; /* of the registry; magnitude: DoRA only, otherwise NULL */
    int64_t rank;
    double alpha;
    float scale, share, dropout;
    mla_lora_layer *next;
};

/* Tensors belong to the registry; zero where a projection is not there. */
typedef struct mla_linear_layer {
    mla_tensor *weight, *bias;
    mla_lora_layer *lora; /* the first adapter; NULL: none */
} mla_linear_layer;

typedef struct {
    const char *name; /* "q_proj"; parameters are called prefix + name + ".weight" and ".bias" */
    int64_t in, out;
    bool bias;
} mla_linear_spec;

/* Weights begin normally distributed with initializer_range, biases at 0. Enters the layer in the builder's
 * projections, so that its address must stay. Errors: those of mla_params_add, memory. */
mla_status mla_linear_build(const mla_builder *builder, mla_linear_layer *layer, const mla_linear_spec *spec);
/* The same for one whose result is added to the residual stream. With scaled_residual_init each of the 2 L results that
 * are added up begins with 1 / (2 L) of the variance (Radford et al. 2019, section 2.3). */
mla_status mla_linear_build_residual(const mla_builder *builder, mla_linear_layer *layer, const mla_linear_spec *spec);
/* The same for an attention's o_proj, which begins at 0 with zero_attention_output: usual weights make its result some
 * times as large as a token's embedding, and drown it until that is unlearned. */
mla_status mla_linear_build_attention_output(const mla_builder *builder, mla_linear_layer *layer,
                                             const mla_linear_spec *spec);
/* Takes all adapters off; their parameters stay in the registry. */
void mla_linear_remove_adapters(mla_linear_layer *layer);

/* x (..., in) -> (..., out), adapters included */
mla_tensor *mla_linear_apply(mla_tape *tape, const mla_linear_layer *layer, mla_tensor *x);
/* The weight with its adapters in it, for products that apply does not make; their dropout does not act here. The
 * weight itself where there are none, otherwise of the step's precision. */
mla_tensor *mla_linear_weight(mla_tape *tape, const mla_linear_layer *layer);

#endif
