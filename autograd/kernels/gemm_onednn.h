/* Matrix products as oneDNN (2.6 and 3.x) makes them, for gemm.c and gemm_widened.c; gemm_onednn.c alone includes
 * dnnl.h. What gemm.h says of a plan and of running it holds here. */
#ifndef MLA_AUTOGRAD_KERNELS_GEMM_ONEDNN_H
#define MLA_AUTOGRAD_KERNELS_GEMM_ONEDNN_H

#include "autograd/base/context.h"
#include "autograd/kernels/gemm_shape.h"

/* What oneDNN's objects belong to: one for all products of a context. NULL after an error. */
typedef struct dnnl_engine mla_onednn_engine;
mla_onednn_engine *mla_onednn_engine_create(mla_context *context);
void mla_onednn_engine_destroy(mla_onednn_engine *engine);

/* A product, laid out for its shape and for the context's number of threads, or for one. NULL after an error. */
typedef struct mla_onednn mla_onednn;
mla_onednn *mla_onednn_create(mla_context *context, mla_onednn_engine *engine, const mla_gemm_shape *shape);
void mla_onednn_destroy(mla_onednn *product);

void mla_onednn_run(const mla_onednn *product, const void *a, const void *b, void *c, const float *bias);
int64_t mla_onednn_runs(const mla_onednn *product); /* so far */

/* With b_packed. */
int64_t mla_onednn_packed_bytes(const mla_onednn *product);
void mla_onednn_pack(const mla_onednn *product, const void *b, void *packed);
mla_gemm_layout *mla_onednn_layout_of(const mla_onednn *product);
void mla_onednn_layout_free(mla_gemm_layout *layout);
bool mla_onednn_takes(const mla_onednn *product, const mla_gemm_layout *layout);

/* Whether the processor has them, and oneDNN may use them. */
bool mla_onednn_has_avx2(void);
bool mla_onednn_has_avx512(void);
bool mla_onednn_has_bf16(void);
bool mla_onednn_has_amx(void);

const char *mla_onednn_name(void); /* "oneDNN 2.6.3" */

#endif
