#include "autograd/tensor.h"

#include <stdio.h>
#include <string.h>

int64_t mla_count(const mla_tensor *x) {
    int64_t count = 1;
    for (int i = 0; i < x->ndim; i++) count *= x->shape[i];
    return count;
}

int64_t mla_width(const mla_tensor *x) { return x->ndim ? x->shape[x->ndim - 1] : 1; }
int64_t mla_rows(const mla_tensor *x) { return mla_count(x) / mla_width(x); }
int64_t mla_size(const mla_tensor *x) { return mla_count(x) * (int64_t)mla_dtype_size(x->dtype); }

bool mla_is_row_of(const mla_tensor *b, const mla_tensor *x) {
    return b->dtype == MLA_F32 && b->ndim == 1 && b->shape[0] == mla_width(x);
}

bool mla_same_shape(const mla_tensor *a, const mla_tensor *b) {
    return a->ndim == b->ndim && !memcmp(a->shape, b->shape, (size_t)a->ndim * sizeof *a->shape);
}

const char *mla_shape_text(const mla_tensor *x, char text[MLA_SHAPE_TEXT]) {
    int length = snprintf(text, MLA_SHAPE_TEXT, "(");
    for (int i = 0; i < x->ndim; i++)
        length += snprintf(text + length, MLA_SHAPE_TEXT - (size_t)length, i ? ",%lld" : "%lld",
                           (long long)x->shape[i]);
    snprintf(text + length, MLA_SHAPE_TEXT - (size_t)length, ") %s", mla_dtype_name(x->dtype));
    return text;
}

int64_t mla_shape_count(int ndim, const int64_t *shape) {
    int64_t count = 1;
    if (ndim < 1 || ndim > MLA_MAX_DIMS) return -1;
    for (int i = 0; i < ndim; i++)
        if (shape[i] < 1 || __builtin_mul_overflow(count, shape[i], &count)) return -1;
    return count > INT64_MAX / 16 ? -1 : count;
}
