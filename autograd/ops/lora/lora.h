/* What ops with an adapter of low rank share: y = x (W + s B A)ᵀ, of which A (r,in) and B (out,r) are two inputs. */
#ifndef MLA_AUTOGRAD_OPS_LORA_LORA_H
#define MLA_AUTOGRAD_OPS_LORA_LORA_H

#include "autograd/op.h"

typedef struct {
    const mla_node *node;
    int a, b; /* which inputs they are */
    float scale;
    int64_t rows;
    mla_dtype type;    /* of x, y and dy */
    int64_t dy_stride; /* elements from row to row of dy; 0: dense */
} mla_lora_product;

/* h = s x Aᵀ, and y += h Bᵀ where y is not NULL. */
void mla_lora_product_apply(const mla_lora_product *low, const void *x, void *y, void *h, void *scratch);
/* dB = dyᵀ h, u = s dy B, dA = uᵀ x by the node's modes; dx = u A by a mode of its own. */
void mla_lora_product_gradients(const mla_lora_product *low, const void *x, const void *dy, const void *h,
                                mla_grad_mode dx_mode, mla_values dx, void *scratch);
/* Bytes of h, which forward may save for backward, and of the scratch of either. */
int64_t mla_lora_product_size(const mla_tensor *a, int64_t rows);
int64_t mla_lora_product_scratch(const mla_tape *tape, const mla_tensor *a, const mla_tensor *b, int64_t rows);

/* ---- the same for adapters of few ranks, row by row (lora_rows.c) ---- */

/* Up to here that is faster than matrix products (tests/bench/README.md). */
enum { MLA_FEW_RANKS = 8 };

void mla_lora_rows_apply(const mla_lora_product *low, const void *x, void *y, float *h, float *scratch);
void mla_lora_rows_gradients(const mla_lora_product *low, const void *x, const void *dy, const float *h,
                             mla_grad_mode dx_mode, mla_values dx, float *scratch);
int64_t mla_lora_rows_scratch(const mla_tape *tape, const mla_tensor *a, const mla_tensor *b, int64_t rows);

/* x (rows,width) into a gradient (width,rows) */
void mla_lora_product_turn(const mla_context *context, mla_grad_mode mode, int64_t rows, int64_t width, const float *x,
                           mla_values gradient);

#endif
