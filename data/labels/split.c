#include "data/labels/split.h"

#include <math.h>
#include <stdlib.h>

static int by_stratum_and_content(const void *a, const void *b) {
    const mla_split_row *x = *(mla_split_row *const *)a, *y = *(mla_split_row *const *)b;
    if (x->stratum != y->stratum) return (x->stratum > y->stratum) - (x->stratum < y->stratum);
    return (x->content > y->content) - (x->content < y->content);
}

static int64_t count_contents(mla_split_row **rows, int64_t count) {
    int64_t contents = 0;
    for (int64_t i = 0; i < count; i++) contents += !i || rows[i]->content != rows[i - 1]->content;
    return contents;
}

/* Holds out the first contents of a stratum, which is sorted. */
static void split_stratum(mla_split_row **rows, int64_t count, double share) {
    const int64_t contents = count_contents(rows, count);
    int64_t wanted = (int64_t)lround(share * (double)contents), seen = 0;
    if (wanted < 1 && share > 0) wanted = 1;
    if (wanted > contents - 1) wanted = contents - 1;
    for (int64_t i = 0; i < count; i++) {
        seen += !i || rows[i]->content != rows[i - 1]->content;
        rows[i]->held_out = seen <= wanted;
    }
}

mla_status mla_split(mla_context *context, int64_t count, mla_split_row *rows, double share) {
    mla_split_row **sorted = mla_alloc(context, count, sizeof *sorted, "the order of examples");
    if (!sorted) return MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < count; i++) sorted[i] = &rows[i];
    if (count) qsort(sorted, (size_t)count, sizeof(mla_split_row *), by_stratum_and_content);
    for (int64_t begin = 0, end; begin < count; begin = end) {
        for (end = begin + 1; end < count && sorted[end]->stratum == sorted[begin]->stratum;) end++;
        split_stratum(sorted + begin, end - begin, share);
    }
    free(sorted);
    return MLA_OK;
}
