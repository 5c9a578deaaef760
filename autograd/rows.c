#include "autograd/rows.h"
#include "autograd/vecmath.h"

#include <string.h>

enum { STRIPE = 64, LARGEST_CHUNK_COUNT = 128, SMALLEST_CHUNK = 16 };

MLA_VECTOR static void add_row(int64_t count, const float *x, float *sum) {
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) sum[j] += x[j];
}

MLA_VECTOR static void add_products(int64_t count, const float *x, const float *y, float *sum) {
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) sum[j] += x[j] * y[j];
}

void mla_deliver(mla_grad_mode mode, int64_t count, const float *value, float *gradient) {
    if (mode == MLA_SET) memcpy(gradient, value, (size_t)count * sizeof *value);
    if (mode == MLA_ADD) add_row(count, value, gradient);
}

int64_t mla_chunk_rows(int64_t rows) {
    const int64_t even = (rows + LARGEST_CHUNK_COUNT - 1) / LARGEST_CHUNK_COUNT;
    return even > SMALLEST_CHUNK ? even : SMALLEST_CHUNK;
}

int64_t mla_chunk_count(int64_t rows) { return (rows + mla_chunk_rows(rows) - 1) / mla_chunk_rows(rows); }

/* Stripe by stripe of columns: each sum is made by one thread, in the order of the rows. */
void mla_sum_rows(mla_grad_mode mode, int64_t rows, int64_t width, const float *x, const float *y, float *gradient) {
    #pragma omp parallel for schedule(static) if (rows * width > MLA_PIECE)
    for (int64_t from = 0; from < width; from += STRIPE) {
        const int64_t count = width - from < STRIPE ? width - from : STRIPE;
        float sum[STRIPE] = {0};
        for (int64_t at = from; at < rows * width; at += width)
            if (y) add_products(count, x + at, y + at, sum);
            else add_row(count, x + at, sum);
        mla_deliver(mode, count, sum, gradient + from);
    }
}

bool mla_is_row_of(const mla_tensor *b, const mla_tensor *x) {
    return b->ndim == 1 && b->shape[0] == mla_width(x);
}

void mla_move_blocks(mla_grad_mode mode, const mla_block_move *move, const float *from, float *to) {
    if (mode == MLA_SKIP) return;
    #pragma omp parallel for schedule(static) if (move->blocks * move->length > MLA_PIECE)
    for (int64_t i = 0; i < move->blocks; i++)
        mla_deliver(mode, move->length, from + i * move->from_stride, to + i * move->to_stride);
}
