#include "autograd/kernels/flash_tiles.h"

mla_flash_blocks mla_flash_usual_blocks(mla_dtype type) {
    const bool amx = type == MLA_BF16 && mla_gemm_has_amx();
    return amx ? (mla_flash_blocks){64, 256, true} : (mla_flash_blocks){128, 128, false};
}

/* ---- blocks and tiles ---- */

static mla_stretch block_at(int64_t i, int64_t rows, int64_t total) {
    const int64_t begin = i * rows;
    return (mla_stretch){begin, total - begin < rows ? total - begin : rows};
}

mla_stretch mla_query_block(const mla_flash *a, int64_t i) { return block_at(i, a->block.queries, a->queries); }
mla_stretch mla_key_block(const mla_flash *a, int64_t i) { return block_at(i, a->block.keys, a->keys); }
int64_t mla_query_blocks(const mla_flash *a) { return (a->queries + a->block.queries - 1) / a->block.queries; }
int64_t mla_key_blocks(const mla_flash *a) { return (a->keys + a->block.keys - 1) / a->block.keys; }

int64_t mla_last_key_block(const mla_flash *a, int64_t query_block) {
    const mla_stretch queries = mla_query_block(a, query_block);
    return a->mask.causal ? (queries.begin + queries.size - 1) / a->block.keys : mla_key_blocks(a) - 1;
}

int mla_tiles_of(const mla_flash *a, int64_t query_block, int64_t key_block, mla_tile tiles[2]) {
    const int64_t half = a->block.queries / 2;
    const mla_stretch queries = mla_query_block(a, query_block);
    mla_stretch keys = mla_key_block(a, key_block);
    if (a->mask.causal) keys.size = mla_flash_limited(queries.begin + queries.size - keys.begin, keys.size);
    tiles[0] = (mla_tile){queries, keys};
    if (!a->mask.causal || keys.begin + keys.size <= queries.begin || queries.size <= half) return 1;
    tiles[0].queries.size = half;
    tiles[0].keys.size = queries.begin + half - keys.begin;
    tiles[1] = (mla_tile){{queries.begin + half, queries.size - half}, keys};
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

static bool plan_pair(mla_context *context, const mla_flash *a, const mla_gemm_shape *shape, int64_t query_block,
                      int64_t key_block, mla_tile_gemm *out) {
    mla_tile tiles[2];
    const int count = mla_tiles_of(a, query_block, key_block, tiles);
    for (int i = 0; i < count; i++)
        if (!plan_tile(context, *shape, &tiles[i], out)) return false;
    return true;
}

/* The blocks of queries within the first one of keys, the one after them and the last one have all sizes, with the
 * first keys and the last ones that they see. */
bool mla_plan_tiles(mla_context *context, const mla_flash *a, mla_gemm_shape shape, mla_tile_gemm *out) {
    const int64_t last = mla_query_blocks(a) - 1, within = a->block.keys / a->block.queries;
    shape.single_thread = true;
    shape.a_type = shape.b_type = a->type;
    out->count = 0;
    for (int64_t i = 0; i <= last; i = i < within || i == last ? i + 1 : last) {
        const int64_t last_keys = mla_last_key_block(a, i);
        if (!plan_pair(context, a, &shape, i, 0, out) || !plan_pair(context, a, &shape, i, last_keys, out))
            return false;
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
