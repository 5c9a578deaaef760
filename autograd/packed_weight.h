/* Products with weights. With AMX, a weight of bf16 is multiplied from a copy in the layout that oneDNN is
 * fastest with (format_tag_any), which is made anew once per version of the parameters. Elsewhere it is
 * multiplied from its rows: on Zen 4 a packed product by itself is 6 to 20 % faster, but a step only by 2.5
 * %, for four more bytes a parameter. */
#ifndef MLA_AUTOGRAD_PACKED_WEIGHT_H
#define MLA_AUTOGRAD_PACKED_WEIGHT_H

#include "autograd/kernels/gemm.h"
#include "autograd/tensor.h"

struct mla_packed {
    mla_gemm_layout *layout; /* NULL: not made yet */
    void *data;
    uint64_t version; /* the weight's bf16_version when it was made */
};
enum { MLA_PACKED_DIRECTIONS = 2 }; /* for x Wᵀ and for dy W */

/* Whether weights are packed: with AMX, or with AVX-512 bf16 where the context's options say so. */
bool mla_packs_weights(const mla_context *context);

/* C = A op(weight) [+ C] [+ bias], outside parallel regions, with A as it stands. The shape is that of the product from
 * rows, which may vary; a bf16 product needs the weight's bf16 copy. Only parameters are packed. */
void mla_multiply_by_weight(mla_context *context, const mla_gemm_shape *shape, const void *a, const mla_tensor *weight,
                            void *c, const float *bias);

/* Frees the copies. */
void mla_packed_free(mla_packed *packed);

#endif
