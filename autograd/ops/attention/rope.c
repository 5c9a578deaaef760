/* A pair (a, b) of a head turns by its position's angle:  a' = a cos - b sin,  b' = a sin + b cos.
 * The turn is orthogonal: the gradient turns back, by the opposite angle. */
#include "autograd/base/vecmath.h"
#include "autograd/op.h"
#include "autograd/ops.h"

#include <string.h>

typedef struct {
    mla_rope_table table;
    int64_t first_position;
    const int64_t *positions; /* of each sequence, the caller's, there during forward; NULL: the first for all */
} attributes;

/* The table whose angles turn a text of this length. */
static mla_rope_table for_length(const mla_rope_table *table, int64_t length) {
    mla_rope_table out = *table;
    if (table->original && length > table->original) {
        out.cosine = table->long_cosine;
        out.sine = table->long_sine;
    }
    return out;
}

typedef struct {
    const float *cosine, *sine; /* of one position */
    int64_t pairs;
    float direction; /* 1: forward, -1: back */
} angles;

MLA_VECTOR static void turn_neighbours(const angles *t, const float *x, float *y) {
    const float *cosine = t->cosine, *sine = t->sine, direction = t->direction;
    MLA_SIMD
    for (int64_t i = 0; i < t->pairs; i++) {
        const float c = cosine[i], s = direction * sine[i], a = x[2 * i], b = x[2 * i + 1];
        y[2 * i] = a * c - b * s;
        y[2 * i + 1] = a * s + b * c;
    }
}

MLA_VECTOR static void turn_halves(const angles *t, const float *x, float *y) {
    const float *cosine = t->cosine, *sine = t->sine, direction = t->direction;
    const int64_t half = t->pairs;
    MLA_SIMD
    for (int64_t i = 0; i < half; i++) {
        const float c = cosine[i], s = direction * sine[i], a = x[i], b = x[half + i];
        y[i] = a * c - b * s;
        y[half + i] = a * s + b * c;
    }
}

/* Turns all heads of one position: x and y (heads, width). */
static void turn_position(const mla_node *n, const mla_rope_table *table, int64_t position, float direction,
                          const float *x, float *y) {
    const int64_t heads = n->out->shape[2], width = n->out->shape[3], still = width - table->rotary;
    const angles t = {table->cosine + position * table->rotary / 2, table->sine + position * table->rotary / 2,
                      table->rotary / 2, direction};
    for (int64_t at = 0; at < heads * width; at += width) {
        memcpy(y + at, x + at, (size_t)still * sizeof *y);
        if (table->interleaved) turn_neighbours(&t, x + at + still, y + at + still);
        else turn_halves(&t, x + at + still, y + at + still);
    }
}

static void turn_all(const mla_node *n, float direction, mla_values x, mla_grad_mode mode, mla_values y) {
    const int64_t *shape = n->out->shape, size = shape[2] * shape[3];
    const attributes *at = n->attributes;
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < shape[0] * shape[1]; i++) {
        float *buffer = mla_thread_rows(n->scratch, 2, size), *turned = mla_target(y, mode, i * size, buffer + size);
        const int64_t *own = at->positions ? &at->positions[i / shape[1]] : NULL;
        const mla_rope_table table = own ? for_length(&at->table, *own + shape[1]) : at->table;
        turn_position(n, &table, (own ? *own : at->first_position) + i % shape[1], direction,
                      mla_load(x, i * size, size, buffer), turned);
        mla_store(y, mode, i * size, size, turned);
    }
}

static void rope_forward(const mla_node *n) { turn_all(n, 1, mla_data(n->in[0]), MLA_SET, mla_data(n->out)); }
static void rope_backward(const mla_node *n) {
    turn_all(n, -1, mla_out_gradient(n), n->mode[0], mla_in_gradient(n, 0));
}

static const mla_op rope = {
    .name = "rope", .forward = rope_forward, .backward = rope_backward, .attributes = sizeof(attributes)};

/* For decoding: the positions are not there any more when backward would run. */
static const mla_op rope_each = {.name = "rope_each", .forward = rope_forward, .attributes = sizeof(attributes)};

/* Begins a node whose x the table fits; NULL after an error. */
static mla_node *rope_begin(mla_tape *tape, const mla_op *op, mla_tensor *x, const mla_rope_table *table) {
    mla_node *n = mla_op_begin_real(tape, op, 1, &x);
    if (!n) return NULL;
    if (x->ndim != 4) return mla_op_refuse(n, "x must be (B,T,H,W)"), NULL;
    if (table->rotary < 2 || table->rotary % 2 || table->rotary > x->shape[3])
        return mla_op_refuse(n, "the rotary width %lld must be even and at most the width of x",
                             (long long)table->rotary),
               NULL;
    n->forward_scratch = n->backward_scratch = mla_thread_rows_size(mla_tape_context(tape), 2,
                                                                    x->shape[2] * x->shape[3]);
    return n;
}

static bool has_positions(const mla_rope_table *table, int64_t first, int64_t count) {
    return first >= 0 && first <= table->positions - count;
}

static mla_tensor *refuse_positions(mla_node *n, const mla_rope_table *table, int64_t first, int64_t count) {
    return mla_op_refuse(n, "positions %lld to %lld are not all within the table's %lld", (long long)first,
                         (long long)(first + count - 1), (long long)table->positions);
}

mla_tensor *mla_rope(mla_tape *tape, mla_tensor *x, const mla_rope_table *table, int64_t first_position) {
    mla_node *n = rope_begin(tape, &rope, x, table);
    if (!n) return mla_inert(tape);
    if (!has_positions(table, first_position, x->shape[1]))
        return refuse_positions(n, table, first_position, x->shape[1]);
    *(attributes *)n->attributes = (attributes){for_length(table, first_position + x->shape[1]), first_position, NULL};
    return mla_op_finish(n, x->dtype, 4, x->shape);
}

mla_tensor *mla_rope_each(mla_tape *tape, mla_tensor *x, const mla_rope_table *table, const int64_t *positions) {
    mla_node *n = rope_begin(tape, &rope_each, x, table);
    if (!n) return mla_inert(tape);
    for (int64_t b = 0; b < x->shape[0]; b++)
        if (!has_positions(table, positions[b], x->shape[1]))
            return refuse_positions(n, table, positions[b], x->shape[1]);
    *(attributes *)n->attributes = (attributes){*table, 0, positions};
    return mla_op_finish(n, x->dtype, 4, x->shape);
}
