/* Products of packed bf16 matrices, by one thread, for AMX: C (m,n) f32 = A (m,k) B (k,n), or added to C.
 *
 * AMX multiplies tiles of 16 rows of 64 bytes. So an operand is a grid of blocks of 32 x 32 elements (2 KB, two tiles),
 * with zeros beyond the matrix:
 *
 *     left (A)    the rows of a block one after the other; blocks of one row of blocks are neighbours
 *     right (B)   a tile is 16 columns j of 32 rows: its row r is (B[2r][j], B[2r+1][j]) for all j; blocks of one
 * column of blocks are neighbours
 *
 * C is plain rows of f32. Where there is no AMX the same blocks are multiplied in plain C, slowly: for tests. */
#ifndef MLA_AUTOGRAD_KERNELS_PACKED_PRODUCTS_H
#define MLA_AUTOGRAD_KERNELS_PACKED_PRODUCTS_H

#include "autograd/base/bfloat16.h"

#include <stdbool.h>
#include <stdint.h>

enum { MLA_PACK = 32, MLA_PACK_ELEMENTS = MLA_PACK * MLA_PACK };

/* Blocks that cover `count` rows or columns. */
static inline int64_t mla_packs(int64_t count) { return (count + MLA_PACK - 1) / MLA_PACK; }

/* A packed matrix: block j of line i (of a row of blocks of A, of a column of blocks of B) is `line` blocks * i + j on.
 */
typedef struct {
    mla_bf16 *data; /* on a boundary of 64 bytes */
    int64_t line;
} mla_packed_matrix;

static inline mla_bf16 *mla_pack_at(mla_packed_matrix p, int64_t line, int64_t block) {
    return p.data + (line * p.line + block) * MLA_PACK_ELEMENTS;
}
static inline mla_packed_matrix mla_packed_from(mla_packed_matrix p, int64_t line, int64_t block) {
    return (mla_packed_matrix){mla_pack_at(p, line, block), p.line};
}

/* ---- packing ---- */

/* Rows of bf16 that begin `stride` elements apart. */
typedef struct {
    const mla_bf16 *data;
    int64_t rows, width, stride;
} mla_bf16_rows;

/* A = x: mla_packs(rows) lines of mla_packs(width) blocks; A = xᵀ: the other way round. */
void mla_pack_left(const mla_bf16_rows *x, mla_packed_matrix out);
void mla_pack_left_transposed(const mla_bf16_rows *x, mla_packed_matrix out);
/* B = x: mla_packs(width) lines of mla_packs(rows) blocks; B = xᵀ: the other way round. */
void mla_pack_right(const mla_bf16_rows *x, mla_packed_matrix out);
void mla_pack_right_transposed(const mla_bf16_rows *x, mla_packed_matrix out);

/* Rounds row `row` of A, or rows 2 * pair and 2 * pair + 1 of B, to bf16 and puts `blocks` blocks of it into place. */
void mla_pack_left_row(int64_t blocks, const float *x, int64_t row, mla_packed_matrix out);
void mla_pack_right_pair(int64_t blocks, const float *even, const float *odd, int64_t pair, mla_packed_matrix out);

/* ---- multiplying ---- */

/* To be called by a thread before its products and after them; in between it must not call oneDNN. */
void mla_packed_begin(void);
void mla_packed_end(void);

typedef struct {
    mla_packed_matrix a, b;
    float *c; /* (32 * rows, 32 * columns) */
    int64_t ldc;
    int64_t rows, columns, depth; /* in blocks; depth at least 1 */
    bool accumulate;
} mla_packed_product;
void mla_packed_multiply(const mla_packed_product *p);

#endif
