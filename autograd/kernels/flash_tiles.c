#include "autograd/kernels/flash_tiles.h"

mla_stretch mla_block_at(int64_t i, int64_t total) {
    const int64_t begin = i * MLA_BLOCK;
    return (mla_stretch){begin, total - begin < MLA_BLOCK ? total - begin : MLA_BLOCK};
}

int64_t mla_blocks_of(int64_t total) { return (total + MLA_BLOCK - 1) / MLA_BLOCK; }

int mla_tiles_of(const mla_flash *a, int64_t query_block, int64_t key_block, mla_tile tiles[2]) {
    enum { HALF = MLA_BLOCK / 2 };
    const mla_stretch queries = mla_block_at(query_block, a->queries), keys = mla_block_at(key_block, a->keys);
    tiles[0] = (mla_tile){queries, keys};
    if (!a->mask.causal || query_block != key_block || queries.size <= HALF) return 1;
    tiles[0].queries.size = tiles[0].keys.size = HALF;
    tiles[1] = (mla_tile){{queries.begin + HALF, queries.size - HALF}, keys};
    return 2;
}

/* ---- plans ---- */

static int flash_tiles_find(const mla_tile_gemm *g, const mla_tile *t) {
    int i = 0;
    while (i < g->count && (g->of[i].queries != t->queries.size || g->of[i].keys != t->keys.size)) i++;
    return i;
}

static int64_t side(int64_t size, const mla_tile *t) {
    return size == MLA_QUERIES ? t->queries.size : size == MLA_KEYS ? t->keys.size : size;
}

static bool plan_tile(mla_context *context, mla_gemm_shape shape, const mla_tile *t, mla_tile_gemm *out) {
    const int i = flash_tiles_find(out, t);
    if (i < out->count) return true;
    shape.m = side(shape.m, t);
    shape.n = side(shape.n, t);
    shape.k = side(shape.k, t);
    out->of[i].queries = t->queries.size;
    out->of[i].keys = t->keys.size;
    out->count++;
    return (out->of[i].plan = mla_gemm_plan(context, &shape)) != NULL;
}

/* The first two blocks and the last one have all sizes between them. */
bool mla_plan_tiles(mla_context *context, const mla_flash *a, mla_gemm_shape shape, mla_tile_gemm *out) {
    const int64_t query_blocks[] = {0, 1, mla_blocks_of(a->queries) - 1};
    const int64_t key_blocks[] = {0, mla_blocks_of(a->keys) - 1};
    shape.single_thread = true;
    shape.a_type = shape.b_type = a->type;
    out->count = 0;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 2; j++) {
            mla_tile tiles[2];
            if (query_blocks[i] >= mla_blocks_of(a->queries)) continue;
            if (a->mask.causal && key_blocks[j] > query_blocks[i]) continue;
            const int count = mla_tiles_of(a, query_blocks[i], key_blocks[j], tiles);
            for (int k = 0; k < count; k++)
                if (!plan_tile(context, shape, &tiles[k], out)) return false;
        }
    return true;
}

const mla_gemm *mla_tile_plan(const mla_tile_gemm *g, const mla_tile *t) { return g->of[flash_tiles_find(g, t)].plan; }

/* ---- cost ---- */

mla_cost mla_flash_cost(const mla_flash *a) {
    const double pairs = (double)a->batch * (double)a->heads * (double)a->queries * (double)a->keys;
    const double seen = a->mask.causal ? pairs / 2 : pairs;
    const double key = (double)a->key_width, value = (double)a->value_width;
    const double rows = (double)a->batch * (double)(a->queries + a->keys) * (double)a->heads *
                        (double)mla_dtype_size(a->type);
    return (mla_cost){.forward_flops = 2 * seen * (key + value),
                      .backward_flops = 2 * seen * (3 * key + 2 * value),
                      .forward_bytes = rows * (key + value),
                      .backward_bytes = 2 * rows * (key + value)};
}
