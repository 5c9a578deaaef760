/* Products of bf16 where the processor has no arithmetic for it, for gemm.c alone: operands are widened to f32 and
 * multiplied as f32. That is what a product of bf16 with sums of f32 is, but for the order of the sums. */
#ifndef MLA_AUTOGRAD_KERNELS_GEMM_WIDENED_H
#define MLA_AUTOGRAD_KERNELS_GEMM_WIDENED_H

#include "autograd/kernels/gemm_onednn.h"

/* Room for widened operands, shared by all products of a context: each thread has its own, as large as any needs. */
typedef struct {
    struct {
        float *data;
        int64_t count;
    } * of_thread;
    int threads;
} mla_widening_room;
void mla_widening_room_free(mla_widening_room *room);

typedef struct mla_widened mla_widened;

/* The product of f32 that does the work for a shape. */
mla_gemm_shape mla_widened_product(const mla_gemm_shape *shape);

/* Makes room for the operands of that product, which must outlive what is made of it. NULL after an error. */
mla_widened *mla_widened_create(mla_context *context, mla_widening_room *room, const mla_gemm_shape *shape,
                                const mla_onednn *product);
void mla_widened_destroy(mla_widened *widened);

/* As mla_gemm_run. */
void mla_widened_run(const mla_widened *widened, const void *a, const void *b, void *c, const float *bias);

#endif
