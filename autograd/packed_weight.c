#include "autograd/packed_weight.h"

#include <stdlib.h>

bool mla_packs_weights(const mla_context *context) {
    return (mla_context_packs_weights(context) && mla_gemm_has_bf16()) || mla_gemm_has_amx();
}

static const void *rows_of(const mla_tensor *weight, mla_dtype type) {
    return weight->dtype == type ? weight->data : weight->bf16;
}

static bool packed_weight_make_room(mla_context *context, const mla_tensor *weight, mla_packed *packed,
                                    const mla_gemm *plan) {
    const int64_t bytes = mla_gemm_packed_bytes(plan);
    if (posix_memalign(&packed->data, 64, (size_t)bytes)) {
        packed->data = NULL;
        mla_fail(context, MLA_ERROR_MEMORY, "no memory for a packed copy of a weight (%lld KiB)",
                 (long long)(bytes >> 10));
        return false;
    }
    packed->layout = mla_gemm_layout_of(plan);
    packed->version = weight->bf16_version - 1;
    if (packed->layout) return true;
    free(packed->data);
    packed->data = NULL;
    return false;
}

/* The weight packed for the plan; NULL where its copy has the layout of products of other sizes, and after an
 * error. */
static const void *packed_for(mla_context *context, const mla_gemm *plan, const mla_tensor *weight,
                              mla_packed *packed) {
    if (!packed->layout && !packed_weight_make_room(context, weight, packed, plan)) return NULL;
    if (!mla_gemm_takes(plan, packed->layout)) return NULL;
    if (packed->version != weight->bf16_version) mla_gemm_pack(plan, rows_of(weight, MLA_BF16), packed->data);
    packed->version = weight->bf16_version;
    return packed->data;
}

static void packed_weight_multiply(mla_context *context, const mla_gemm_shape *shape, const void *a,
                                   const mla_tensor *weight, void *c, const float *bias) {
    if (weight->packed && shape->b_type == MLA_BF16 && mla_packs_weights(context)) {
        mla_gemm_shape with_packed = *shape;
        with_packed.b_packed = true;
        const mla_gemm *plan = mla_gemm_plan(context, &with_packed);
        const void *b = plan ? packed_for(context, plan, weight, &weight->packed[shape->b_transposed]) : NULL;
        if (b) mla_gemm_run(plan, a, b, c, bias);
        if (b || mla_error_status(context)) return;
    }
    mla_gemm_now(context, shape, a, rows_of(weight, shape->b_type), c, bias);
}

void mla_multiply_by_weight(mla_context *context, const mla_gemm_shape *shape, const void *a, const mla_tensor *weight,
                            void *c, const float *bias) {
    mla_gemm_piece p = {0};
    for (bool more = true; more && !mla_error_status(context);) {
        more = mla_gemm_next_piece(shape, &p);
        packed_weight_multiply(context, &p.shape, (const char *)a + p.a, weight, (char *)c + p.c, bias);
    }
}

void mla_packed_free(mla_packed *packed) {
    for (int i = 0; i < MLA_PACKED_DIRECTIONS && packed; i++) {
        mla_gemm_layout_free(packed[i].layout);
        free(packed[i].data);
    }
}
