/* y[i ...] = x[j ...] with i_d = j_order(d); the gradient goes by the inverse order. */
#include "autograd/base/vecmath.h"
#include "autograd/op.h"
#include "autograd/ops.h"

/* For each dimension of the result, which dimension of the source it is, forward and backward; padded at the
 * front to four. */
typedef struct {
    int order[MLA_MAX_DIMS], inverse[MLA_MAX_DIMS];
} attributes;

typedef struct {
    int64_t length[MLA_MAX_DIMS], stride[MLA_MAX_DIMS]; /* of the result's dimensions, in the source */
} walk;

/* `shape` is the source's, of ndim dimensions. */
static walk plan_walk(int ndim, const int64_t *shape, const int *order) {
    walk w;
    int64_t length[MLA_MAX_DIMS], stride[MLA_MAX_DIMS], next = 1;
    for (int d = MLA_MAX_DIMS - 1; d >= 0; d--) {
        const int own = d - (MLA_MAX_DIMS - ndim);
        length[d] = own < 0 ? 1 : shape[own];
        stride[d] = next;
        next *= length[d];
    }
    for (int d = 0; d < MLA_MAX_DIMS; d++) {
        w.length[d] = length[order[d]];
        w.stride[d] = stride[order[d]];
    }
    return w;
}

/* Columns are taken in strips, so that a line of the cache, once read, serves all rows that need it. */
enum { STRIP = 16 };

/* y (rows, width), of which `count` columns are written; x has its own strides for both. */
MLA_VECTOR static void collect_strip(const walk *w, int64_t count, const float *x, mla_grad_mode mode, float *y) {
    const int64_t rows = w->length[2], width = w->length[3], down = w->stride[2], right = w->stride[3];
    for (int64_t k = 0; k < rows; k++) {
        MLA_SIMD
        for (int64_t j = 0; j < count; j++) mla_put(mode, y + k * width + j, x[k * down + j * right]);
    }
}

static void move(const mla_node *n, const walk *w, const float *x, mla_grad_mode mode, float *y) {
    const int64_t *length = w->length, *stride = w->stride;
    const int64_t strip = stride[3] == 1 ? length[3] : STRIP;
    #pragma omp parallel for num_threads(mla_op_threads(n)) collapse(3) schedule(static)
    for (int64_t i = 0; i < length[0]; i++)
        for (int64_t j = 0; j < length[1]; j++)
            for (int64_t from = 0; from < length[3]; from += strip)
                collect_strip(w, length[3] - from < strip ? length[3] - from : strip,
                              x + i * stride[0] + j * stride[1] + from * stride[3], mode,
                              y + (i * length[1] + j) * length[2] * length[3] + from);
}

static void transpose_forward(const mla_node *n) {
    const walk w = plan_walk(n->in[0]->ndim, n->in[0]->shape, ((attributes *)n->attributes)->order);
    move(n, &w, n->in[0]->data, MLA_SET, n->out->data);
}

static void transpose_backward(const mla_node *n) {
    const walk w = plan_walk(n->out->ndim, n->out->shape, ((attributes *)n->attributes)->inverse);
    move(n, &w, n->out->grad, n->mode[0], n->grad[0]);
}

static const mla_op transpose = {.name = "transpose",
                                 .forward = transpose_forward,
                                 .backward = transpose_backward,
                                 .attributes = sizeof(attributes)};

mla_tensor *mla_transpose(mla_tape *tape, mla_tensor *x, const int *order) {
    mla_node *n = mla_op_begin_f32(tape, &transpose, 1, &x);
    if (!n) return mla_inert(tape);
    const int padding = MLA_MAX_DIMS - x->ndim;
    attributes *a = n->attributes;
    int64_t shape[MLA_MAX_DIMS];
    unsigned seen = 0;
    for (int d = 0; d < padding; d++) a->order[d] = a->inverse[d] = d;
    for (int d = 0; d < x->ndim; d++) {
        if (order[d] < 0 || order[d] >= x->ndim || seen >> order[d] & 1)
            return mla_op_refuse(n, "the order must name each dimension of x once");
        seen |= 1u << order[d];
        shape[d] = x->shape[order[d]];
        a->order[padding + d] = padding + order[d];
        a->inverse[padding + order[d]] = padding + d;
    }
    return mla_op_finish(n, MLA_F32, x->ndim, shape);
}
