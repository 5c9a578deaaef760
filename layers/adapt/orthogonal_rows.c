/* One-sided Jacobi (Hestenes 1958): of each pair of rows in turn, the product becomes zero by a rotation. */
#include "layers/adapt/orthogonal_rows.h"

#include <math.h>
#include <stdbool.h>

enum { SWEEPS = 40 };

static double product(int64_t width, const double *x, const double *y) {
    double sum = 0;
    #pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; i++) sum += x[i] * y[i];
    return sum;
}

double mla_row_length(int64_t width, const double *row) { return sqrt(product(width, row, row)); }

/* Whether they were not orthogonal, to rounding of the longest row there is. */
static bool rotate(int64_t width, double *x, double *y, double longest) {
    const double xx = product(width, x, x), yy = product(width, y, y), xy = product(width, x, y);
    if (fabs(xy) <= 1e-15 * sqrt(xx * yy) || fabs(xy) <= 1e-30 * longest) return false;
    const double zeta = (yy - xx) / (2 * xy), t = copysign(1, zeta) / (fabs(zeta) + sqrt(1 + zeta * zeta));
    const double c = 1 / sqrt(1 + t * t), s = c * t;
    #pragma omp simd
    for (int64_t i = 0; i < width; i++) {
        const double old = x[i];
        x[i] = c * old - s * y[i];
        y[i] = s * old + c * y[i];
    }
    return true;
}

static void swap(int64_t width, double *x, double *y) {
    for (int64_t i = 0; i < width; i++) {
        const double old = x[i];
        x[i] = y[i];
        y[i] = old;
    }
}

static void sort(int64_t rows, int64_t width, double *a) {
    for (int64_t i = 0; i < rows; i++) {
        int64_t best = i;
        double longest = mla_row_length(width, a + i * width);
        for (int64_t j = i + 1; j < rows; j++) {
            const double length = mla_row_length(width, a + j * width);
            if (length > longest) best = j, longest = length;
        }
        if (best != i) swap(width, a + i * width, a + best * width);
    }
}

void mla_orthogonal_rows(int64_t rows, int64_t width, double *a) {
    const double all = product(rows * width, a, a);
    bool turned = true;
    for (int sweep = 0; sweep < SWEEPS && turned; sweep++) {
        turned = false;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = i + 1; j < rows; j++) turned |= rotate(width, a + i * width, a + j * width, all);
    }
    sort(rows, width, a);
}
