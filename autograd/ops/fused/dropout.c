/* y = x m / (1-p),  m = 0 with probability p, else 1               Srivastava et al. 2014, in inverted form
 * dx = dy m / (1-p) */
#include "autograd/ops/fused/dropout.h"
#include "autograd/base/random.h"
#include "autograd/base/vecmath.h"
#include "autograd/ops.h"

MLA_VECTOR static void drop_piece(int64_t count, const float *uniform, float p, const float *base, const float *x,
                                  float *y) {
    const float scale = 1 / (1 - p);
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) y[j] = (uniform[j] < p ? 0 : x[j] * scale) + (base ? base[j] : 0);
}

void mla_drop(const mla_node *n, float p, const float *base, mla_values x, mla_grad_mode mode, mla_values y) {
    const mla_step *step = mla_tape_step(n->tape);
    const int64_t samples = n->out->shape[0], size = mla_count(n->out) / samples;
    #pragma omp parallel for num_threads(mla_op_threads(n)) collapse(2) schedule(static)
    for (int64_t sample = 0; sample < samples; sample++)
        for (int64_t from = 0; from < size; from += MLA_PIECE) {
            const mla_stream stream = mla_random_stream(step->seed, "dropout", step->step, mla_op_site(n),
                                                        (uint64_t)(step->first_sample + sample));
            const int64_t length = mla_piece(size, from), at = sample * size + from;
            float uniform[MLA_PIECE], buffer[2][MLA_PIECE], *out = mla_target(y, mode, at, buffer[1]);
            mla_random_uniform(stream, (uint64_t)from, length, uniform);
            drop_piece(length, uniform, p, base ? base + at : NULL, mla_load(x, at, length, buffer[0]), out);
            mla_store(y, mode, at, length, out);
        }
}

bool mla_drop_is_valid(float p) { return p >= 0 && p < 1; }

static void dropout_forward(const mla_node *n) {
    mla_drop(n, *(float *)n->attributes, NULL, mla_data(n->in[0]), MLA_SET, mla_data(n->out));
}

static void dropout_backward(const mla_node *n) {
    mla_drop(n, *(float *)n->attributes, NULL, mla_out_gradient(n), n->mode[0], mla_in_gradient(n, 0));
}

static const mla_op dropout = {
    .name = "dropout", .forward = dropout_forward, .backward = dropout_backward, .attributes = sizeof(float)};

mla_tensor *mla_dropout(mla_tape *tape, mla_tensor *x, float p) {
    mla_node *n = mla_op_begin_real(tape, &dropout, 1, &x);
    if (!n) return mla_inert(tape);
    if (!mla_drop_is_valid(p)) return mla_op_refuse(n, "p must be at least 0 and below 1, not %g", (double)p);
    if (p == 0 || !mla_tape_step(tape)->training) return x;
    *(float *)n->attributes = p;
    return mla_op_finish(n, x->dtype, x->ndim, x->shape);
}
