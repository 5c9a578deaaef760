#include "autograd/kernels/packed_products.h"
#include "autograd/base/vecmath.h"
#include "autograd/kernels/gemm.h"

#include <string.h>

enum { PACK = MLA_PACK, TILE_ROWS = 16, TILE = TILE_ROWS * PACK };

/* ---- packing ---- */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* What of x lies in block (i,j) of 32 rows and columns. */
static mla_bf16_rows part_of(const mla_bf16_rows *x, int64_t i, int64_t j) {
    return (mla_bf16_rows){x->data + i * PACK * x->stride + j * PACK, least(x->rows - i * PACK, PACK),
                           least(x->width - j * PACK, PACK), x->stride};
}

static void pack_rows(const mla_bf16_rows *x, mla_bf16 *out) {
    for (int64_t i = 0; i < x->rows; i++) memcpy(out + i * PACK, x->data + i * x->stride, (size_t)x->width * 2);
}

static void pack_columns(const mla_bf16_rows *x, mla_bf16 *out) {
    for (int64_t i = 0; i < x->rows; i++)
        for (int64_t j = 0; j < x->width; j++) out[j * PACK + i] = x->data[i * x->stride + j];
}

/* Where element (k,n) of a right block is. */
static int64_t right_at(int64_t k, int64_t n) {
    return n / TILE_ROWS * TILE + k / 2 * PACK + n % TILE_ROWS * 2 + k % 2;
}

static void pack_row_pairs(const mla_bf16_rows *x, mla_bf16 *out) {
    for (int64_t i = 0; i < x->rows; i++)
        for (int64_t j = 0; j < x->width; j++) out[right_at(i, j)] = x->data[i * x->stride + j];
}

static void pack_column_pairs(const mla_bf16_rows *x, mla_bf16 *out) {
    for (int64_t i = 0; i < x->rows; i++)
        for (int64_t j = 0; j < x->width; j++) out[right_at(j, i)] = x->data[i * x->stride + j];
}

typedef void pack_block(const mla_bf16_rows *x, mla_bf16 *out);

static void pack(const mla_bf16_rows *x, mla_packed_matrix out, bool transposed, pack_block *block) {
    for (int64_t i = 0; i < mla_packs(x->rows); i++)
        for (int64_t j = 0; j < mla_packs(x->width); j++) {
            mla_bf16 *to = transposed ? mla_pack_at(out, j, i) : mla_pack_at(out, i, j);
            const mla_bf16_rows part = part_of(x, i, j);
            if (part.rows < PACK || part.width < PACK) memset(to, 0, MLA_PACK_ELEMENTS * sizeof *to);
            block(&part, to);
        }
}

void mla_pack_left(const mla_bf16_rows *x, mla_packed_matrix out) { pack(x, out, false, pack_rows); }
void mla_pack_left_transposed(const mla_bf16_rows *x, mla_packed_matrix out) { pack(x, out, true, pack_columns); }
void mla_pack_right(const mla_bf16_rows *x, mla_packed_matrix out) { pack(x, out, true, pack_row_pairs); }
void mla_pack_right_transposed(const mla_bf16_rows *x, mla_packed_matrix out) {
    pack(x, out, false, pack_column_pairs);
}

MLA_VECTOR static void narrow_row(int64_t blocks, const float *restrict x, mla_bf16 *restrict out) {
    for (int64_t i = 0; i < blocks; i++) MLA_SIMD
    for (int j = 0; j < PACK; j++) out[i * MLA_PACK_ELEMENTS + j] = mla_bf16_from_float(x[i * PACK + j]);
}

void mla_pack_left_row(int64_t blocks, const float *x, int64_t row, mla_packed_matrix out) {
    narrow_row(blocks, x, mla_pack_at(out, row / PACK, 0) + row % PACK * PACK);
}

/* Two rows, 16 columns of each to a row of a tile; tiles, as pairs, begin `line` pairs apart, two by two. */
MLA_VECTOR static void narrow_pair(int64_t blocks, const float *restrict even, const float *restrict odd,
                                   uint32_t *restrict out, int64_t line) {
    enum { PAIRS = TILE / 2 };
    for (int64_t i = 0; i < 2 * blocks; i++) {
        uint32_t *row = out + i / 2 * line + i % 2 * PAIRS;
        const float *x = even + i * TILE_ROWS, *y = odd + i * TILE_ROWS;
        MLA_SIMD
        for (int j = 0; j < TILE_ROWS; j++)
            row[j] = (uint32_t)mla_bf16_from_float(x[j]) | (uint32_t)mla_bf16_from_float(y[j]) << 16;
    }
}

void mla_pack_right_pair(int64_t blocks, const float *even, const float *odd, int64_t pair, mla_packed_matrix out) {
    mla_bf16 *row = mla_pack_at(out, 0, pair / TILE_ROWS) + pair % TILE_ROWS * PACK;
    narrow_pair(blocks, even, odd, (uint32_t *)(void *)row, out.line * MLA_PACK_ELEMENTS / 2);
}

/* ---- multiplying ---- */

/* C (32,32) from `depth` blocks of a line of A and one of B. */
typedef void multiply_block(int64_t depth, const mla_bf16 *a, const mla_bf16 *b, float *c, int64_t ldc,
                            bool accumulate);

static void multiply_plainly(int64_t depth, const mla_bf16 *a, const mla_bf16 *b, float *c, int64_t ldc,
                             bool accumulate) {
    for (int64_t i = 0; i < PACK; i++)
        for (int64_t j = 0; j < PACK; j++) {
            float sum = accumulate ? c[i * ldc + j] : 0;
            for (int64_t k = 0; k < depth * PACK; k++)
                sum += mla_bf16_to_float(a[k / PACK * MLA_PACK_ELEMENTS + i * PACK + k % PACK]) *
                       mla_bf16_to_float(b[k / PACK * MLA_PACK_ELEMENTS + right_at(k % PACK, j)]);
            c[i * ldc + j] = sum;
        }
}

#if defined(__x86_64__) && defined(__linux__) && !defined(__SANITIZE_ADDRESS__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WITH_AMX __attribute__((target("amx-tile,amx-bf16")))

/* Tiles 0 to 3 are the quarters of C, 4 and 5 rows of A, 6 and 7 columns of B. */
WITH_AMX static void multiply_by_amx(int64_t depth, const mla_bf16 *a, const mla_bf16 *b, float *c, int64_t ldc,
                                     bool accumulate) {
    const int64_t line = ldc * (int64_t)sizeof *c, row = PACK * (int64_t)sizeof *a;
    float *below = c + TILE_ROWS * ldc;
    if (accumulate) {
        _tile_loadd(0, c, line);
        _tile_loadd(1, c + TILE_ROWS, line);
        _tile_loadd(2, below, line);
        _tile_loadd(3, below + TILE_ROWS, line);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t k = 0; k < depth; k++, a += MLA_PACK_ELEMENTS, b += MLA_PACK_ELEMENTS) {
        _tile_loadd(4, a, row);
        _tile_loadd(6, b, row);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + TILE, row);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a + TILE, row);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, line);
    _tile_stored(1, c + TILE_ROWS, line);
    _tile_stored(2, below, line);
    _tile_stored(3, below + TILE_ROWS, line);
}

/* Intel 64 and IA-32 Architectures Software Developer's Manual, LDTILECFG: all eight tiles are 16 rows of 64 bytes. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_configuration;

WITH_AMX static void begin_amx(void) {
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* Linux, arch_prctl: of the process, once or more often */
    tile_configuration tiles = {.palette = 1};
    for (int i = 0; i < 8; i++) tiles.rows[i] = TILE_ROWS, tiles.row_bytes[i] = 64;
    __asm__ volatile("" : : "r"(&tiles) : "memory"); /* gcc 12 believes that the instruction reads 8 bytes of it */
    syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA);
    _tile_loadconfig(&tiles);
}

WITH_AMX static void end_amx(void) { _tile_release(); }
#else
#define multiply_by_amx multiply_plainly
static void begin_amx(void) {}
static void end_amx(void) {}
#endif

void mla_packed_begin(void) {
    if (mla_gemm_has_amx()) begin_amx();
}

void mla_packed_end(void) {
    if (mla_gemm_has_amx()) end_amx();
}

/* A column of B stays in the first cache while all rows of A go past it. */
void mla_packed_multiply(const mla_packed_product *p) {
    multiply_block *multiply = mla_gemm_has_amx() ? multiply_by_amx : multiply_plainly;
    for (int64_t j = 0; j < p->columns; j++)
        for (int64_t i = 0; i < p->rows; i++)
            multiply(p->depth, mla_pack_at(p->a, i, 0), mla_pack_at(p->b, j, 0), p->c + i * PACK * p->ldc + j * PACK,
                     p->ldc, p->accumulate);
}
