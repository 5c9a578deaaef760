/* Attention's matrices cut into blocks and tiles, for blockwise.c, and the plans of the tiles' products. */
#ifndef MLA_AUTOGRAD_KERNELS_ATTENTION_TILES_H
#define MLA_AUTOGRAD_KERNELS_ATTENTION_TILES_H

#include "autograd/kernels/flash_attention.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/rows.h"

/* Rows of a block of queries and of keys: large enough for GEMM's full speed, small enough for the L2 cache. */
enum { MLA_BLOCK = 128 };

/* Elements from row to row of a block of scores. */
enum { MLA_PITCH = MLA_BLOCK + MLA_ROW_GAP };

typedef struct {
    int64_t begin, size;
} mla_stretch;

/* Block i of `total` rows, and how many there are. */
mla_stretch mla_block_at(int64_t i, int64_t total);
int64_t mla_blocks_of(int64_t total);

/* Queries and keys whose products are made at once. */
typedef struct {
    mla_stretch queries, keys;
} mla_tile;

/* Cuts a pair of blocks into one tile, or on the diagonal into two: the first half of the queries sees no more than the
 * first half of the keys. Returns how many. */
int mla_tiles_of(const mla_blockwise *a, int64_t query_block, int64_t key_block, mla_tile tiles[2]);

/* Plans of one product for all sizes of tiles that occur: no more than 5. */
typedef struct {
    int count;
    struct {
        int64_t queries, keys;
        const mla_gemm *plan;
    } of[8];
} mla_tile_gemm;

enum { MLA_QUERIES = -1, MLA_KEYS = -2 }; /* stand for a tile's sizes in a product's shape */

/* Plans `shape` for one thread, with a and b of the type of the whole. False after an error. */
bool mla_plan_tiles(mla_context *context, const mla_blockwise *a, mla_gemm_shape shape, mla_tile_gemm *out);
const mla_gemm *mla_tile_plan(const mla_tile_gemm *g, const mla_tile *t);

#endif
