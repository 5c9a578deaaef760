/* How far each sequence b of x is from y, as a share of y's size, over the rows t that count:    x, y (B,T,D)
 *
 *     e = sum over b of v_b e_b / sum over b of v_b,   v_b: rows of b that count
 *     e_b = sum over t of |x_t - y_t|² / sum over t of |y_t|²,   0 where y is
 *     dx_t = 2 c_b (x_t - y_t),   c_b = v_b / (sum of v  sum over t of |y_t|²) */
#include "autograd/base/vecmath.h"
#include "autograd/op.h"
#include "autograd/ops.h"

enum { X, Y, TARGETS };
enum { C }; /* saved, one per sequence */

/* Of a row or a sequence: squares, and how many rows count. */
typedef struct {
    double error, size, rows;
} sums;

static int64_t rows_each(const mla_node *n) { return n->in[X]->shape[1]; }
static bool counts(const mla_node *n, int64_t row) { return ((const int32_t *)n->in[TARGETS]->data)[row] >= 0; }

MLA_VECTOR static void measure_row(int64_t width, const float *x, const float *y, float *error, float *size) {
    float of_error = 0, of_size = 0;
    MLA_SIMD_SUM(of_error, of_size)
    for (int64_t j = 0; j < width; j++) {
        of_error += (x[j] - y[j]) * (x[j] - y[j]);
        of_size += y[j] * y[j];
    }
    *error = of_error, *size = of_size;
}

static sums measure(const mla_node *n, int64_t b, float *buffer) {
    const int64_t width = mla_width(n->in[X]), rows = rows_each(n);
    sums s = {0};
    for (int64_t i = b * rows; i < (b + 1) * rows; i++) {
        float error, size;
        if (!counts(n, i)) continue;
        measure_row(width, mla_load(mla_data(n->in[X]), i * width, width, buffer),
                    mla_load(mla_data(n->in[Y]), i * width, width, buffer + width), &error, &size);
        s = (sums){s.error + (double)error, s.size + (double)size, s.rows + 1};
    }
    return s;
}

static void relative_error_forward(const mla_node *n) {
    const int64_t count = n->in[X]->shape[0], width = mla_width(n->in[X]);
    double all = 0, error = 0;
    float *c = n->saved[C];
    sums *of = n->scratch;
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t b = 0; b < count; b++) of[b] = measure(n, b, mla_thread_rows(of + count, 2, width));
    for (int64_t b = 0; b < count; b++) all += of[b].rows;
    for (int64_t b = 0; b < count; b++) {
        c[b] = of[b].size > 0 ? (float)(of[b].rows / (all * of[b].size)) : 0;
        error += of[b].size > 0 ? of[b].rows / all * (of[b].error / of[b].size) : 0;
    }
    *(float *)n->out->data = (float)error;
}

MLA_VECTOR static void gradient_row(int64_t width, float factor, const float *x, const float *y, float *dx) {
    MLA_SIMD
    for (int64_t j = 0; j < width; j++) dx[j] = factor * (x[j] - y[j]);
}

static void relative_error_backward(const mla_node *n) {
    const int64_t rows = mla_rows(n->in[X]), width = mla_width(n->in[X]);
    const float *c = n->saved[C], twice = 2 * *(const float *)n->out->grad;
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < rows; i++) {
        float *buffer = mla_thread_rows(n->scratch, 3, width);
        float *dx = mla_target(mla_in_gradient(n, X), n->mode[X], i * width, buffer);
        gradient_row(width, counts(n, i) ? twice * c[i / rows_each(n)] : 0,
                     mla_load(mla_data(n->in[X]), i * width, width, buffer + width),
                     mla_load(mla_data(n->in[Y]), i * width, width, buffer + 2 * width), dx);
        mla_store(mla_in_gradient(n, X), n->mode[X], i * width, width, dx);
    }
}

static const mla_op relative_error = {.name = "relative_error",
                                      .forward = relative_error_forward,
                                      .backward = relative_error_backward,
                                      .keeps = MLA_INPUT(X) | MLA_INPUT(Y) | MLA_INPUT(TARGETS)};

mla_tensor *mla_relative_error(mla_tape *tape, mla_tensor *x, mla_tensor *y, mla_tensor *targets) {
    mla_node *n = mla_op_begin(tape, &relative_error, 3, (mla_tensor *[]){x, y, targets});
    if (!n) return mla_inert(tape);
    if (x->dtype == MLA_I32 || y->dtype == MLA_I32) return mla_op_refuse(n, "x and y must be f32 or bf16");
    if (x->ndim != 3 || !mla_same_shape(x, y)) return mla_op_refuse(n, "x and y must be (B,T,D), of one shape");
    if (targets->dtype != MLA_I32 || mla_count(targets) != mla_rows(x))
        return mla_op_refuse(n, "the targets must be i32, one a row");
    if (y->needs_grad) return mla_op_refuse(n, "y must need no gradient");
    mla_op_save(n, C, x->shape[0] * (int64_t)sizeof(float));
    n->forward_scratch = x->shape[0] * (int64_t)sizeof(sums) +
                         mla_thread_rows_size(mla_tape_context(tape), 2, mla_width(x));
    n->backward_scratch = mla_thread_rows_size(mla_tape_context(tape), 3, mla_width(x));
    return mla_op_finish(n, MLA_F32, 1, (int64_t[]){1});
}
