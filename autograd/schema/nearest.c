#include "autograd/schema/nearest.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_WORD = 63 };

static int length_of(const char *word) { return (int)strnlen(word, MAX_WORD); }
static int nearest_smaller(int a, int b) { return a < b ? a : b; }

/* d[i % 3][j]: from the first i letters of a to the first j of b. */
int mla_word_distance(const char *a, const char *b) {
    int d[3][MAX_WORD + 1];
    const int rows = length_of(a), columns = length_of(b);
    for (int j = 0; j <= columns; j++) d[0][j] = j;
    for (int i = 1; i <= rows; i++) {
        int *row = d[i % 3], *above = d[(i + 2) % 3], *above_that = d[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= columns; j++) {
            row[j] = nearest_smaller(above[j - 1] + (a[i - 1] != b[j - 1]), 1 + nearest_smaller(above[j], row[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = nearest_smaller(row[j], above_that[j - 2] + 1);
        }
    }
    return d[rows % 3][columns];
}

int mla_word_slip(const char *a, const char *b) {
    const int shorter = nearest_smaller(length_of(a), length_of(b)), longer = length_of(a) + length_of(b) - shorter;
    const int distance = mla_word_distance(a, b);
    if (shorter >= 3 && !strncmp(a, b, (size_t)shorter)) return nearest_smaller(distance, 1);
    return 2 * distance < longer || distance <= 1 ? distance : -1;
}

void mla_nearest_offer(mla_nearest *nearest, const char *candidate) {
    const int distance = mla_word_slip(nearest->word, candidate);
    if (distance < 0 || (nearest->best && nearest->distance <= distance)) return;
    nearest->best = candidate;
    nearest->distance = distance;
}
