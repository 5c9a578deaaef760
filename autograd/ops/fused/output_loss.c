/* loss = scale * sum over rows of (log sum exp z - z[target]),  z = x Wᵀ:  x (rows,D), W (V,D), targets (rows)
 * dz = scale * (softmax(z) - onehot(target)),  dx = dz W,  dW = dzᵀ x;  rows with target -1 count for nothing
 *
 * With a teacher whose logits are t (Hinton et al. 2015, "Distilling the knowledge in a neural network"), at
 * temperature T:
 *
 *     p = softmax(z/T), q = softmax(t/T):   loss = (1 - share) * the above + share T² scale * sum of q (log q - log p)
 *     dz = scale * ((1 - share) (softmax(z) - onehot(target)) + share T (p - q))
 *
 * Rows are taken in chunks, and a chunk's gradients are computed while its logits are there: forward writes dx
 * (saved) and adds to dW, which is right because the loss is where mla_backward starts, with gradient 1; backward
 * refuses any other.
 *
 * The products are of the step's precision; the logits and the softmax are f32 in any case. */
#include "autograd/base/vecmath.h"
#include "autograd/kernels/gemm.h"
#include "autograd/op.h"
#include "autograd/ops.h"
#include "autograd/packed_weight.h"

#include <string.h>

enum { X, W, TARGETS, TEACHER, TEACHER_W };

/* A chunk has about LOGITS logits, and so many rows. oneDNN multiplies fewer rows than FEWEST without packing, and for
 * a width of 512 fewer than 544, which is a third slower with AVX2. */
enum { LOGITS = 5 << 20, FEWEST = 288, MOST = 1024 };

typedef struct {
    float scale, share, temperature;
    double *divergence;
    mla_grad_mode dw;
    mla_dtype type; /* of what goes into the products */
    int64_t chunk;  /* rows */
} attributes;

/* What a chunk works with. */
typedef struct {
    double *row_loss, *row_divergence; /* (chunk) */
    float *z, *t;                      /* (chunk,V+MLA_ROW_GAP): logits, then their gradient; the teacher's */
    void *x, *teacher, *dz;            /* rounded to bf16 where the products want that: (chunk,D), (chunk,D), as z */
} workspace;

static int64_t stride_of(const mla_node *n) { return n->in[W]->shape[0] + MLA_ROW_GAP; }

/* All chunks but the last are equal, and that one is little smaller. */
static int64_t chunk_rows(int64_t rows, int64_t vocabulary) {
    const int64_t fit = LOGITS / vocabulary, most = fit < FEWEST ? FEWEST : fit > MOST ? MOST : fit;
    const int64_t chunks = (rows + most - 1) / most;
    return ((rows + chunks - 1) / chunks + 15) / 16 * 16;
}

static workspace workspace_at(const mla_node *n, void *scratch, int64_t *size) {
    const attributes *at = n->attributes;
    const int64_t half = at->type == MLA_BF16 ? at->chunk * (int64_t)mla_dtype_size(MLA_BF16) : 0;
    const int64_t stride = stride_of(n), logits = at->chunk * stride * (int64_t)sizeof(float);
    const int64_t losses = at->chunk * (int64_t)sizeof(double);
    const mla_tensor *teacher = n->in[TEACHER_W];
    const int64_t bytes[] = {losses,
                             losses,
                             logits,
                             teacher ? logits : 0,
                             half * n->in[W]->shape[1],
                             teacher ? half * teacher->shape[1] : 0,
                             mla_gemm_intermediate(at->type) == MLA_BF16 ? half * stride : 0};
    char *part[8] = {scratch};
    *size = 0;
    for (int i = 0; i < 7; i++) {
        *size += bytes[i];
        part[i + 1] = scratch ? part[0] + *size : NULL;
    }
    return (workspace){(double *)part[0], (double *)part[1], (float *)part[2], (float *)part[3],
                       part[4],           part[5],           part[6]};
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

MLA_VECTOR static float largest(int64_t count, const float *x) {
    float top = x[0];
    MLA_SIMD_MAX(top)
    for (int64_t j = 0; j < count; j++) top = x[j] > top ? x[j] : top;
    return top;
}

/* The same with the teacher's logits, which are used up. */
MLA_VECTOR static double distil_row(int64_t vocabulary, float *restrict z, float *restrict t, int32_t target,
                                    const attributes *at, double *divergence) {
    const float top = largest(vocabulary, z), top_t = largest(vocabulary, t), cold = 1 / at->temperature;
    const float at_target = z[target] - top, hard_scale = at->scale * (1 - at->share);
    float hard = 0, soft = 0, teacher = 0, cross = 0; /* sums of exponentials; of the teacher's times t - z */
    MLA_SIMD_SUM(hard, soft, teacher, cross)
    for (int64_t j = 0; j < vocabulary; j++) {
        const float of_t = cold * (t[j] - top_t), of_z = cold * (z[j] - top);
        t[j] = expf(of_t);
        hard += expf(z[j] - top);
        soft += expf(of_z);
        teacher += t[j];
        cross += t[j] * (of_t - of_z);
    }
    const float a = hard_scale / hard, b = at->scale * at->share * at->temperature / soft;
    const float c = at->scale * at->share * at->temperature / teacher;
    MLA_SIMD
    for (int64_t j = 0; j < vocabulary; j++) z[j] = a * expf(z[j] - top) + b * expf(cold * (z[j] - top)) - c * t[j];
    z[target] -= hard_scale;
    *divergence = (double)(cross / teacher) + (double)logf(soft) - (double)logf(teacher);
    const double square = (double)at->temperature * (double)at->temperature;
    return (1 - (double)at->share) * ((double)logf(hard) - (double)at_target) +
           (double)at->share * square * *divergence;
}

static void loss_of_row(const mla_node *n, int32_t target, int64_t i, const workspace *w) {
    const attributes *at = n->attributes;
    const int64_t vocabulary = n->in[W]->shape[0];
    float *z = w->z + i * stride_of(n);
    w->row_loss[i] = w->row_divergence[i] = 0;
    if (target < 0) memset(z, 0, (size_t)vocabulary * sizeof *z);
    else if (!n->in[TEACHER]) w->row_loss[i] = loss_row(vocabulary, z, target, at->scale);
    else w->row_loss[i] = distil_row(vocabulary, z, w->t + i * stride_of(n), target, at, &w->row_divergence[i]);
}

static double loss_of_chunk(const mla_node *n, int64_t begin, int64_t rows, const workspace *w) {
    const attributes *at = n->attributes;
    const int32_t *targets = (const int32_t *)n->in[TARGETS]->data + begin;
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < rows; i++) loss_of_row(n, targets[i], i, w);
    double sum = 0;
    for (int64_t i = 0; i < rows; i++) {
        sum += w->row_loss[i];
        if (at->divergence) *at->divergence += w->row_divergence[i];
    }
    return sum;
}

static bool targets_fit(const mla_node *n) {
    const int32_t *targets = n->in[TARGETS]->data;
    const int64_t vocabulary = n->in[W]->shape[0], count = mla_count(n->in[TARGETS]);
    for (int64_t i = 0; i < count; i++)
        if (targets[i] < -1 || targets[i] >= vocabulary) {
            mla_fail(mla_tape_context(n->tape), MLA_ERROR_ARGUMENT,
                     "output_loss: target %d at place %lld is not in the vocabulary of %lld (or -1): is the token file "
                     "made with another tokenizer?",
                     targets[i], (long long)i, (long long)vocabulary);
            return false;
        }
    return true;
}

/* The logits of rows begin ... of an input, whose weight comes after it. Returns the rows as they went into the
 * product. */
static const void *project(const mla_node *n, int input, int64_t begin, int64_t rows, void *rounded, float *z) {
    mla_context *context = mla_tape_context(n->tape);
    const mla_tensor *w = n->in[input + 1];
    const mla_dtype type = ((const attributes *)n->attributes)->type;
    const mla_gemm_shape shape = {.m = rows,
                                  .n = w->shape[0],
                                  .k = w->shape[1],
                                  .b_transposed = true,
                                  .ldc = stride_of(n),
                                  .a_type = type,
                                  .b_type = type};
    const mla_values x = mla_beyond(mla_data(n->in[input]), begin * w->shape[1]);
    if (x.type != type) mla_narrow_all(context, rows * w->shape[1], x.data, rounded);
    const void *in = x.type == type ? x.data : rounded;
    mla_multiply_by_weight(context, &shape, in, w, z, NULL);
    return in;
}

/* The gradients of a chunk, from dz in w->z. */
static void chunk_gradients(const mla_node *n, int64_t begin, int64_t rows, const void *x, const workspace *w) {
    mla_context *context = mla_tape_context(n->tape);
    const attributes *at = n->attributes;
    const int64_t vocabulary = n->in[W]->shape[0], width = n->in[W]->shape[1];
    const mla_dtype type = at->type, dz_type = mla_gemm_intermediate(type), x_type = n->in[X]->dtype;
    const mla_gemm_shape dx = {.m = rows,
                               .n = width,
                               .k = vocabulary,
                               .lda = stride_of(n),
                               .a_type = dz_type,
                               .b_type = type,
                               .c_type = x_type};
    const mla_gemm_shape dw = {.m = vocabulary,
                               .n = width,
                               .k = rows,
                               .a_transposed = true,
                               .lda = stride_of(n),
                               .a_type = dz_type,
                               .b_type = type,
                               .accumulate = begin > 0 || at->dw == MLA_ADD};
    if (!n->saved[0] && !at->dw) return;
    if (dz_type == MLA_BF16) mla_narrow_all(context, rows * stride_of(n), w->z, w->dz);
    const void *dz = dz_type == MLA_BF16 ? w->dz : w->z;
    if (n->saved[0])
        mla_multiply_by_weight(context, &dx, dz, n->in[W],
                               mla_beyond((mla_values){n->saved[0], x_type}, begin * width).data, NULL);
    if (at->dw) mla_gemm_now(context, &dw, dz, x, n->in[W]->grad, NULL);
}

static void output_loss_forward(const mla_node *n) {
    const attributes *at = n->attributes;
    const int64_t rows = mla_rows(n->in[X]);
    int64_t size;
    const workspace w = workspace_at(n, n->scratch, &size);
    double sum = 0;
    if (!mla_op_operand(n, W, at->type) || (n->in[TEACHER] && !mla_op_operand(n, TEACHER_W, at->type))) return;
    if (!targets_fit(n)) return;
    for (int64_t begin = 0; begin < rows; begin += at->chunk) {
        const int64_t count = rows - begin < at->chunk ? rows - begin : at->chunk;
        const void *x = project(n, X, begin, count, w.x, w.z);
        if (n->in[TEACHER]) project(n, TEACHER, begin, count, w.teacher, w.t);
        sum += loss_of_chunk(n, begin, count, &w);
        chunk_gradients(n, begin, count, x, &w);
    }
    *(float *)n->out->data = (float)(sum * (double)at->scale);
}

static void output_loss_backward(const mla_node *n) {
    const int64_t rows = mla_rows(n->in[X]), width = mla_width(n->in[X]);
    const mla_values from = {n->saved[0], n->in[X]->dtype};
    if (*(const float *)n->out->grad != 1)
        mla_fail(
            mla_tape_context(n->tape), MLA_ERROR_ARGUMENT,
            "output_loss: its result was scaled; its gradients are computed already, so set options.scale instead");
    const mla_block_move all = {rows, width, width, width};
    mla_move_blocks(mla_tape_context(n->tape), n->mode[X], &all, from, mla_in_gradient(n, X));
}

static mla_cost output_loss_cost(const mla_node *n) {
    const double product = 2 * (double)mla_rows(n->in[X]) * (double)mla_count(n->in[W]);
    const int products = 1 + mla_op_differentiates(n, X) + mla_op_differentiates(n, W);
    const double bytes = (double)(mla_size(n->in[X]) + mla_size(n->in[W]));
    const double teacher = n->in[TEACHER] ? 2 * (double)mla_rows(n->in[X]) * (double)mla_count(n->in[TEACHER_W]) : 0;
    const int64_t chunk = ((const attributes *)n->attributes)->chunk, width = n->in[W]->shape[1];
    const int64_t elements = mla_count(n->in[W]) + chunk * width; /* logits are f32 already */
    return (mla_cost){.forward_flops = product * products + teacher,
                      .forward_bytes = bytes * products,
                      .widened_bytes = (double)elements * sizeof(float)};
}

static const mla_op output_loss = {.name = "output_loss",
                                   .forward = output_loss_forward,
                                   .backward = output_loss_backward,
                                   .cost = output_loss_cost,
                                   .attributes = sizeof(attributes)};
static const mla_op with_dw = {.name = "output_loss",
                               .forward = output_loss_forward,
                               .backward = output_loss_backward,
                               .cost = output_loss_cost,
                               .attributes = sizeof(attributes),
                               .early = true};

/* dW is written by forward: the engine is told so by has_grad, and finds nothing left to do in backward. */
static mla_grad_mode claim_weight_gradient(const mla_node *n) {
    mla_tensor *w = n->in[W];
    if (mla_tape_is_inference(n->tape) || !w->needs_grad) return MLA_SKIP;
    const mla_grad_mode mode = w->has_grad ? MLA_ADD : MLA_SET;
    w->has_grad = true;
    return mode;
}

static bool fits_step(const mla_node *n, const mla_tensor *x) {
    return x->dtype == MLA_F32 || x->dtype == mla_tape_step(n->tape)->precision;
}

static const char *output_loss_misfit(const mla_node *n) {
    const mla_tensor *x = n->in[X], *w = n->in[W], *targets = n->in[TARGETS];
    if (w->ndim != 2 || w->dtype == MLA_I32 || mla_width(x) != w->shape[1])
        return "the weight must be (V,D) f32 or bf16 with D the width of x";
    if (targets->dtype != MLA_I32 || mla_count(targets) != mla_rows(x))
        return "the targets must be i32, one for each row of x";
    if (w->needs_grad && !w->is_parameter) return "the weight must be a parameter, or need no gradient";
    return fits_step(n, x) ? NULL : "x must be f32, or bf16 in a step of bf16";
}

static const char *teacher_misfit(const mla_node *n, const mla_output_loss_options *o) {
    const mla_tensor *x = n->in[TEACHER], *w = n->in[TEACHER_W];
    if (!x) return NULL;
    if (!fits_step(n, x)) return "what comes from the teacher must be f32, or bf16 in a step of bf16";
    if (!w || w->ndim != 2 || mla_width(x) != w->shape[1])
        return "the teacher's weight must be as wide as what it gets";
    if (w->shape[0] != n->in[W]->shape[0]) return "the teacher must have the same vocabulary";
    if (mla_rows(x) != mla_rows(n->in[X])) return "the teacher must have a row for each row of x";
    if (x->needs_grad || w->needs_grad) return "the teacher must need no gradient";
    const bool fits = o->share >= 0 && o->share <= 1 && o->temperature > 0;
    return fits ? NULL : "a teacher needs a share from 0 to 1 and a temperature above 0";
}

mla_tensor *mla_output_loss(mla_tape *tape, mla_tensor *x, mla_tensor *weight, mla_tensor *targets,
                            const mla_output_loss_options *o) {
    mla_tensor *const in[] = {x, weight, targets, o->teacher, o->teacher_weight};
    mla_node *n = mla_op_begin(tape, &output_loss, 5, in);
    if (!n) return mla_inert(tape);
    const char *why = output_loss_misfit(n);
    if (!why) why = teacher_misfit(n, o);
    if (why) return mla_op_refuse(n, "%s", why);
    attributes *at = n->attributes;
    *at = (attributes){o->scale,
                       o->share,
                       o->temperature,
                       o->divergence,
                       claim_weight_gradient(n),
                       mla_tape_step(tape)->precision,
                       chunk_rows(mla_rows(x), weight->shape[0])};
    if (at->dw) n->op = &with_dw;
    if (mla_op_differentiates(n, X) && !mla_tape_is_inference(tape)) mla_op_save(n, 0, mla_size(x));
    workspace_at(n, NULL, &n->forward_scratch);
    return mla_op_finish(n, MLA_F32, 1, (int64_t[]){1});
}
