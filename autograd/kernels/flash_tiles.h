/* Attention's matrices cut into blocks and tiles, for flash_forward.c and flash_backward.c: where heads and rows are,
 * which keys a query sees, and the plans of the tiles' products. */
#ifndef MLA_AUTOGRAD_KERNELS_FLASH_TILES_H
#define MLA_AUTOGRAD_KERNELS_FLASH_TILES_H

#include "autograd/kernels/flash_attention.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/rows.h"

#include <string.h>

typedef struct {
    int64_t begin, size;
} mla_stretch;

/* Block i of the queries or of the keys, and how many there are. */
mla_stretch mla_query_block(const mla_flash *a, int64_t i);
mla_stretch mla_key_block(const mla_flash *a, int64_t i);
int64_t mla_query_blocks(const mla_flash *a);
int64_t mla_key_blocks(const mla_flash *a);
/* The last block of keys of which the queries see any. */
int64_t mla_last_key_block(const mla_flash *a, int64_t query_block);

/* Elements from row to row of a block of scores, and of the whole block. */
static inline int64_t mla_flash_pitch(const mla_flash *a) { return a->block.keys + MLA_ROW_GAP; }
static inline int64_t mla_flash_scores(const mla_flash *a) { return a->block.queries * mla_flash_pitch(a); }

/* ---- heads, rows, and what a query sees ---- */

static inline mla_values mla_flash_at(const mla_flash *a, mla_heads x, int64_t positions, int64_t b, int64_t t,
                                      int64_t h) {
    return mla_beyond((mla_values){x.data, a->type}, (b * positions + t) * x.row + h * x.head);
}

static inline size_t mla_flash_bytes(const mla_flash *a, int64_t count) {
    return (size_t)count * mla_dtype_size(a->type);
}

/* Floats that hold `count` values of the type. */
static inline int64_t mla_flash_floats(const mla_flash *a, int64_t count) {
    return (int64_t)((mla_flash_bytes(a, count) + sizeof(float) - 1) / sizeof(float));
}

/* Row `row` and those below it, of a block of the type. */
static inline void *mla_flash_rows(const mla_flash *a, void *block, int64_t row, int64_t width) {
    return mla_beyond((mla_values){block, a->type}, row * width).data;
}

/* Query heads that share a key head. */
static inline int64_t mla_flash_shared(const mla_flash *a) { return a->heads / a->key_heads; }

static inline int64_t mla_flash_limited(int64_t x, int64_t most) { return x < 0 ? 0 : x < most ? x : most; }

/* Keys of the block that a query at position t sees, counted from the block's first. */
static inline mla_stretch mla_flash_visible(const mla_flash *a, mla_stretch keys, int64_t b, int64_t t) {
    const int64_t end = a->mask.causal ? mla_flash_limited(t + 1 - keys.begin, keys.size) : keys.size;
    const int64_t begin = a->mask.starts ? mla_flash_limited(a->mask.starts[b * a->queries + t] - keys.begin, end) : 0;
    return (mla_stretch){begin, end - begin};
}

/* The first key that any query of the block sees. */
static inline int64_t mla_flash_first_key(const mla_flash *a, mla_stretch queries, int64_t b) {
    int64_t first = a->mask.starts ? a->keys : 0;
    for (int64_t i = 0; i < queries.size && a->mask.starts; i++) {
        const int64_t start = a->mask.starts[b * a->queries + queries.begin + i];
        if (start < first) first = start;
    }
    return first;
}

static inline void mla_flash_clear(int64_t count, float *x) { memset(x, 0, (size_t)count * sizeof *x); }

/* A second block of scores, where the type is not that of the scores. */
static inline int64_t mla_flash_copy_floats(const mla_flash *a) {
    return a->type == MLA_F32 ? 0 : mla_flash_floats(a, mla_flash_scores(a));
}

/* ---- tiles ---- */

/* Queries and keys whose products are made at once. */
typedef struct {
    mla_stretch queries, keys;
} mla_tile;

/* Cuts a pair of blocks into one tile, without the keys that no query sees; or, where not every query sees them all,
 * into two: the first half of the queries sees none of the last keys. Returns how many. */
int mla_tiles_of(const mla_flash *a, int64_t query_block, int64_t key_block, mla_tile tiles[2]);

/* Plans of one product for all sizes of tiles that occur: whole ones, one of a last block of queries, and for each
 * block of queries within one of keys two where it sees its own last keys, of a last block two more. */
typedef struct {
    int count;
    struct {
        int64_t queries, keys;
        const mla_gemm *plan;
    } of[12];
} mla_tile_gemm;

enum { MLA_QUERIES = -1, MLA_KEYS = -2 }; /* stand for a tile's sizes in a product's shape */

/* Plans `shape` for one thread, with a and b of the type of the whole. False after an error. */
bool mla_plan_tiles(mla_context *context, const mla_flash *a, mla_gemm_shape shape, mla_tile_gemm *out);
const mla_gemm *mla_tile_plan(const mla_tile_gemm *g, const mla_tile *t);

#endif
