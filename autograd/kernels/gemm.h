/* Matrix products, all of them, on oneDNN (2.6 and 3.x): C = op(A) op(B), as gemm_shape.h has it.
 *
 * A product is planned for its shape, and the context keeps the plan; running it allocates nothing here. A and B are
 * f32 or bf16, both the same but for mla_gemm_intermediate; sums are f32. */
#ifndef MLA_AUTOGRAD_KERNELS_GEMM_H
#define MLA_AUTOGRAD_KERNELS_GEMM_H

#include "autograd/base/context.h"
#include "autograd/kernels/gemm_shape.h"

typedef struct mla_gemm mla_gemm;

/* The plans that a context keeps are those that were asked for last; a product of bf16 made of f32 takes two of them.
 */
enum { MLA_GEMM_PLANS = 1024 };

/* The plan for a shape. Not to be called inside a parallel region. NULL after an error: sizes below 1, types
 * that this machine's oneDNN cannot multiply, no memory. The context owns it: hold it for the work at hand, and ask
 * again for the next. It is for the sizes as they are: varying_rows makes no difference here. */
const mla_gemm *mla_gemm_plan(mla_context *context, const mla_gemm_shape *shape);

/* Runs a plan; bias may be NULL where the shape has none. Inside a parallel region (single_thread plans only)
 * each thread uses its own copy of the plan's handles. Errors are recorded in the context. */
void mla_gemm_run(const mla_gemm *gemm, const void *a, const void *b, void *c, const float *bias);

/* Both in one, outside parallel regions. */
void mla_gemm_now(mla_context *context, const mla_gemm_shape *shape, const void *a, const void *b, void *c,
                  const float *bias);

/* A product with varying_rows, such as a layer's of whatever rows are routed to it, is made in pieces of a few sizes:
 * powers of two, the largest first, and at the end what remains below 16. So 15 + i plans do for all numbers of rows
 * below 2^(i+4), and one that was never seen is not planned for. With A transposed, where it is k that varies (as in
 * dW = dyᵀ x), the first piece sets C and the others add to it: C had better be f32, and the plans are up to twice as
 * many. If B is transposed there too, it should have an ldb that stays the same.
 *
 * mla_gemm_now does that. What plans and runs by itself takes the pieces one by one. */
typedef struct {
    mla_gemm_shape shape; /* of the piece */
    int64_t a, b, c;      /* where it begins in the operands, in bytes */
    int64_t end;          /* rows up to its end */
} mla_gemm_piece;
/* The piece after *piece (the first one after {0}); whether more follow. All in one without varying_rows. */
bool mla_gemm_next_piece(const mla_gemm_shape *shape, mla_gemm_piece *piece);

/* For plans with b_packed: the bytes that B takes then, and bringing it there. */
int64_t mla_gemm_packed_bytes(const mla_gemm *gemm);
void mla_gemm_pack(const mla_gemm *gemm, const void *b, void *packed);

/* The layout that such a plan wants B in. Products of other sizes may want other ones: a packed B serves all plans that
 * take its layout. The caller frees it, before or after the context. NULL after an error: no memory. */
mla_gemm_layout *mla_gemm_layout_of(const mla_gemm *gemm);
void mla_gemm_layout_free(mla_gemm_layout *layout);
bool mla_gemm_takes(const mla_gemm *gemm, const mla_gemm_layout *layout);

/* Calls visit for every planned product of oneDNN that is kept, with how often it ran. */
void mla_gemm_each(mla_context *context,
                   void (*visit)(void *user, const mla_gemm *gemm, const mla_gemm_shape *shape, int64_t runs),
                   void *user);

/* Whether the processor has them, and oneDNN may use them (DNNL_MAX_CPU_ISA). */
bool mla_gemm_has_avx2(void);
bool mla_gemm_has_avx512(void);
/* Whether the processor multiplies bf16 (AVX-512 bf16 or AMX), so that bf16 is faster than f32. Where it does not,
 * products of bf16 are made of f32 products (gemm_widened.h). */
bool mla_gemm_has_bf16(void);
bool mla_gemm_has_amx(void);

/* The type for an A that is computed in f32 only to be multiplied by a B of `type`. Where products of bf16 are made of
 * f32 ones, A may and should stay f32. */
mla_dtype mla_gemm_intermediate(mla_dtype type);

/* The code and scratch memory that oneDNN takes for a model's products, in bytes: as seen, much the same for all. */
int64_t mla_gemm_usual_bytes(void);

/* "oneDNN 2.6.3" */
const char *mla_gemm_library(void);

#endif
