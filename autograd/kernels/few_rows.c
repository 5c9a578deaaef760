/* Rows of W are taken a few at a time, so that what is loaded of x serves all of them, and the other way round; each
 * thread has a stretch of them. A sum has LANES parts whatever its tile is.
 *
 * Of bf16, a word of 32 bits holds two elements, and is an f32 of the second when the first is cleared. So x is first
 * brought into the order of elements 0, 2, ... 14, 1, 3, ... 15 of each 16: a shift or a mask makes an operand. */
#include "autograd/kernels/few_rows.h"
#include "autograd/base/bfloat16.h"
#include "autograd/base/vecmath.h"

#include <string.h>

enum { LANES = 8, PAIRS = 2 * LANES, MOST_ROWS = 4, MOST_COLUMNS = 4, STRETCH = 32, AHEAD = 2 };

typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef float half_lanes __attribute__((vector_size(LANES / 2 * sizeof(float))));
typedef uint32_t words __attribute__((vector_size(LANES * sizeof(uint32_t))));

#define INLINED static inline __attribute__((always_inline))

/* ---- x ---- */

INLINED int64_t x_row_of(const mla_few_rows *p) { return p->x_row ? p->x_row : p->k; }
INLINED int64_t stride_of(const mla_few_rows *p) { return mla_few_rows_stride(p->k); }

int64_t mla_few_rows_room(int64_t m, int64_t k) { return m * mla_few_rows_stride(k); }

/* Elements of a row that tiles take; those behind them are added one by one. */
INLINED int64_t whole_of(int64_t k) { return k - k % PAIRS; }

/* A row as f32, each 16 elements in the order that products with bf16 want. */
static void part_pairs(const mla_few_rows *p, int64_t row, float *out) {
    float buffer[PAIRS];
    const int64_t whole = whole_of(p->k);
    for (int64_t i = 0; i < whole; i += PAIRS) {
        const float *in = mla_load(p->x, row * x_row_of(p) + i, PAIRS, buffer);
        for (int j = 0; j < LANES; j++) {
            out[i + j] = in[2 * j];
            out[i + LANES + j] = in[2 * j + 1];
        }
    }
    memcpy(out + whole, mla_load(p->x, row * x_row_of(p) + whole, p->k - whole, buffer),
           (size_t)(p->k - whole) * sizeof *out);
}

void mla_few_rows_prepare(const mla_few_rows *p, float *room) {
    for (int64_t i = 0; i < p->m; i++) {
        float *out = room + i * stride_of(p);
        if (p->w.type == MLA_BF16) part_pairs(p, i, out);
        else mla_store((mla_values){out, MLA_F32}, MLA_SET, 0, p->k, mla_load(p->x, i * x_row_of(p), p->k, out));
    }
}

/* ---- tiles ---- */

/* A tile: `rows` of W from `row` on with `columns` rows of x from `column` on. */
typedef struct {
    int64_t row, column;
    int rows, columns;
} tile;

INLINED float sum_of(const lanes *v) {
    half_lanes halves[2];
    memcpy(halves, v, sizeof halves);
    const half_lanes s = halves[0] + halves[1];
    return (s[0] + s[2]) + (s[1] + s[3]);
}

INLINED void put(const mla_few_rows *p, int64_t column, int64_t row, float value) {
    const int64_t at = column * (p->y_row ? p->y_row : p->n) + row;
    if (p->bias) value += p->bias[row];
    if (p->y.type == MLA_F32) ((float *)p->y.data)[at] = value;
    else ((mla_bf16 *)p->y.data)[at] = mla_bf16_from_float(value);
}

/* Elements 0, 2, ... and 1, 3, ... of a stretch of bf16. */
INLINED void part(const words *both, lanes *even, lanes *odd) {
    *even = (lanes)(*both << 16);
    *odd = (lanes)(*both & 0xffff0000u);
}

/* sum += (LANES elements of each row of W) (the same of each row of x) */
INLINED void add_products(const tile t, int64_t stride, const lanes w[MOST_ROWS], const float *x,
                          lanes sum[MOST_ROWS][MOST_COLUMNS]) {
#pragma GCC unroll 4
    for (int c = 0; c < t.columns; c++) {
        lanes v;
        memcpy(&v, x + c * stride, sizeof v);
#pragma GCC unroll 4
        for (int r = 0; r < t.rows; r++) sum[r][c] += w[r] * v;
    }
}

INLINED int64_t row_of(const mla_few_rows *p) { return p->w_row ? p->w_row : p->k; }

/* The processor fetches ahead within a row's page; this asks for the rows after the next ones, a line at a time so that
 * the requests do not queue. It may be behind the end of W, where it does nothing. */
INLINED void fetch_ahead(const void *at, int64_t bytes) {
    __builtin_prefetch((const void *)((uintptr_t)at + (uintptr_t)bytes));
}

INLINED void multiply_f32(const mla_few_rows *p, const float *x, const tile t, lanes sum[MOST_ROWS][MOST_COLUMNS]) {
    const int64_t whole = whole_of(p->k), k = row_of(p), ahead = AHEAD * t.rows * k * (int64_t)sizeof(float);
    const float *w = (const float *)p->w.data + t.row * k;
    for (int64_t i = 0; i < whole; i += PAIRS) {
        lanes first[MOST_ROWS], second[MOST_ROWS];
#pragma GCC unroll 4
        for (int r = 0; r < t.rows; r++) {
            memcpy(&first[r], w + r * k + i, sizeof *first);
            memcpy(&second[r], w + r * k + i + LANES, sizeof *second);
            fetch_ahead(w + r * k + i, ahead);
        }
        add_products(t, stride_of(p), first, x + i, sum);
        add_products(t, stride_of(p), second, x + i + LANES, sum);
    }
}

INLINED void multiply_bf16(const mla_few_rows *p, const float *x, const tile t, lanes sum[MOST_ROWS][MOST_COLUMNS]) {
    const int64_t whole = whole_of(p->k), k = row_of(p), ahead = AHEAD * t.rows * k * (int64_t)sizeof(mla_bf16);
    const mla_bf16 *w = (const mla_bf16 *)p->w.data + t.row * k;
    for (int64_t i = 0; i < whole; i += PAIRS) {
        lanes even[MOST_ROWS], odd[MOST_ROWS];
#pragma GCC unroll 4
        for (int r = 0; r < t.rows; r++) {
            words both;
            memcpy(&both, w + r * k + i, sizeof both);
            part(&both, &even[r], &odd[r]);
            fetch_ahead(w + r * k + i, ahead);
        }
        add_products(t, stride_of(p), even, x + i, sum);
        add_products(t, stride_of(p), odd, x + i + LANES, sum);
    }
}

/* What the elements behind whole tiles add. */
static float rest_of(const mla_few_rows *p, const float *x, int64_t row) {
    float sum = 0, w[PAIRS];
    const int64_t whole = whole_of(p->k), count = p->k - whole;
    const float *in = mla_load(p->w, row * row_of(p) + whole, count, w);
    for (int64_t i = 0; i < count; i++) sum += in[i] * x[whole + i];
    return sum;
}

INLINED void multiply(const mla_few_rows *p, const float *x, const tile t) {
    lanes sum[MOST_ROWS][MOST_COLUMNS] = {0};
    x += t.column * stride_of(p);
    if (p->w.type == MLA_F32) multiply_f32(p, x, t, sum);
    else multiply_bf16(p, x, t, sum);
#pragma GCC unroll 4
    for (int r = 0; r < t.rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < t.columns; c++) {
            const float rest = p->k % PAIRS ? rest_of(p, x + c * stride_of(p), t.row + r) : 0;
            put(p, t.column + c, t.row + r, sum_of(&sum[r][c]) + rest);
        }
}

/* Rows [row, row + rows) of W with all rows of x. */
INLINED void multiply_all(const mla_few_rows *p, const float *x, int64_t row, int rows) {
    int64_t c = 0;
    for (; c + 4 <= p->m; c += 4) multiply(p, x, (tile){row, c, rows, 4});
    for (; c < p->m; c++) multiply(p, x, (tile){row, c, rows, 1});
}

MLA_VECTOR void mla_few_rows_part(const mla_few_rows *p, const float *x, int64_t from, int64_t end) {
    int64_t row = from;
    if (p->m == 1)
        for (; row + 4 <= end; row += 4) multiply(p, x, (tile){row, 0, 4, 1});
    for (; row + 2 <= end; row += 2) multiply_all(p, x, row, 2);
    for (; row < end; row++) multiply_all(p, x, row, 1);
}

void mla_few_rows_multiply(const mla_context *context, const mla_few_rows *p, float *room) {
    mla_few_rows_prepare(p, room);
    #pragma omp parallel for num_threads(mla_context_threads(context)) schedule(static) if (p->n > STRETCH)
    for (int64_t from = 0; from < p->n; from += STRETCH)
        mla_few_rows_part(p, room, from, p->n - from < STRETCH ? p->n : from + STRETCH);
}

/* ---- weighted rows ---- */

/* PAIRS columns of y, from `column` on, of `rows` of its rows. */
INLINED void weigh_columns(const mla_weighted_rows *p, int64_t row, int rows, int64_t column) {
    lanes sum[MOST_ROWS][2] = {0};
    const float *x = p->x + row * p->x_row;
    for (int64_t i = 0; i < p->k; i++) {
        const int64_t at = i * p->w_row + column;
        lanes first, second;
        if (p->w.type == MLA_F32) {
            memcpy(&first, (const float *)p->w.data + at, sizeof first);
            memcpy(&second, (const float *)p->w.data + at + LANES, sizeof second);
        } else {
            words both;
            memcpy(&both, (const mla_bf16 *)p->w.data + at, sizeof both);
            part(&both, &first, &second);
        }
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            sum[r][0] += x[r * p->x_row + i] * first;
            sum[r][1] += x[r * p->x_row + i] * second;
        }
    }
    const int step = p->w.type == MLA_F32 ? 1 : 2, second = p->w.type == MLA_F32 ? LANES : 1;
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        float *y = p->y + (row + r) * p->y_row + column;
        for (int j = 0; j < LANES; j++) {
            y[step * j] += sum[r][0][j];
            y[step * j + second] += sum[r][1][j];
        }
    }
}

/* Columns behind the last whole PAIRS. */
static void weigh_rest(const mla_weighted_rows *p, int64_t from) {
    const int64_t count = p->n - from;
    float buffer[PAIRS];
    for (int64_t i = 0; i < p->k && count; i++) {
        const float *w = mla_load(p->w, i * p->w_row + from, count, buffer);
        for (int64_t r = 0; r < p->m; r++)
            for (int64_t j = 0; j < count; j++) p->y[r * p->y_row + from + j] += p->x[r * p->x_row + i] * w[j];
    }
}

MLA_VECTOR void mla_add_weighted_rows(const mla_weighted_rows *p) {
    const int64_t whole = whole_of(p->n);
    for (int64_t column = 0; column < whole; column += PAIRS) {
        int64_t row = 0;
        for (; row + 4 <= p->m; row += 4) weigh_columns(p, row, 4, column);
        for (; row < p->m; row++) weigh_columns(p, row, 1, column);
    }
    weigh_rest(p, whole);
}
