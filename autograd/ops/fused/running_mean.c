/* y[t] = mean of x[s], s = starts[t] ... t, the part of t's document that it sees:  x, y (B,T,D)
 * dx[s] = sum over t >= s of the same document of dy[t] / (t - starts[t] + 1) */
#include "autograd/op.h"
#include "autograd/ops.h"

enum { COLUMNS = 64 }; /* that a thread takes at once */

typedef struct {
    const int32_t *starts;
} attributes;

/* Columns from, from + 1, ... of sequence b. */
typedef struct {
    int64_t b, from, count;
} stripe;

static int64_t start_of(const mla_node *n, int64_t b, int64_t t) {
    const int32_t *starts = ((const attributes *)n->attributes)->starts;
    return starts ? starts[b * n->out->shape[1] + t] : 0;
}

static void average(const mla_node *n, const stripe *s) {
    const int64_t length = n->out->shape[1], width = n->out->shape[2];
    float sum[COLUMNS] = {0}, buffer[COLUMNS];
    for (int64_t t = 0; t < length; t++) {
        const int64_t at = (s->b * length + t) * width + s->from, start = start_of(n, s->b, t);
        const float *x = mla_load(mla_data(n->in[0]), at, s->count, buffer), share = 1 / (float)(t - start + 1);
        float *y = (float *)n->out->data + at;
        for (int64_t j = 0; j < s->count; j++) {
            sum[j] = (t == start ? 0 : sum[j]) + x[j];
            y[j] = sum[j] * share;
        }
    }
}

/* From the last position to the first; a sum ends where its document begins. */
static void spread(const mla_node *n, const stripe *s) {
    const int64_t length = n->out->shape[1], width = n->out->shape[2];
    float sum[COLUMNS] = {0}, buffer[COLUMNS];
    for (int64_t t = length - 1; t >= 0; t--) {
        const int64_t at = (s->b * length + t) * width + s->from, start = start_of(n, s->b, t);
        const float *dy = (const float *)n->out->grad + at, share = 1 / (float)(t - start + 1);
        float *dx = mla_target(mla_in_gradient(n, 0), n->mode[0], at, buffer);
        for (int64_t j = 0; j < s->count; j++) dx[j] = sum[j] += dy[j] * share;
        mla_store(mla_in_gradient(n, 0), n->mode[0], at, s->count, dx);
        for (int64_t j = 0; j < s->count && t == start; j++) sum[j] = 0;
    }
}

static void each_stripe(const mla_node *n, void (*pass)(const mla_node *n, const stripe *s)) {
    const int64_t width = n->out->shape[2];
    #pragma omp parallel for num_threads(mla_op_threads(n)) collapse(2) schedule(static)
    for (int64_t b = 0; b < n->out->shape[0]; b++)
        for (int64_t from = 0; from < width; from += COLUMNS)
            pass(n, &(stripe){b, from, width - from < COLUMNS ? width - from : COLUMNS});
}

static void running_mean_forward(const mla_node *n) { each_stripe(n, average); }

static void running_mean_backward(const mla_node *n) { each_stripe(n, spread); }

static const mla_op running_mean = {.name = "running_mean",
                                    .forward = running_mean_forward,
                                    .backward = running_mean_backward,
                                    .attributes = sizeof(attributes)};

mla_tensor *mla_running_mean(mla_tape *tape, mla_tensor *x, const int32_t *starts) {
    mla_node *n = mla_op_begin_real(tape, &running_mean, 1, &x);
    if (!n) return mla_inert(tape);
    if (x->ndim != 3) return mla_op_refuse(n, "x must be (B,T,D)");
    *(attributes *)n->attributes = (attributes){starts};
    return mla_op_finish(n, MLA_F32, x->ndim, x->shape);
}
