/* loss = scale * sum over rows of (log sum exp z - z[target]),  z = x Wᵀ:  x (rows,D), W (V,D), targets (rows)
 * dz = scale * (softmax(z) - onehot(target)),  dx = dz W,  dW = dzᵀ x;  rows with target -1 count for nothing
 *
 * Rows are taken in chunks, and a chunk's gradients are computed while its logits are there: forward writes dx
 * (saved) and adds to dW, which is right because the loss is where mla_backward starts, with gradient 1.
 *
 * The products are of the step's precision; the logits and the softmax are f32 in any case. */
#include "autograd/gemm.h"
#include "autograd/ops.h"
#include "autograd/packed.h"
#include "autograd/rows.h"
#include "autograd/vecmath.h"

#include <string.h>

enum { X, W, TARGETS };
enum { CHUNK = 256 }; /* rows: logits of a chunk stay in the L3 cache for vocabularies of usual size */

typedef struct {
    float scale;
    mla_grad_mode dw;
    mla_dtype type; /* of what goes into the products */
} attributes;

/* What a chunk works with. */
typedef struct {
    double *row_loss;  /* (CHUNK) */
    float *z;          /* (CHUNK,V): logits, then their gradient */
    void *x, *dz;      /* rounded to bf16, where the products are: (CHUNK,D), (CHUNK,V) */
} workspace;

static int64_t workspace_size(const mla_node *n, const attributes *at) {
    const int64_t vocabulary = n->in[W]->shape[0], width = n->in[W]->shape[1];
    const int64_t rounded = at->type == MLA_BF16 ? (vocabulary + width) * (int64_t)mla_dtype_size(MLA_BF16) : 0;
    return CHUNK * ((int64_t)sizeof(double) + vocabulary * (int64_t)sizeof(float) + rounded);
}

static workspace workspace_of(const mla_node *n) {
    const int64_t vocabulary = n->in[W]->shape[0];
    workspace w = {.row_loss = n->scratch};
    w.z = (float *)(w.row_loss + CHUNK);
    w.dz = w.z + CHUNK * vocabulary;
    w.x = (char *)w.dz + CHUNK * vocabulary * (int64_t)mla_dtype_size(MLA_BF16);
    return w;
}

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

/* Rows begin ... of x as they go into a product. */
static const void *product_rows(const mla_node *n, int64_t begin, int64_t rows, void *rounded) {
    const int64_t width = n->in[W]->shape[1];
    const mla_values x = mla_beyond(mla_data(n->in[X]), begin * width);
    if (x.type == ((const attributes *)n->attributes)->type) return x.data;
    mla_narrow_all(rows * width, x.data, rounded);
    return rounded;
}

/* The gradients of a chunk, from dz in w->z. */
static void chunk_gradients(const mla_node *n, int64_t begin, int64_t rows, const void *x, const workspace *w) {
    mla_context *context = mla_tape_context(n->tape);
    const attributes *at = n->attributes;
    const int64_t vocabulary = n->in[W]->shape[0], width = n->in[W]->shape[1];
    const mla_dtype type = at->type, x_type = n->in[X]->dtype;
    const mla_gemm_shape dx = {.m = rows, .n = width, .k = vocabulary, .a_type = type, .b_type = type, .c_type = x_type};
    const mla_gemm_shape dw = {.m = vocabulary, .n = width, .k = rows, .a_transposed = true, .a_type = type,
                               .b_type = type, .accumulate = begin > 0 || at->dw == MLA_ADD};
    if (!n->saved[0] && !at->dw) return;
    if (type == MLA_BF16) mla_narrow_all(rows * vocabulary, w->z, w->dz);
    const void *dz = type == MLA_BF16 ? w->dz : w->z;
    if (n->saved[0])
        mla_multiply_by_weight(context, &dx, dz, n->in[W],
                               mla_beyond((mla_values){n->saved[0], x_type}, begin * width).data, NULL);
    if (at->dw) mla_gemm_now(context, &dw, dz, x, n->in[W]->grad, NULL);
}

static void output_loss_forward(const mla_node *n) {
    const attributes *at = n->attributes;
    const int64_t rows = mla_rows(n->in[X]), vocabulary = n->in[W]->shape[0], width = n->in[W]->shape[1];
    const workspace w = workspace_of(n);
    double sum = 0;
    if (!mla_op_operand(n, W, at->type) || !targets_fit(n)) return;
    for (int64_t begin = 0; begin < rows; begin += CHUNK) {
        const int64_t count = rows - begin < CHUNK ? rows - begin : CHUNK;
        const mla_gemm_shape logits = {.m = count, .n = vocabulary, .k = width, .b_transposed = true,
                                       .a_type = at->type, .b_type = at->type};
        const void *x = product_rows(n, begin, count, w.x);
        mla_multiply_by_weight(mla_tape_context(n->tape), &logits, x, n->in[W], w.z, NULL);
        sum += loss_of_chunk(n, begin, count, w.z, w.row_loss);
        chunk_gradients(n, begin, count, x, &w);
    }
    *(float *)n->out->data = (float)(sum * (double)at->scale);
}

static void output_loss_backward(const mla_node *n) {
    const int64_t rows = mla_rows(n->in[X]), width = mla_width(n->in[X]);
    const mla_values from = {n->saved[0], n->in[X]->dtype};
    if (*(const float *)n->out->grad != 1)
        mla_fail(mla_tape_context(n->tape), MLA_ERROR_ARGUMENT,
                 "output_loss: its result was scaled; its gradients are computed already, so set options.scale instead");
    if (n->mode[X]) mla_move_blocks(n->mode[X], &(mla_block_move){rows, width, width, width}, from, mla_in_gradient(n, X));
}

static mla_cost output_loss_cost(const mla_node *n) {
    const double product = 2 * (double)mla_rows(n->in[X]) * (double)mla_count(n->in[W]);
    const int products = 1 + mla_op_differentiates(n, X) + mla_op_differentiates(n, W);
    const double bytes = (double)(mla_size(n->in[X]) + mla_size(n->in[W]));
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
    *at = (attributes){options->scale, claim_weight_gradient(n), mla_tape_step(tape)->precision};
    if (mla_op_differentiates(n, X) && !mla_tape_is_inference(tape)) mla_op_save(n, 0, mla_size(x));
    n->forward_scratch = workspace_size(n, at);
    return mla_op_finish(n, MLA_F32, 1, (int64_t[]){1});
}
