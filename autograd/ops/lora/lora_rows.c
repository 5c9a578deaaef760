/* Adapters of few ranks, row by row: y += h Bᵀ with h = s x Aᵀ, and u = s dy B, dB = dyᵀ h, dA = uᵀ x, dx = u A.
 *
 * All of it is bound by memory. Matrix products with a side of 8 run at half of its speed, and those of the backward
 * pass read dy twice. Here eight rows are taken at a time, each array is read once, and A and B stay in the cache. */
#include "autograd/base/vecmath.h"
#include "autograd/ops/lora/lora.h"

#include <string.h>

enum { GROUP = 8, FOURS = 4 }; /* rows, and ranks, that are taken at a time */
/* Chunks of rows that sum for themselves: fewer than those of mla_chunk_rows, as their sums are rank times as large. */
enum { MOST_CHUNKS = 128, LEAST_CHUNK = 128 };

/* A and B in f32, with ranks of zeros up to a multiple of FOURS. */
typedef struct {
    int64_t in, out, rank;
    float *a, *b; /* (rank,in), (rank,out) */
    float *rows;  /* of each thread: GROUP of in, in and out */
    float *sums;  /* of each chunk: dA (rank,in), dBᵀ (rank,out) */
} few;

static int64_t in_fours(int64_t rank) { return (rank + FOURS - 1) / FOURS * FOURS; }

static int64_t chunk_rows(int64_t rows) {
    const int64_t even = (rows + MOST_CHUNKS - 1) / MOST_CHUNKS;
    return ((even > LEAST_CHUNK ? even : LEAST_CHUNK) + GROUP - 1) / GROUP * GROUP;
}

static int64_t chunks_of(int64_t rows) { return (rows + chunk_rows(rows) - 1) / chunk_rows(rows); }

int64_t mla_lora_rows_scratch(const mla_tape *tape, const mla_tensor *a, const mla_tensor *b, int64_t rows) {
    const int64_t in = a->shape[1], out = b->shape[0], both = in_fours(a->shape[0]) * (in + out);
    return both * (1 + chunks_of(rows)) * (int64_t)sizeof(float) +
           mla_thread_rows_size(mla_tape_context(tape), GROUP, 2 * in + out);
}

static few few_at(const mla_lora_product *l, float *scratch) {
    const mla_tensor *a = l->node->in[l->a], *b = l->node->in[l->b];
    const int64_t in = a->shape[1], out = b->shape[0], rank = a->shape[0], padded = in_fours(rank);
    const int64_t both = padded * (in + out), used = both * (1 + chunks_of(l->rows));
    const few f = {in, out, padded, scratch, scratch + padded * in, scratch + used, scratch + both};
    memset(scratch, 0, (size_t)both * sizeof *scratch);
    mla_store((mla_values){f.a, MLA_F32}, MLA_SET, 0, rank * in, mla_load(mla_data(a), 0, rank * in, f.a));
    for (int64_t q = 0; q < rank; q++)
        mla_move_blocks(mla_tape_context(l->node->tape), MLA_SET, &(mla_block_move){out, 1, rank, 1},
                        mla_beyond(mla_data(b), q), (mla_values){f.b + q * out, MLA_F32});
    return f;
}

/* ---- eight rows ---- */

/* h (GROUP,rank) = scale x aᵀ */
MLA_VECTOR static void project(int64_t width, int64_t rank, float scale, const float *const x[GROUP], const float *a,
                               float *h) {
    const float *restrict x0 = x[0], *restrict x1 = x[1], *restrict x2 = x[2], *restrict x3 = x[3];
    const float *restrict x4 = x[4], *restrict x5 = x[5], *restrict x6 = x[6], *restrict x7 = x[7];
    for (int64_t q = 0; q < rank; q++) {
        const float *restrict w = a + q * width;
        float s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
        MLA_SIMD_SUM(s0, s1, s2, s3, s4, s5, s6, s7)
        for (int64_t j = 0; j < width; j++) {
            s0 += x0[j] * w[j], s1 += x1[j] * w[j], s2 += x2[j] * w[j], s3 += x3[j] * w[j];
            s4 += x4[j] * w[j], s5 += x5[j] * w[j], s6 += x6[j] * w[j], s7 += x7[j] * w[j];
        }
        const float sums[GROUP] = {s0, s1, s2, s3, s4, s5, s6, s7};
        for (int64_t i = 0; i < GROUP; i++) h[i * rank + q] = scale * sums[i];
    }
}

/* y += h b, two rows of y and four of b at a time */
MLA_VECTOR static void spread(int64_t width, int64_t rank, const float *h, const float *b, float *const y[GROUP]) {
    for (int64_t i = 0; i < GROUP; i += 2) {
        float *restrict y0 = y[i], *restrict y1 = y[i + 1];
        for (int64_t q = 0; q < rank; q += FOURS) {
            const float *restrict b0 = b + q * width, *restrict b1 = b0 + width, *restrict b2 = b1 + width,
                                  *restrict b3 = b2 + width;
            const float *g = h + i * rank + q, *k = g + rank;
            const float g0 = g[0], g1 = g[1], g2 = g[2], g3 = g[3], k0 = k[0], k1 = k[1], k2 = k[2], k3 = k[3];
            MLA_SIMD
            for (int64_t j = 0; j < width; j++) {
                y0[j] += g0 * b0[j] + g1 * b1[j] + g2 * b2[j] + g3 * b3[j];
                y1[j] += k0 * b0[j] + k1 * b1[j] + k2 * b2[j] + k3 * b3[j];
            }
        }
    }
}

/* sum (rank,width) += hᵀ x */
MLA_VECTOR static void collect(int64_t width, int64_t rank, const float *h, const float *const x[GROUP], float *sum) {
    const float *restrict x0 = x[0], *restrict x1 = x[1], *restrict x2 = x[2], *restrict x3 = x[3];
    const float *restrict x4 = x[4], *restrict x5 = x[5], *restrict x6 = x[6], *restrict x7 = x[7];
    for (int64_t q = 0; q < rank; q++) {
        const float h0 = h[q], h1 = h[rank + q], h2 = h[2 * rank + q], h3 = h[3 * rank + q];
        const float h4 = h[4 * rank + q], h5 = h[5 * rank + q], h6 = h[6 * rank + q], h7 = h[7 * rank + q];
        float *restrict out = sum + q * width;
        MLA_SIMD
        for (int64_t j = 0; j < width; j++)
            out[j] += (h0 * x0[j] + h1 * x1[j] + h2 * x2[j] + h3 * x3[j]) +
                      (h4 * x4[j] + h5 * x5[j] + h6 * x6[j] + h7 * x7[j]);
    }
}

/* Some of the rows of an array; after `count` of them there are zeros in the buffer (GROUP, width). */
typedef struct {
    int64_t from, count;
} group;

static group group_at(int64_t from, int64_t rows) { return (group){from, rows - from < GROUP ? rows - from : GROUP}; }

/* Where the rows can be read. */
static void read_rows(group g, mla_values x, int64_t stride, int64_t width, float *buffer, const float *row[GROUP]) {
    for (int64_t i = 0; i < GROUP; i++, buffer += width)
        row[i] = i < g.count ? mla_load(x, (g.from + i) * stride, width, buffer)
                             : memset(buffer, 0, (size_t)width * sizeof *buffer);
}

/* Where they can be added to, until close_rows puts them into their place. */
static void open_rows(group g, mla_grad_mode mode, mla_values y, int64_t width, float *buffer, float *row[GROUP]) {
    for (int64_t i = 0; i < GROUP; i++, buffer += width) {
        row[i] = i < g.count ? mla_target(y, MLA_SET, (g.from + i) * width, buffer) : buffer;
        if (i < g.count && mode == MLA_ADD) mla_load(y, (g.from + i) * width, width, row[i]);
        else memset(row[i], 0, (size_t)width * sizeof *buffer);
    }
}

static void close_rows(group g, mla_values y, int64_t width, float *const row[GROUP]) {
    for (int64_t i = 0; i < g.count; i++) mla_store(y, MLA_SET, (g.from + i) * width, width, row[i]);
}

/* ---- all rows ---- */

static mla_values values(const mla_lora_product *l, const void *x) {
    return (mla_values){(void *)(uintptr_t)x, l->type};
}

void mla_lora_rows_apply(const mla_lora_product *l, const void *x, void *y, float *h, float *scratch) {
    const few f = few_at(l, scratch);
    #pragma omp parallel for num_threads(mla_op_threads(l->node)) schedule(static)
    for (int64_t i = 0; i < l->rows; i += GROUP) {
        const group g = group_at(i, l->rows);
        float low[GROUP * MLA_FEW_RANKS], *to[GROUP], *buffer = mla_thread_rows(f.rows, GROUP, 2 * f.in + f.out);
        const float *from[GROUP];
        read_rows(g, values(l, x), f.in, f.in, buffer, from);
        project(f.in, f.rank, l->scale, from, f.a, low);
        memcpy(h + i * f.rank, low, (size_t)(g.count * f.rank) * sizeof *low);
        if (!y) continue;
        open_rows(g, MLA_ADD, values(l, y), f.out, buffer + GROUP * f.in, to);
        spread(f.out, f.rank, low, f.b, to);
        close_rows(g, values(l, y), f.out, to);
    }
}

typedef struct {
    mla_values x, dy, dx;
    mla_grad_mode dx_mode;
    const float *h;
} operands;

static void gradients_of_rows(const mla_lora_product *l, const few *f, const operands *o, group g, float *sums) {
    float low[GROUP * MLA_FEW_RANKS] = {0}, u[GROUP * MLA_FEW_RANKS];
    float *buffer = mla_thread_rows(f->rows, GROUP, 2 * f->in + f->out), *dx[GROUP];
    const float *x[GROUP], *dy[GROUP];
    memcpy(low, o->h + g.from * f->rank, (size_t)(g.count * f->rank) * sizeof *low);
    read_rows(g, o->dy, l->dy_stride ? l->dy_stride : f->out, f->out, buffer + 2 * GROUP * f->in, dy);
    collect(f->out, f->rank, low, dy, sums + f->rank * f->in);
    project(f->out, f->rank, l->scale, dy, f->b, u);
    read_rows(g, o->x, f->in, f->in, buffer, x);
    collect(f->in, f->rank, u, x, sums);
    if (!o->dx_mode) return;
    open_rows(g, o->dx_mode, o->dx, f->in, buffer + GROUP * f->in, dx);
    spread(f->in, f->rank, u, f->a, dx);
    close_rows(g, o->dx, f->in, dx);
}

void mla_lora_rows_gradients(const mla_lora_product *l, const void *x, const void *dy, const float *h,
                             mla_grad_mode dx_mode, mla_values dx, float *scratch) {
    const mla_node *n = l->node;
    const mla_context *context = mla_tape_context(n->tape);
    const few f = few_at(l, scratch);
    const operands o = {values(l, x), values(l, dy), dx, dx_mode, h};
    const int64_t chunk = chunk_rows(l->rows), size = f.rank * (f.in + f.out);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t from = 0; from < l->rows; from += chunk) {
        float *sums = f.sums + from / chunk * size;
        memset(sums, 0, (size_t)size * sizeof *sums);
        for (int64_t i = from; i < from + chunk && i < l->rows; i += GROUP)
            gradients_of_rows(l, &f, &o, group_at(i, l->rows), sums);
    }
    /* into the first chunk's: of each stripe all are read before it is written */
    mla_sum_rows(context, MLA_SET, chunks_of(l->rows), size, (mla_values){f.sums, MLA_F32}, NULL, f.sums);
    mla_store(mla_in_gradient(n, l->a), n->mode[l->a], 0, mla_count(n->in[l->a]), f.sums);
    mla_lora_product_turn(context, n->mode[l->b], n->in[l->a]->shape[0], f.out, f.sums + f.rank * f.in,
                          mla_in_gradient(n, l->b));
}
