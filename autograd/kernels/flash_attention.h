/* Attention in blocks of queries and keys, shared by the ops `attention` and `latent_attention`: forward in
 * flash_forward.c, backward in flash_backward.c, both on the tiles of flash_tiles.h, whose products gemm.h makes; with
 * AMX both are in flash_packed.c, on the products of packed_products.h.
 *
 * Scores exist for one block at a time (Dao et al. 2022, "FlashAttention"; Milakov & Gimelshein 2018 for the
 * online softmax): forward keeps the log-sum-exp of each row of scores, and backward computes the scores again.
 *
 *     S = scale Q Kᵀ,  P = softmax(S),  O = P V,  lse = log sum exp S
 *     dV = Pᵀ dO,  dP = dO Vᵀ,  dS = P ∘ (dP - rowsum(dO ∘ O)),  dQ = scale dS K,  dK = scale dSᵀ Q */
#ifndef MLA_AUTOGRAD_KERNELS_FLASH_ATTENTION_H
#define MLA_AUTOGRAD_KERNELS_FLASH_ATTENTION_H

#include "autograd/base/context.h"
#include "autograd/base/cost.h"
#include "autograd/base/dtype.h"
#include "autograd/kernels/attention_mask.h"

/* Where heads stand: element (b,t,h,i) is at data[(b*T + t)*row + h*head + i], of the type of the whole. */
typedef struct {
    void *data;
    int64_t row, head;
} mla_heads;

/* Rows of a block: `keys` is 1 to 4 times `queries`, which is even. Where products are of packed operands, which must
 * be bf16, both are multiples of 32. */
typedef struct {
    int64_t queries, keys;
    bool packed;
} mla_flash_blocks;

typedef struct {
    int64_t batch, heads, key_heads; /* key_heads divides heads */
    int64_t queries, keys;           /* positions */
    int64_t key_width, value_width;
    mla_attention_mask mask; /* starts: (batch, queries) */
    float scale;
    mla_dtype type; /* of q, k, v, the output and all gradients; sums and the softmax are f32 */
    mla_flash_blocks block;
} mla_flash;

/* The blocks that suit the processor: large enough for products at their full speed, small enough for its caches. */
mla_flash_blocks mla_flash_usual_blocks(mla_dtype type);

/* Floats of scratch that the passes need, for all threads together. */
int64_t mla_flash_forward_scratch(mla_context *context, const mla_flash *a);
int64_t mla_flash_backward_scratch(mla_context *context, const mla_flash *a);

/* What the passes cost: half the products of a causal square are never made. */
mla_cost mla_flash_cost(const mla_flash *a);

typedef struct {
    mla_heads q, k, v, out; /* forward writes `out` */
    float *lse;             /* (batch, heads, queries): forward writes it, backward reads it */
} mla_flash_operands;

/* Errors go to the context. */
void mla_flash_forward(mla_context *context, const mla_flash *a, const mla_flash_operands *x, float *scratch);

/* Each gradient is set or, with its flag, added to; one without data is not wanted. */
typedef struct {
    mla_heads dout, q, k, v;
    bool add_q, add_k, add_v;
} mla_flash_gradients;
void mla_flash_backward(mla_context *context, const mla_flash *a, const mla_flash_operands *x,
                        const mla_flash_gradients *d, float *scratch);

#endif
