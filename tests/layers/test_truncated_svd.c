/* A matrix made of known singular values and vectors: what is cut off, and what is left. */
#include "layers/adapt/truncated_svd.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>

/* Column i of the discrete cosine transform of length n: orthonormal. */
static double vector(int64_t n, int64_t i, int64_t j) {
    return sqrt((i ? 2.0 : 1.0) / (double)n) * cos(3.14159265358979 * (double)i * ((double)j + 0.5) / (double)n);
}

/* The sum of the `count` largest of singular values 8, 4, 2, ... */
static float *make(int64_t rows, int64_t columns, int64_t count) {
    float *w = calloc((size_t)(rows * columns), sizeof *w);
    for (int64_t k = 0; k < count; k++)
        for (int64_t i = 0; i < rows * columns; i++)
            w[i] += (float)(pow(0.5, (double)k - 3) * vector(rows, k, i / columns) * vector(columns, k, i % columns));
    return w;
}

static void check_size(mla_context *context, int64_t rows, int64_t columns, int64_t rank) {
    const int64_t all = rows < columns ? rows : columns;
    float *w = make(rows, columns, all), *expected = make(rows, columns, rank);
    float *a = calloc((size_t)(rank * columns), sizeof *a), *b = calloc((size_t)(rows * rank), sizeof *b);
    float *product = calloc((size_t)(rows * columns), sizeof *product);
    check_ok(context, mla_truncated_svd(context, rows, columns, w, rank, a, b));
    for (int64_t i = 0; i < rows * columns; i++)
        for (int64_t k = 0; k < rank; k++) product[i] += b[i / columns * rank + k] * a[k * columns + i % columns];
    assert_true(relative_error(rows * columns, product, expected) < 1e-5);
    for (int64_t k = 0; k < rank; k++) { /* both sides have the root of the singular value for their length */
        double above = 0, below = 0;
        for (int64_t j = 0; j < columns; j++) above += pow((double)a[k * columns + j], 2);
        for (int64_t i = 0; i < rows; i++) below += pow((double)b[i * rank + k], 2);
        check_close(above, pow(0.5, (double)k - 3), 1e-4);
        check_close(below, pow(0.5, (double)k - 3), 1e-4);
    }
    free(w), free(expected), free(a), free(b), free(product);
}

static void the_largest_are_kept(void **state) {
    check_size(*state, 20, 12, 3);
    check_size(*state, 12, 20, 3);
    check_size(*state, 9, 9, 9);
    check_size(*state, 60, 7, 1);
}

static void a_matrix_of_zeros_has_parts_of_zeros(void **state) {
    float w[6 * 4] = {0}, a[2 * 4], b[6 * 2];
    check_ok(*state, mla_truncated_svd(*state, 6, 4, w, 2, a, b));
    for (int i = 0; i < 8; i++) check_close((double)a[i], 0, 0);
    for (int i = 0; i < 12; i++) check_close((double)b[i], 0, 0);
}

static void ranks_beyond_the_matrix_are_refused(void **state) {
    static const int64_t ranks[] = {0, -1, 5};
    float w[6 * 4] = {0}, a[5 * 4], b[6 * 5];
    for (int i = 0; i < 3; i++)
        check_error(*state, mla_truncated_svd(*state, 6, 4, w, ranks[i], a, b), MLA_ERROR_ARGUMENT, "from 1 to 4, not");
}

static int setup(void **state) { return mla_context_create((mla_context **)state, NULL) != MLA_OK; }
static int teardown(void **state) {
    mla_context_destroy(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_largest_are_kept),
                                       cmocka_unit_test(a_matrix_of_zeros_has_parts_of_zeros),
                                       cmocka_unit_test(ranks_beyond_the_matrix_are_refused)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
