/* What ops share: cutting work into parts that depend on shapes alone, so that a sum has one order on any
 * number of threads, and delivering gradients by their mode. */
#ifndef MLA_AUTOGRAD_ROWS_H
#define MLA_AUTOGRAD_ROWS_H

#include "autograd/op.h"

/* Flat work goes in pieces of this many elements, which stay in the first cache. */
enum { MLA_PIECE = 2048 };

/* Elements of the piece that begins at `from`. */
static inline int64_t mla_piece(int64_t count, int64_t from) {
    return count - from < MLA_PIECE ? count - from : MLA_PIECE;
}

/* Lets one value into a gradient; the mode is SET or ADD. For use inside loops over a row. */
static inline void mla_put(mla_grad_mode mode, float *gradient, float value) {
    *gradient = mode == MLA_ADD ? *gradient + value : value;
}

/* The same for `count` values; SKIP does nothing. */
void mla_deliver(mla_grad_mode mode, int64_t count, const float *value, float *gradient);

/* Rows are cut into chunks for sums over rows: at most 128 of them, of at least 16 rows. Each chunk sums for
 * itself into its row of partial sums (chunks, width); mla_sum_rows then adds them up in order. */
int64_t mla_chunk_rows(int64_t rows);
int64_t mla_chunk_count(int64_t rows);

/* gradient (width) = sum over rows of x, or of x * y where y is not NULL; x and y (rows, width). */
void mla_sum_rows(mla_grad_mode mode, int64_t rows, int64_t width, const float *x, const float *y, float *gradient);

/* Whether b is a single row as wide as x. */
bool mla_is_row_of(const mla_tensor *b, const mla_tensor *x);

/* Moves `blocks` blocks of `length` floats that begin `from_stride` and `to_stride` floats apart. */
typedef struct {
    int64_t blocks, length, from_stride, to_stride;
} mla_block_move;
void mla_move_blocks(mla_grad_mode mode, const mla_block_move *move, const float *from, float *to);

#endif
