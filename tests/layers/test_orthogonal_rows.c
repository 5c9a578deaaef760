/* Singular values and vectors: of a matrix with known ones, of symmetric ones, of such that lack rank. */
#include "layers/adapt/orthogonal_rows.h"
#include "tests/support/check.h"

#include <math.h>
#include <string.h>

enum { ROWS = 12, WIDTH = 20 };

/* Column i of the discrete cosine transform of length n: orthonormal. */
static double vector(int n, int i, int j) {
    return sqrt((i ? 2.0 : 1.0) / n) * cos(3.14159265358979323846 * i * (j + 0.5) / n);
}

/* The sum of the first `count` of singular values 3, 9, 27 ..., in another order than the result's. */
static void make(int rows, int width, int count, double *a) {
    memset(a, 0, (size_t)(rows * width) * sizeof *a);
    for (int k = 0; k < count; k++)
        for (int i = 0; i < rows * width; i++)
            a[i] += pow(3, k + 1) * vector(rows, k, i / width) * vector(width, k, i % width);
}

static double product(int width, const double *x, const double *y) {
    double sum = 0;
    for (int i = 0; i < width; i++) sum += x[i] * y[i];
    return sum;
}

static void check_rows(int rows, int width, int count) {
    double a[WIDTH * WIDTH];
    make(rows, width, count, a);
    mla_orthogonal_rows(rows, width, a);
    for (int i = 0; i < rows; i++) {
        const double value = i < count ? pow(3, count - i) : 0, length = mla_row_length(width, a + i * width);
        double along = 0;
        check_close(length, value, 1e-9);
        for (int j = 0; j < i; j++)
            check_close(product(width, a + i * width, a + j * width) /
                            (1 + length * mla_row_length(width, a + j * width)),
                        0, 1e-12);
        for (int j = 0; j < width; j++) along += a[i * width + j] * vector(width, count - 1 - i, j);
        if (value > 0) check_close(fabs(along), value, 1e-9);
    }
}

static void rows_become_singular_vectors(void **state) {
    (void)state;
    check_rows(ROWS, WIDTH, ROWS);
    check_rows(WIDTH, WIDTH, 7);
    check_rows(1, WIDTH, 1);
    check_rows(ROWS, WIDTH, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_become_singular_vectors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
