/* What ops share: cutting work into parts that depend on shapes alone, so that a sum has one order on any
 * number of threads, and delivering gradients by their mode. What takes a context shares its work among as many
 * threads as the context has. */
#ifndef MLA_AUTOGRAD_KERNELS_ROWS_H
#define MLA_AUTOGRAD_KERNELS_ROWS_H

#include "autograd/base/context.h"
#include "autograd/base/dtype.h"

/* How a gradient is asked for: not at all, to be set, or to be added to. */
typedef enum { MLA_SKIP, MLA_SET, MLA_ADD } mla_grad_mode;

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

/* ---- stretches of values of f32 or bf16, computed with as f32 ----
 *
 * Elements [from, from + count) of a block: f32 is used where it lies, bf16 passes through a buffer of `count`
 * floats. So one loop over floats serves both types, and costs f32 nothing. */
typedef struct {
    void *data;
    mla_dtype type;
} mla_values;

/* Values to read. */
const float *mla_load(mla_values x, int64_t from, int64_t count, float *buffer);
/* Where to write them (nothing is read), and, when that is done, putting them into their place by the mode. In
 * mode SET f32 is written where it lies. */
float *mla_target(mla_values x, mla_grad_mode mode, int64_t from, float *buffer);
void mla_store(mla_values x, mla_grad_mode mode, int64_t from, int64_t count, const float *value);

/* `count` rows of floats for the calling thread, in scratch of mla_thread_rows_size bytes. */
float *mla_thread_rows(void *scratch, int64_t count, int64_t width);
int64_t mla_thread_rows_size(const mla_context *context, int64_t count, int64_t width);

/* Conversions, rounding to nearest even. */
void mla_widen(int64_t count, const void *bf16, float *out);
void mla_narrow(int64_t count, const float *x, void *bf16);
/* The same for whole blocks, with all threads. */
void mla_widen_all(const mla_context *context, int64_t count, const void *bf16, float *out);
void mla_narrow_all(const mla_context *context, int64_t count, const float *x, void *bf16);

/* Rows are cut into chunks for sums over rows: at most 128 of them, of at least 16 rows. Each chunk sums for
 * itself into its row of partial sums (chunks, width); mla_sum_rows then adds them up in order. */
int64_t mla_chunk_rows(int64_t rows);
int64_t mla_chunk_count(int64_t rows);

/* gradient (width) = sum over rows of x, or of x * y where y is not NULL; x and y (rows, width). */
void mla_sum_rows(const mla_context *context, mla_grad_mode mode, int64_t rows, int64_t width, mla_values x,
                  const float *y, float *gradient);

/* Moves `blocks` blocks of `length` elements that begin `from_stride` and `to_stride` elements apart. */
typedef struct {
    int64_t blocks, length, from_stride, to_stride;
} mla_block_move;
void mla_move_blocks(const mla_context *context, mla_grad_mode mode, const mla_block_move *move, mla_values from,
                     mla_values to);

/* The same memory, `elements` further on. */
mla_values mla_beyond(mla_values x, int64_t elements);

#endif
