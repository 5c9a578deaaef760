/* Attention's passes on packed operands (packed_products.h), for flash_forward.c and flash_backward.c, which pass on
 * what has `block.packed`. */
#ifndef MLA_AUTOGRAD_KERNELS_FLASH_PACKED_H
#define MLA_AUTOGRAD_KERNELS_FLASH_PACKED_H

#include "autograd/kernels/flash_attention.h"

int64_t mla_flash_packed_forward_scratch(mla_context *context, const mla_flash *a);
int64_t mla_flash_packed_backward_scratch(mla_context *context, const mla_flash *a);
void mla_flash_packed_forward(mla_context *context, const mla_flash *a, const mla_flash_operands *x, float *scratch);
void mla_flash_packed_backward(mla_context *context, const mla_flash *a, const mla_flash_operands *x,
                               const mla_flash_gradients *d, float *scratch);

#endif
