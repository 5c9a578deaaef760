/* Where attention's gradients go: those of heads that share keys lie side by side first, and are added in their order.
 */
#ifndef MLA_AUTOGRAD_KERNELS_FLASH_GRADIENTS_H
#define MLA_AUTOGRAD_KERNELS_FLASH_GRADIENTS_H

#include "autograd/kernels/flash_tiles.h"

/* Of keys or of values. */
typedef struct {
    mla_heads out; /* without data: not wanted */
    int64_t width;
    bool add;
    float *sums; /* where heads share: (B, heads, keys, width) */
} mla_key_gradient;

/* Floats of `sums` for keys and values together. */
int64_t mla_flash_shared_floats(const mla_flash *a);
mla_key_gradient mla_flash_key_gradient(const mla_flash *a, const mla_flash_gradients *d, float *shared);
mla_key_gradient mla_flash_value_gradient(const mla_flash *a, const mla_flash_gradients *d, float *shared);

/* What head h gives to a block of keys: x (keys.size, width). */
void mla_flash_deliver_keys(const mla_flash *a, const mla_key_gradient *d, const float *x, mla_stretch keys, int64_t b,
                            int64_t h);
/* The gradient of all queries of a head: x (queries, K), rows `pitch` apart. */
void mla_flash_deliver_queries(const mla_flash *a, const mla_flash_gradients *d, const float *x, int64_t pitch,
                               int64_t b, int64_t h);
/* After all heads: the sum over those that share. */
void mla_flash_add_shared(mla_context *context, const mla_flash *a, const mla_key_gradient *d);

/* The threads that take heads, one after the other. */
int64_t mla_flash_working_threads(mla_context *context, const mla_flash *a);

#endif
