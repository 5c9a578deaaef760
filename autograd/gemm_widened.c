#include "autograd/gemm_widened.h"
#include "autograd/bfloat16.h"
#include "autograd/rows.h"

#include <omp.h>
#include <stdlib.h>

/* Rows of A, as they are stored, that are widened at a time. */
enum { PIECE_ROWS = 2048 };

/* A matrix as stored, and the elements from row to row of its widened copy. */
typedef struct {
    int64_t rows, width, ld, wide_ld;
} matrix;

/* A is cut by its rows. Where they are those of C, so is C; where A is transposed they are summed over, and B is cut
 * with it. */
struct mla_widened {
    mla_gemm_shape shape;
    const mla_widening_room *room;
    matrix a, b, c;
    int64_t piece;                          /* rows of A in one, but perhaps in the last */
    const mla_gemm *first, *further, *last; /* the products of a first piece, of those after it, of the last of several */
};

static matrix stored(int64_t rows, int64_t columns, bool transposed, int64_t ld) {
    const int64_t width = transposed ? rows : columns;
    return (matrix){.rows = transposed ? columns : rows, .width = width, .ld = ld ? ld : width,
                    .wide_ld = width % 64 ? width : width + MLA_ROW_GAP};
}

static int64_t floats_of(const matrix *m, int64_t rows) { return rows * m->wide_ld; }

static bool cuts_b(const mla_widened *w) { return w->shape.a_transposed && !w->shape.b_transposed; }

/* Rows that are widened at a time. */
static int64_t rows_of_b(const mla_widened *w) { return cuts_b(w) ? w->piece : w->b.rows; }
static int64_t rows_of_c(const mla_widened *w) { return w->shape.a_transposed ? w->c.rows : w->piece; }

static bool make_room(mla_context *context, mla_widening_room *room, const mla_widened *w) {
    const int threads = mla_context_threads(context);
    const int64_t c = w->shape.c_type == MLA_BF16 ? floats_of(&w->c, rows_of_c(w)) : 0;
    const int64_t needed = floats_of(&w->a, w->piece) + floats_of(&w->b, rows_of_b(w)) + c;
    if (!room->of_thread) {
        room->of_thread = mla_alloc(context, threads, sizeof *room->of_thread, "widened matrices");
        room->floats = mla_alloc(context, threads, sizeof *room->floats, "widened matrices");
        if (!room->of_thread || !room->floats) return false;
        room->threads = threads;
    }
    for (int i = 0; i < (w->shape.single_thread ? threads : 1); i++) {
        if (room->floats[i] >= needed) continue;
        free(room->of_thread[i]);
        room->of_thread[i] = mla_alloc(context, needed, sizeof(float), "widened matrices");
        room->floats[i] = room->of_thread[i] ? needed : 0;
        if (!room->of_thread[i]) return false;
    }
    return true;
}

/* The product of `rows` rows of A, as f32. */
static const mla_gemm *plan(mla_context *context, const mla_widened *w, int64_t rows, bool first) {
    mla_gemm_shape s = w->shape;
    *(s.a_transposed ? &s.k : &s.m) = rows;
    s.lda = w->a.wide_ld;
    s.ldb = w->b.wide_ld;
    s.ldc = s.c_type == MLA_BF16 ? w->c.wide_ld : w->c.ld;
    s.a_type = s.b_type = s.c_type = MLA_F32;
    if (s.a_transposed && !first) s.accumulate = true, s.bias = false;
    return mla_gemm_plan(context, &s);
}

mla_widened *mla_widened_create(mla_context *context, mla_widening_room *room, const mla_gemm_shape *s) {
    mla_widened *w = mla_alloc(context, 1, sizeof *w, "a matrix product");
    if (!w) return NULL;
    *w = (mla_widened){.shape = *s, .room = room, .a = stored(s->m, s->k, s->a_transposed, s->lda),
                       .b = stored(s->k, s->n, s->b_transposed, s->ldb), .c = stored(s->m, s->n, false, s->ldc)};
    const bool whole = s->single_thread || (s->a_transposed && s->b_transposed);
    const int64_t pieces = whole ? 1 : (w->a.rows + PIECE_ROWS - 1) / PIECE_ROWS;
    w->piece = (w->a.rows + pieces - 1) / pieces;
    w->first = plan(context, w, w->piece, true);
    w->further = w->last = w->first;
    if (pieces > 1) w->further = plan(context, w, w->piece, false);
    if (pieces > 1) w->last = plan(context, w, w->a.rows - (pieces - 1) * w->piece, false);
    if (w->first && w->further && w->last && make_room(context, room, w)) return w;
    mla_widened_destroy(w);
    return NULL;
}

void mla_widened_destroy(mla_widened *w) { free(w); }

void mla_widening_room_free(mla_widening_room *room) {
    for (int i = 0; i < room->threads; i++) free(room->of_thread[i]);
    free(room->of_thread);
    free(room->floats);
}

/* ---- running ---- */

typedef enum { WIDEN, NARROW } direction;

static void convert_row(const matrix *m, direction way, int64_t i, void *bf16, float *wide) {
    mla_bf16 *row = (mla_bf16 *)bf16 + i * m->ld;
    if (way == WIDEN) mla_widen(m->width, row, wide + i * m->wide_ld);
    else mla_narrow(m->width, wide + i * m->wide_ld, row);
}

static void convert(const mla_widened *w, const matrix *m, direction way, int64_t rows, void *bf16, float *wide) {
    if (w->shape.single_thread) {
        for (int64_t i = 0; i < rows; i++) convert_row(m, way, i, bf16, wide);
        return;
    }
    #pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rows; i++) convert_row(m, way, i, bf16, wide);
}

/* Row i of a matrix of bf16. */
static void *row_at(const matrix *m, const void *data, int64_t i) { return (mla_bf16 *)(uintptr_t)data + i * m->ld; }

void mla_widened_run(const mla_widened *w, const void *a, const void *b, void *c, const float *bias) {
    const mla_gemm_shape *s = &w->shape;
    float *wide_a = w->room->of_thread[s->single_thread ? omp_get_thread_num() : 0];
    float *wide_b = wide_a + floats_of(&w->a, w->piece), *wide_c = wide_b + floats_of(&w->b, rows_of_b(w));
    const bool sums = s->a_transposed, narrows = s->c_type == MLA_BF16;
    for (int64_t begin = 0; begin < w->a.rows; begin += w->piece) {
        const bool first = begin == 0, last = begin + w->piece >= w->a.rows;
        const int64_t rows = last ? w->a.rows - begin : w->piece, c_begin = sums ? 0 : begin, c_rows = sums ? w->c.rows : rows;
        const mla_gemm *product = first ? w->first : last ? w->last : w->further;
        float *to = narrows ? wide_c : (float *)c + c_begin * w->c.ld;
        convert(w, &w->a, WIDEN, rows, row_at(&w->a, a, begin), wide_a);
        if (cuts_b(w)) convert(w, &w->b, WIDEN, rows, row_at(&w->b, b, begin), wide_b);
        else if (first) convert(w, &w->b, WIDEN, w->b.rows, row_at(&w->b, b, 0), wide_b);
        if (narrows && s->accumulate && (first || !sums)) convert(w, &w->c, WIDEN, c_rows, row_at(&w->c, c, c_begin), to);
        mla_gemm_run(product, wide_a, wide_b, to, bias);
        if (narrows && (last || !sums)) convert(w, &w->c, NARROW, c_rows, row_at(&w->c, c, c_begin), to);
    }
}
