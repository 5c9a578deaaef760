/* A pair (a, b) of a head turns by its position's angle:  a' = a cos - b sin,  b' = a sin + b cos.
 * The turn is orthogonal: the gradient turns back, by the opposite angle. */
#include "autograd/ops.h"
#include "autograd/rows.h"
#include "autograd/vecmath.h"

typedef struct {
    mla_rope_table table;
    int64_t first_position;
} attributes;

typedef struct {
    const float *cosine, *sine; /* of one position */
    int64_t pairs;
    float direction; /* 1: forward, -1: back */
} angles;

MLA_VECTOR static void turn_neighbours(const angles *t, const float *x, mla_grad_mode mode, float *y) {
    const float *cosine = t->cosine, *sine = t->sine, direction = t->direction;
    MLA_SIMD
    for (int64_t i = 0; i < t->pairs; i++) {
        const float c = cosine[i], s = direction * sine[i], a = x[2 * i], b = x[2 * i + 1];
        mla_put(mode, y + 2 * i, a * c - b * s);
        mla_put(mode, y + 2 * i + 1, a * s + b * c);
    }
}

MLA_VECTOR static void turn_halves(const angles *t, const float *x, mla_grad_mode mode, float *y) {
    const float *cosine = t->cosine, *sine = t->sine, direction = t->direction;
    const int64_t half = t->pairs;
    MLA_SIMD
    for (int64_t i = 0; i < half; i++) {
        const float c = cosine[i], s = direction * sine[i], a = x[i], b = x[half + i];
        mla_put(mode, y + i, a * c - b * s);
        mla_put(mode, y + half + i, a * s + b * c);
    }
}

/* Turns all heads of one position: x and y (heads, width). */
static void turn_position(const mla_node *n, int64_t position, float direction, const float *x, mla_grad_mode mode,
                          float *y) {
    const mla_rope_table *table = &((const attributes *)n->attributes)->table;
    const int64_t heads = n->out->shape[2], width = n->out->shape[3], still = width - table->rotary;
    const angles t = {table->cosine + position * table->rotary / 2, table->sine + position * table->rotary / 2,
                      table->rotary / 2, direction};
    for (int64_t at = 0; at < heads * width; at += width) {
        mla_deliver(mode, still, x + at, y + at);
        if (table->interleaved) turn_neighbours(&t, x + at + still, mode, y + at + still);
        else turn_halves(&t, x + at + still, mode, y + at + still);
    }
}

static void turn_all(const mla_node *n, float direction, const float *x, mla_grad_mode mode, float *y) {
    const int64_t *shape = n->out->shape, size = shape[2] * shape[3];
    const int64_t first = ((const attributes *)n->attributes)->first_position;
    #pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < shape[0] * shape[1]; i++)
        turn_position(n, first + i % shape[1], direction, x + i * size, mode, y + i * size);
}

static void rope_forward(const mla_node *n) { turn_all(n, 1, n->in[0]->data, MLA_SET, n->out->data); }
static void rope_backward(const mla_node *n) { turn_all(n, -1, n->out->grad, n->mode[0], n->grad[0]); }

static const mla_op rope = {.name = "rope", .forward = rope_forward, .backward = rope_backward};

mla_tensor *mla_rope(mla_tape *tape, mla_tensor *x, const mla_rope_table *table, int64_t first_position) {
    mla_node *n = mla_op_begin_f32(tape, &rope, 1, &x);
    if (!n) return mla_inert(tape);
    if (x->ndim != 4) return mla_op_refuse(n, "x must be (B,T,H,W)");
    if (table->rotary < 2 || table->rotary % 2 || table->rotary > x->shape[3])
        return mla_op_refuse(n, "the rotary width %lld must be even and at most the width of x",
                             (long long)table->rotary);
    if (first_position < 0 || first_position > table->positions - x->shape[1])
        return mla_op_refuse(n, "positions %lld to %lld are not all within the table's %lld",
                             (long long)first_position, (long long)(first_position + x->shape[1] - 1),
                             (long long)table->positions);
    *(attributes *)mla_op_attributes(n, sizeof(attributes)) = (attributes){*table, first_position};
    return mla_op_finish(n, MLA_F32, 4, x->shape);
}
