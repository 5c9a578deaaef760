/* C = A B for each of the batches:  A (..., m, k), B (..., k, n), C (..., m, n)
 * dA = dC Bᵀ,  dB = Aᵀ dC */
#include "autograd/kernels/gemm.h"
#include "autograd/op.h"
#include "autograd/ops.h"

#include <string.h>

enum { A, B };

static int64_t rows_of(const mla_tensor *x) { return x->shape[x->ndim - 2]; }
static int64_t columns_of(const mla_tensor *x) { return x->shape[x->ndim - 1]; }

/* As many products as threads: each thread does whole ones. Fewer: all threads work on each. */
static void matmul_multiply(const mla_node *n, mla_gemm_shape shape, const float *a, const float *b, float *c) {
    mla_context *context = mla_tape_context(n->tape);
    const int64_t batches = mla_count(n->out) / (rows_of(n->out) * columns_of(n->out));
    shape.single_thread = batches >= mla_context_threads(context);
    const mla_gemm *gemm = mla_gemm_plan(context, &shape);
    if (!gemm) return;
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static) if (shape.single_thread)
    for (int64_t i = 0; i < batches; i++)
        mla_gemm_run(gemm, a + i * shape.m * shape.k, b + i * shape.k * shape.n, c + i * shape.m * shape.n, NULL);
}

static void matmul_forward(const mla_node *n) {
    const mla_tensor *a = n->in[A], *b = n->in[B];
    const mla_gemm_shape c = {.m = rows_of(a), .n = columns_of(b), .k = columns_of(a)};
    matmul_multiply(n, c, a->data, b->data, n->out->data);
}

static void matmul_backward(const mla_node *n) {
    const mla_tensor *a = n->in[A], *b = n->in[B], *c = n->out;
    const mla_gemm_shape da = {.m = rows_of(a),
                               .n = columns_of(a),
                               .k = columns_of(c),
                               .b_transposed = true,
                               .accumulate = n->mode[A] == MLA_ADD};
    const mla_gemm_shape db = {.m = rows_of(b),
                               .n = columns_of(b),
                               .k = rows_of(c),
                               .a_transposed = true,
                               .accumulate = n->mode[B] == MLA_ADD};
    if (n->mode[A]) matmul_multiply(n, da, c->grad, b->data, n->grad[A]);
    if (n->mode[B]) matmul_multiply(n, db, a->data, c->grad, n->grad[B]);
}

static mla_cost matmul_cost(const mla_node *n) {
    const double product = 2 * (double)mla_count(n->out) * (double)columns_of(n->in[A]);
    const double bytes = (double)(mla_size(n->in[A]) + mla_size(n->in[B]) + mla_size(n->out));
    const int gradients = mla_op_differentiates(n, A) + mla_op_differentiates(n, B);
    return (mla_cost){.forward_flops = product,
                      .backward_flops = product * gradients,
                      .forward_bytes = bytes,
                      .backward_bytes = bytes * gradients};
}

static const mla_op matmul = {.name = "matmul",
                              .forward = matmul_forward,
                              .backward = matmul_backward,
                              .cost = matmul_cost,
                              .keeps = MLA_INPUT(A) | MLA_INPUT(B)};

mla_tensor *mla_matmul(mla_tape *tape, mla_tensor *a, mla_tensor *b) {
    mla_node *n = mla_op_begin_f32(tape, &matmul, 2, (mla_tensor *[]){a, b});
    if (!n) return mla_inert(tape);
    const int ndim = a->ndim;
    if (ndim < 2 || b->ndim != ndim || memcmp(a->shape, b->shape, (size_t)(ndim - 2) * sizeof *a->shape) ||
        columns_of(a) != rows_of(b))
        return mla_op_refuse(n, "a must be (..., m, k) and b (..., k, n) with equal leading dimensions");
    int64_t shape[MLA_MAX_DIMS];
    memcpy(shape, a->shape, sizeof shape);
    shape[ndim - 1] = columns_of(b);
    return mla_op_finish(n, MLA_F32, ndim, shape);
}
