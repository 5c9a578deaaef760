/* What ops with an adapter of low rank share: y = x (W + s B A)ᵀ, of which A (r,in) and B (out,r) are two inputs. */
#ifndef MLA_AUTOGRAD_OPS_LORA_H
#define MLA_AUTOGRAD_OPS_LORA_H

#include "autograd/op.h"

typedef struct {
    const mla_node *node;
    int a, b; /* which inputs they are */
    float scale;
    int64_t rows;
    mla_dtype type;    /* of the products, of x and dy, h and u */
    int64_t dy_stride; /* elements from row to row of dy; 0: dense */
} mla_low;

/* h = s x Aᵀ (rows,r) */
void mla_low_project(const mla_low *low, const void *x, void *h);
/* dB = dyᵀ h, u = s dy B (rows,r), dA = uᵀ x: by the node's modes. u has mla_low_scratch bytes. */
void mla_low_gradients(const mla_low *low, const void *x, const void *dy, const void *h, void *u);
/* For u, and what is needed on the way. */
int64_t mla_low_scratch(const mla_tensor *a, const mla_tensor *b, int64_t rows);

#endif
