#include "autograd/kernels/rows.h"
#include "autograd/base/bfloat16.h"
#include "autograd/base/vecmath.h"

#include <omp.h>
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

/* ---- bf16 ---- */

MLA_VECTOR void mla_widen(int64_t count, const void *bf16, float *restrict out) {
    const mla_bf16 *x = bf16;
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) out[j] = mla_bf16_to_float(x[j]);
}

MLA_VECTOR void mla_narrow(int64_t count, const float *restrict x, void *bf16) {
    mla_bf16 *out = bf16;
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) out[j] = mla_bf16_from_float(x[j]);
}

void mla_widen_all(const mla_context *context, int64_t count, const void *bf16, float *out) {
    #pragma omp parallel for num_threads(mla_context_threads(context)) schedule(static)
    for (int64_t i = 0; i < count; i += MLA_PIECE) mla_widen(mla_piece(count, i), (const mla_bf16 *)bf16 + i, out + i);
}

void mla_narrow_all(const mla_context *context, int64_t count, const float *x, void *bf16) {
    #pragma omp parallel for num_threads(mla_context_threads(context)) schedule(static)
    for (int64_t i = 0; i < count; i += MLA_PIECE) mla_narrow(mla_piece(count, i), x + i, (mla_bf16 *)bf16 + i);
}

MLA_VECTOR static void add_narrow(int64_t count, const float *restrict x, mla_bf16 *restrict sum) {
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) sum[j] = mla_bf16_from_float(mla_bf16_to_float(sum[j]) + x[j]);
}

const float *mla_load(mla_values x, int64_t from, int64_t count, float *buffer) {
    if (x.type == MLA_F32) return (const float *)x.data + from;
    mla_widen(count, (const mla_bf16 *)x.data + from, buffer);
    return buffer;
}

float *mla_target(mla_values x, mla_grad_mode mode, int64_t from, float *buffer) {
    return x.type == MLA_F32 && mode == MLA_SET ? (float *)x.data + from : buffer;
}

void mla_store(mla_values x, mla_grad_mode mode, int64_t from, int64_t count, const float *value) {
    if (x.type == MLA_BF16) {
        mla_bf16 *out = (mla_bf16 *)x.data + from;
        if (mode == MLA_SET) mla_narrow(count, value, out);
        if (mode == MLA_ADD) add_narrow(count, value, out);
    } else if (mode == MLA_ADD || (mode == MLA_SET && value != (float *)x.data + from))
        mla_deliver(mode, count, value, (float *)x.data + from);
}

float *mla_thread_rows(void *scratch, int64_t count, int64_t width) {
    return (float *)scratch + omp_get_thread_num() * count * width;
}

int64_t mla_thread_rows_size(const mla_context *context, int64_t count, int64_t width) {
    return mla_context_threads(context) * count * width * (int64_t)sizeof(float);
}

mla_values mla_beyond(mla_values x, int64_t elements) {
    return (mla_values){(char *)x.data + elements * (int64_t)mla_dtype_size(x.type), x.type};
}

int64_t mla_chunk_rows(int64_t rows) {
    const int64_t even = (rows + LARGEST_CHUNK_COUNT - 1) / LARGEST_CHUNK_COUNT;
    return even > SMALLEST_CHUNK ? even : SMALLEST_CHUNK;
}

int64_t mla_chunk_count(int64_t rows) { return (rows + mla_chunk_rows(rows) - 1) / mla_chunk_rows(rows); }

/* Stripe by stripe of columns: each sum is made by one thread, in the order of the rows. */
void mla_sum_rows(const mla_context *context, mla_grad_mode mode, int64_t rows, int64_t width, mla_values x,
                  const float *y, float *gradient) {
    #pragma omp parallel for num_threads(mla_context_threads(context)) schedule(static) if (rows * width > MLA_PIECE)
    for (int64_t from = 0; from < width; from += STRIPE) {
        const int64_t count = width - from < STRIPE ? width - from : STRIPE;
        float sum[STRIPE] = {0}, buffer[STRIPE];
        for (int64_t at = from; at < rows * width; at += width)
            if (y) add_products(count, mla_load(x, at, count, buffer), y + at, sum);
            else add_row(count, mla_load(x, at, count, buffer), sum);
        mla_deliver(mode, count, sum, gradient + from);
    }
}

static void move_block(mla_grad_mode mode, int64_t length, mla_values from, int64_t from_at, mla_values to,
                       int64_t to_at) {
    float buffer[MLA_PIECE];
    for (int64_t i = 0; i < length; i += MLA_PIECE) {
        const int64_t count = mla_piece(length, i);
        mla_store(to, mode, to_at + i, count, mla_load(from, from_at + i, count, buffer));
    }
}

void mla_move_blocks(const mla_context *context, mla_grad_mode mode, const mla_block_move *move, mla_values from,
                     mla_values to) {
    const int threads = mla_context_threads(context);
    if (mode == MLA_SKIP) return;
    #pragma omp parallel for num_threads(threads) schedule(static) if (move->blocks * move->length > MLA_PIECE)
    for (int64_t i = 0; i < move->blocks; i++)
        move_block(mode, move->length, from, i * move->from_stride, to, i * move->to_stride);
}
