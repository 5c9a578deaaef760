/* loss = scale * sum over rows of (log sum exp z - z[target]),  z = x Wᵀ:  x (rows,D), W (V,D), targets (rows)
 * dz = scale * (softmax(z) - onehot(target)),  dx = dz W,  dW = dzᵀ x;  rows with target -1 count for nothing
 *
 * Rows are taken in chunks, and a chunk's gradients are computed while its logits are there: forward writes dx
 * (saved) and adds to dW, which is right because the loss is where mla_backward starts, with gradient 1. */
#include "autograd/gemm.h"
#include "autograd/op.h"
#include "autograd/ops.h"
#include "autograd/vecmath.h"

#include <string.h>

enum { X, W, TARGETS };
enum { CHUNK = 256 }; /* rows: logits of a chunk stay in the L3 cache for vocabularies of usual size */

typedef struct {
    float scale;
    mla_grad_mode dw;
} attributes;

/* A row of logits to its loss and, in place, to its gradient. */
MLA_VECTOR static double loss_row(int64_t vocabulary, float *restrict z, int32_t target, float scale) {
    float top = z[0], sum = 0;
    MLA_SIMD_MAX(top)
    for (int64_t j = 0; j < vocabulary; j++) top = z[j] > top ? z[j] : top;
    const float at_target = z[target];
    MLA_SIMD_SUM(sum)
    for (int64_t j = 0; j < vocabulary; j++) {
        z[j] = expf(z[j] - top);
        sum += z[j];
    }
    const float factor = scale / sum;
    MLA_SIMD
    for (int64_t j = 0; j < vocabulary; j++) z[j] *= factor;
    z[target] -= scale;
    return (double)logf(sum) + (double)top - (double)at_target;
}

static double loss_of_chunk(const mla_node *n, int64_t begin, int64_t rows, float *z, double *row_loss) {
    const attributes *at = n->attributes;
    const int64_t vocabulary = n->in[W]->shape[0];
    const int32_t *targets = (const int32_t *)n->in[TARGETS]->data + begin;
    #pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rows; i++) {
        row_loss[i] = targets[i] < 0 ? 0 : loss_row(vocabulary, z + i * vocabulary, targets[i], at->scale);
        if (targets[i] < 0) memset(z + i * vocabulary, 0, (size_t)vocabulary * sizeof *z);
    }
    double sum = 0;
    for (int64_t i = 0; i < rows; i++) sum += row_loss[i];
    return sum;
}

static bool targets_fit(const mla_node *n) {
    const int32_t *targets = n->in[TARGETS]->data;
    const int64_t vocabulary = n->in[W]->shape[0], count = mla_count(n->in[TARGETS]);
    for (int64_t i = 0; i < count; i++)
        if (targets[i] < -1 || targets[i] >= vocabulary) {
            mla_fail(mla_tape_context(n->tape), MLA_ERROR_ARGUMENT,
                     "output_loss: target %d at place %lld is not in the vocabulary of %lld (or -1): is the token file "
                     "made with another tokenizer?", targets[i], (long long)i, (long long)vocabulary);
            return false;
        }
    return true;
}

static void output_loss_forward(const mla_node *n) {
    mla_context *context = mla_tape_context(n->tape);
    const attributes *at = n->attributes;
    const mla_tensor *x = n->in[X], *w = n->in[W];
    const int64_t rows = mla_rows(x), vocabulary = w->shape[0], width = w->shape[1];
    double *row_loss = n->scratch;
    float *z = (float *)(row_loss + CHUNK);
    double sum = 0;
    if (!targets_fit(n)) return;
    for (int64_t begin = 0; begin < rows; begin += CHUNK) {
        const int64_t count = rows - begin < CHUNK ? rows - begin : CHUNK;
        const mla_gemm_shape logits = {.m = count, .n = vocabulary, .k = width, .b_transposed = true};
        const mla_gemm_shape dx = {.m = count, .n = width, .k = vocabulary};
        const mla_gemm_shape dw = {.m = vocabulary, .n = width, .k = count, .a_transposed = true,
                                   .accumulate = begin > 0 || at->dw == MLA_ADD};
        mla_gemm_now(context, &logits, mla_row(x, begin), w->data, z, NULL);
        sum += loss_of_chunk(n, begin, count, z, row_loss);
        if (n->saved[0]) mla_gemm_now(context, &dx, z, w->data, (float *)n->saved[0] + begin * width, NULL);
        if (at->dw) mla_gemm_now(context, &dw, z, mla_row(x, begin), w->grad, NULL);
    }
    *(float *)n->out->data = (float)(sum * (double)at->scale);
}

static void output_loss_backward(const mla_node *n) {
    const int64_t count = mla_count(n->in[X]);
    const float *from = n->saved[0];
    float *dx = n->grad[X];
    if (*(const float *)n->out->grad != 1)
        mla_fail(mla_tape_context(n->tape), MLA_ERROR_ARGUMENT,
                 "output_loss: its result was scaled; its gradients are computed already, so set options.scale instead");
    if (n->mode[X] == MLA_SET) memcpy(dx, from, (size_t)count * sizeof *dx);
    else if (n->mode[X] == MLA_ADD)
        for (int64_t i = 0; i < count; i++) dx[i] += from[i];
}

static mla_cost output_loss_cost(const mla_node *n) {
    const double product = 2 * (double)mla_rows(n->in[X]) * (double)mla_count(n->in[W]);
    const int products = 1 + mla_op_differentiates(n, X) + mla_op_differentiates(n, W);
    const double bytes = (double)(mla_bytes(n->in[X]) + mla_bytes(n->in[W]));
    return (mla_cost){product * products, 0, bytes * products, 0};
}

static const mla_op output_loss = {.name = "output_loss", .forward = output_loss_forward,
                                   .backward = output_loss_backward, .cost = output_loss_cost};

/* dW is written by forward: the engine is told so by has_grad, and finds nothing left to do in backward. */
static mla_grad_mode claim_weight_gradient(const mla_node *n) {
    mla_tensor *w = n->in[W];
    if (mla_tape_is_inference(n->tape) || !w->needs_grad) return MLA_SKIP;
    const mla_grad_mode mode = w->has_grad ? MLA_ADD : MLA_SET;
    w->has_grad = true;
    return mode;
}

mla_tensor *mla_output_loss(mla_tape *tape, mla_tensor *x, mla_tensor *weight, mla_tensor *targets,
                            const mla_output_loss_options *options) {
    mla_node *n = mla_op_begin(tape, &output_loss, 3, (mla_tensor *[]){x, weight, targets});
    if (!n) return mla_inert(tape);
    if (weight->ndim != 2 || mla_width(x) != weight->shape[1])
        return mla_op_refuse(n, "the weight must be (V,D) with D the width of x");
    if (targets->dtype != MLA_I32 || mla_count(targets) != mla_rows(x))
        return mla_op_refuse(n, "the targets must be i32, one for each row of x");
    if (weight->needs_grad && !weight->is_parameter)
        return mla_op_refuse(n, "the weight must be a parameter, or need no gradient");
    attributes *at = mla_op_attributes(n, sizeof *at);
    *at = (attributes){options->scale, claim_weight_gradient(n)};
    if (mla_op_differentiates(n, X)) mla_op_save(n, 0, mla_bytes(x));
    n->forward_scratch = CHUNK * ((int64_t)sizeof(double) + weight->shape[0] * (int64_t)sizeof(float));
    return mla_op_finish(n, MLA_F32, 1, (int64_t[]){1});
}
