/* The products of tiles on a processor without AMX: the same source with its instructions carried out in C, as the
 * manual describes them (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: LDTILECFG, TILELOADD,
 * TILESTORED, TILEZERO, TDPBF16PS), against products in double. Whatever would be a fault of the processor ends the
 * test: a tile that is not configured, sizes that do not fit, a configuration that is not valid. */
#include "autograd/base/bfloat16.h"
#include "tests/support/attention_reference.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__linux__) && !defined(__SANITIZE_ADDRESS__)
#include <immintrin.h>

enum { TILES = 8, MOST_ROWS = 16, MOST_BYTES = 64 };

typedef struct {
    int rows, bytes; /* 0: not configured */
    unsigned char data[MOST_ROWS][MOST_BYTES];
} tile;

static tile state[TILES];

static void fault(const char *what) {
    fprintf(stderr, "AMX: %s\n", what);
    abort();
}

static tile *configured(int i) {
    if (i < 0 || i >= TILES || !state[i].rows || !state[i].bytes) fault("a tile that is not configured");
    return &state[i];
}

static void load_configuration(const void *memory) {
    const unsigned char *m = memory;
    if (m[0] != 1 || m[1]) fault("palette, start_row");
    for (int i = 2; i < 64; i++)
        if (m[i] && (i < 16 || (i >= 32 && i < 48) || i >= 56)) fault("a reserved byte");
    for (int i = 0; i < TILES; i++) {
        uint16_t bytes;
        memcpy(&bytes, m + 16 + 2 * i, sizeof bytes);
        if (bytes > MOST_BYTES || m[48 + i] > MOST_ROWS) fault("a tile too large");
        state[i] = (tile){m[48 + i], bytes, {{0}}};
    }
}

static void release(void) { memset(state, 0, sizeof state); }

static void zero(int i) { memset(configured(i)->data, 0, sizeof state[i].data); }

static void load(int i, const void *base, int64_t stride) {
    tile *t = configured(i);
    zero(i);
    for (int r = 0; r < t->rows; r++) memcpy(t->data[r], (const char *)base + r * stride, (size_t)t->bytes);
}

static void store(int i, void *base, int64_t stride) {
    const tile *t = configured(i);
    for (int r = 0; r < t->rows; r++) memcpy((char *)base + r * stride, t->data[r], (size_t)t->bytes);
}

static float bf16_at(const tile *t, int row, int column) {
    mla_bf16 x;
    memcpy(&x, t->data[row] + 2 * column, sizeof x);
    return mla_bf16_to_float(x);
}

static void multiply_add(int to, int left, int right) {
    tile *c = configured(to);
    const tile *a = configured(left), *b = configured(right);
    if (to == left || to == right || left == right) fault("one tile twice");
    if (a->rows != c->rows || b->bytes != c->bytes || a->bytes != 4 * b->rows) fault("tiles that do not fit");
    for (int m = 0; m < c->rows; m++)
        for (int k = 0; k < a->bytes / 4; k++)
            for (int n = 0; n < c->bytes / 4; n++) {
                float sum;
                memcpy(&sum, c->data[m] + 4 * n, sizeof sum);
                sum += bf16_at(a, m, 2 * k) * bf16_at(b, k, 2 * n) +
                       bf16_at(a, m, 2 * k + 1) * bf16_at(b, k, 2 * n + 1);
                memcpy(c->data[m] + 4 * n, &sum, sizeof sum);
            }
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig load_configuration
#define _tile_release    release
#define _tile_zero       zero
#define _tile_loadd      load
#define _tile_stored     store
#define _tile_dpbf16ps   multiply_add
#else
static int state[1];
#endif

#include "autograd/kernels/packed_products.c"

static mla_bf16 *random_bf16(const char *name, int64_t count) {
    float *x = random_floats(name, count);
    mla_bf16 *rounded = malloc((size_t)count * sizeof *rounded);
    for (int64_t i = 0; i < count; i++) rounded[i] = mla_bf16_from_float(x[i]);
    free(x);
    return rounded;
}

static mla_packed_matrix room_for(int64_t lines, int64_t line) {
    return (mla_packed_matrix){aligned_alloc(64, (size_t)(lines * line * MLA_PACK_ELEMENTS) * sizeof(mla_bf16)), line};
}

/* The greatest error of C (m,n) = A (m,k) B (k,n), added to what was there where asked, relative to its size. */
static double error_of_product(int64_t m, int64_t n, int64_t k, bool accumulate) {
    enum { MOST = 128 };
    mla_bf16 *a = random_bf16("a", m * k), *b = random_bf16("b", k * n);
    const mla_packed_matrix left = room_for(mla_packs(m), mla_packs(k)), right = room_for(mla_packs(n), mla_packs(k));
    float *c = random_floats("c", MOST * MOST), *before = malloc(MOST * MOST * sizeof *before);
    double worst = 0;
    memcpy(before, c, MOST * MOST * sizeof *before);
    mla_pack_left(&(mla_bf16_rows){a, m, k, k}, left);
    mla_pack_right(&(mla_bf16_rows){b, k, n, n}, right);

    begin_amx();
    for (int64_t i = 0; i < mla_packs(m); i++)
        for (int64_t j = 0; j < mla_packs(n); j++)
            multiply_by_amx(mla_packs(k), mla_pack_at(left, i, 0), mla_pack_at(right, j, 0),
                            c + i * MLA_PACK * MOST + j * MLA_PACK, MOST, accumulate);
    end_amx();

    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = accumulate ? (double)before[i * MOST + j] : 0;
            for (int64_t l = 0; l < k; l++)
                sum += (double)mla_bf16_to_float(a[i * k + l]) * (double)mla_bf16_to_float(b[l * n + j]);
            worst = fmax(worst, fabs((double)c[i * MOST + j] - sum) / sqrt((double)k));
        }
    free(a), free(b), free(c), free(before), free(left.data), free(right.data);
    return worst;
}

static void products_of_tiles_are_right(void **unused) {
    (void)unused;
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        assert_true(error_of_product(32, 32, 32, accumulate) < 1e-6);
        assert_true(error_of_product(96, 64, 128, accumulate) < 1e-6);
        assert_true(error_of_product(33, 100, 70, accumulate) < 1e-6); /* zeros beyond the matrix */
    }
}

/* A thread may go on to oneDNN, which configures the tiles for itself. */
static void tiles_are_released(void **unused) {
    (void)unused;
    begin_amx();
    end_amx();
    for (size_t i = 0; i < sizeof state; i++) assert_int_equal(((const unsigned char *)state)[i], 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(products_of_tiles_are_right),
                                       cmocka_unit_test(tiles_are_released)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
