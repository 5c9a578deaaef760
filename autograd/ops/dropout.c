/* y = x m / (1-p),  m = 0 with probability p, else 1               Srivastava et al. 2014, in inverted form
 * dx = dy m / (1-p) */
#include "autograd/ops/dropout.h"
#include "autograd/ops.h"
#include "autograd/random.h"
#include "autograd/rows.h"
#include "autograd/vecmath.h"

MLA_VECTOR static void drop_piece(int64_t count, const float *uniform, float p, const float *x, mla_grad_mode mode,
                                  float *y) {
    const float scale = 1 / (1 - p);
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) mla_put(mode, y + j, uniform[j] < p ? 0 : x[j] * scale);
}

void mla_drop(const mla_node *n, float p, const float *base, const float *x, mla_grad_mode mode, float *y) {
    const mla_step *step = mla_tape_step(n->tape);
    const int64_t samples = n->out->shape[0], size = mla_count(n->out) / samples;
    #pragma omp parallel for collapse(2) schedule(static)
    for (int64_t sample = 0; sample < samples; sample++)
        for (int64_t from = 0; from < size; from += MLA_PIECE) {
            const mla_stream stream = mla_random_stream(step->seed, "dropout", step->step, mla_op_site(n),
                                                        (uint64_t)(step->first_sample + sample));
            const int64_t length = mla_piece(size, from), at = sample * size + from;
            float uniform[MLA_PIECE];
            mla_random_uniform(stream, (uint64_t)from, length, uniform);
            if (base) mla_deliver(mode, length, base + at, y + at);
            drop_piece(length, uniform, p, x + at, base ? MLA_ADD : mode, y + at);
        }
}

bool mla_drop_is_valid(float p) { return p >= 0 && p < 1; }

static void dropout_forward(const mla_node *n) {
    mla_drop(n, *(float *)n->attributes, NULL, n->in[0]->data, MLA_SET, n->out->data);
}

static void dropout_backward(const mla_node *n) {
    mla_drop(n, *(float *)n->attributes, NULL, n->out->grad, n->mode[0], n->grad[0]);
}

static const mla_op dropout = {.name = "dropout", .forward = dropout_forward, .backward = dropout_backward};

mla_tensor *mla_dropout(mla_tape *tape, mla_tensor *x, float p) {
    mla_node *n = mla_op_begin_f32(tape, &dropout, 1, &x);
    if (!n) return mla_inert(tape);
    if (!mla_drop_is_valid(p)) return mla_op_refuse(n, "p must be at least 0 and below 1, not %g", (double)p);
    if (p == 0 || !mla_tape_step(tape)->training) return x;
    *(float *)mla_op_attributes(n, sizeof p) = p;
    return mla_op_finish(n, MLA_F32, x->ndim, x->shape);
}
