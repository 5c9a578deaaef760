#include "autograd/kernels/gemm_widened.h"
#include "autograd/base/bfloat16.h"
#include "autograd/kernels/rows.h"

#include <omp.h>
#include <stdlib.h>

/* A matrix as stored, and the elements from row to row of its widened copy; f32 needs none and has its own. */
typedef struct {
    int64_t rows, width, ld, wide_ld;
    bool widened;
} matrix;

struct mla_widened {
    mla_gemm_shape shape;
    const mla_widening_room *room;
    matrix a, b, c;
    const mla_onednn *product; /* in f32 */
    int threads;
};

static matrix stored(int64_t rows, int64_t columns, bool transposed, int64_t ld, mla_dtype type) {
    matrix m = {.rows = transposed ? columns : rows, .width = transposed ? rows : columns, .widened = type == MLA_BF16};
    m.ld = ld ? ld : m.width;
    m.wide_ld = !m.widened ? m.ld : m.width % 64 ? m.width : m.width + MLA_ROW_GAP;
    return m;
}

static int64_t floats_of(const matrix *m) { return m->widened ? m->rows * m->wide_ld : 0; }

static bool gemm_widened_make_room(mla_context *context, mla_widening_room *room, const mla_widened *w) {
    const int threads = mla_context_threads(context);
    const int64_t needed = floats_of(&w->a) + floats_of(&w->b) + floats_of(&w->c);
    if (!room->of_thread) {
        room->of_thread = mla_alloc(context, threads, sizeof *room->of_thread, "widened matrices");
        if (!room->of_thread) return false;
        room->threads = threads;
    }
    for (int i = 0; i < (w->shape.single_thread ? threads : 1); i++) {
        if (room->of_thread[i].count >= needed) continue;
        float *larger = mla_alloc(context, needed, sizeof *larger, "widened matrices");
        if (!larger) return false; /* what was planned before still has its room */
        free(room->of_thread[i].data);
        room->of_thread[i].data = larger;
        room->of_thread[i].count = needed;
    }
    return true;
}

static mla_widened widened_of(const mla_gemm_shape *s) {
    return (mla_widened){.shape = *s,
                         .a = stored(s->m, s->k, s->a_transposed, s->lda, s->a_type),
                         .b = stored(s->k, s->n, s->b_transposed, s->ldb, s->b_type),
                         .c = stored(s->m, s->n, false, s->ldc, s->c_type)};
}

mla_gemm_shape mla_widened_product(const mla_gemm_shape *shape) {
    const mla_widened w = widened_of(shape);
    mla_gemm_shape product = *shape;
    product.a_type = product.b_type = product.c_type = MLA_F32;
    product.lda = w.a.wide_ld;
    product.ldb = w.b.wide_ld;
    product.ldc = w.c.wide_ld;
    return product;
}

mla_widened *mla_widened_create(mla_context *context, mla_widening_room *room, const mla_gemm_shape *shape,
                                const mla_onednn *product) {
    mla_widened *w = mla_alloc(context, 1, sizeof *w, "a matrix product");
    if (!w) return NULL;
    *w = widened_of(shape);
    w->room = room;
    w->product = product;
    w->threads = mla_context_threads(context);
    if (gemm_widened_make_room(context, room, w)) return w;
    mla_widened_destroy(w);
    return NULL;
}

void mla_widened_destroy(mla_widened *w) { free(w); }

void mla_widening_room_free(mla_widening_room *room) {
    for (int i = 0; i < room->threads; i++) free(room->of_thread[i].data);
    free(room->of_thread);
}

/* ---- running ---- */

typedef enum { WIDEN, NARROW } direction;

static void convert_row(const matrix *m, direction way, int64_t i, const void *bf16, float *wide) {
    mla_bf16 *row = (mla_bf16 *)(uintptr_t)bf16 + i * m->ld;
    if (way == WIDEN) mla_widen(m->width, row, wide + i * m->wide_ld);
    else mla_narrow(m->width, wide + i * m->wide_ld, row);
}

static void convert(const mla_widened *w, const matrix *m, direction way, const void *bf16, float *wide) {
    if (w->shape.single_thread) {
        for (int64_t i = 0; i < m->rows; i++) convert_row(m, way, i, bf16, wide);
        return;
    }
    #pragma omp parallel for num_threads(w->threads) schedule(static)
    for (int64_t i = 0; i < m->rows; i++) convert_row(m, way, i, bf16, wide);
}

/* The matrix as f32: widened in `room`, or as it is. */
static const float *operand(const mla_widened *w, const matrix *m, const void *data, float *room) {
    if (!m->widened) return data;
    convert(w, m, WIDEN, data, room);
    return room;
}

void mla_widened_run(const mla_widened *w, const void *a, const void *b, void *c, const float *bias) {
    float *room_a = w->room->of_thread[w->shape.single_thread ? omp_get_thread_num() : 0].data;
    float *room_b = room_a + floats_of(&w->a), *wide_c = w->c.widened ? room_b + floats_of(&w->b) : c;
    if (w->c.widened && w->shape.accumulate) convert(w, &w->c, WIDEN, c, wide_c);
    mla_onednn_run(w->product, operand(w, &w->a, a, room_a), operand(w, &w->b, b, room_b), wide_c, bias);
    if (w->c.widened) convert(w, &w->c, NARROW, c, wide_c);
}
