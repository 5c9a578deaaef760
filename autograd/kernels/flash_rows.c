#include "autograd/kernels/flash_rows.h"
#include "autograd/base/vecmath.h"

#include <math.h>

/* ---- forward ---- */

/* One row of scores to exponentials relative to the new maximum; what was summed before is rescaled. */
MLA_VECTOR static void take_row(int64_t count, int64_t width, float scale, float *restrict s, float *restrict max,
                                float *restrict total, int64_t value_width, float *restrict sum) {
    float top = *max, added = 0;
    MLA_SIMD_MAX(top)
    for (int64_t j = 0; j < count; j++) top = s[j] * scale > top ? s[j] * scale : top;
    MLA_SIMD_SUM(added)
    for (int64_t j = 0; j < count; j++) {
        s[j] = expf(s[j] * scale - top);
        added += s[j];
    }
    for (int64_t j = count; j < width; j++) s[j] = 0;
    const float shrink = expf(*max - top);
    *total = *total * shrink + added;
    *max = top;
    MLA_SIMD
    for (int64_t j = 0; j < value_width; j++) sum[j] *= shrink;
}

MLA_VECTOR static void divide_row(int64_t count, float by, float *restrict x) {
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) x[j] /= by;
}

void mla_flash_take_scores(const mla_flash *a, mla_stretch seen, int64_t width, float *s, mla_online_softmax x) {
    mla_flash_clear(seen.size ? seen.begin : width, s);
    if (!seen.size) return;
    take_row(seen.size, width - seen.begin, a->scale, s + seen.begin, x.max, x.total, a->value_width, x.sum);
}

void mla_flash_finish(const mla_flash *a, const mla_flash_operands *x, int64_t b, int64_t t, int64_t h,
                      mla_online_softmax done) {
    divide_row(a->value_width, *done.total, done.sum);
    mla_store(mla_flash_at(a, x->out, a->queries, b, t, h), MLA_SET, 0, a->value_width, done.sum);
    x->lse[(b * a->heads + h) * a->queries + t] = *done.max + logf(*done.total);
}

/* ---- backward ---- */

MLA_VECTOR float mla_flash_dot(int64_t count, const float *restrict x, const float *restrict y) {
    float sum = 0;
    MLA_SIMD_SUM(sum)
    for (int64_t i = 0; i < count; i++) sum += x[i] * y[i];
    return sum;
}

/* A row of scores to P, and of dP to scale * dS. */
MLA_VECTOR static void score_gradient_row(int64_t count, int64_t width, float scale, float lse, float row_dot,
                                          float *restrict p, float *restrict ds) {
    MLA_SIMD
    for (int64_t j = 0; j < count; j++) {
        p[j] = expf(p[j] * scale - lse);
        ds[j] = p[j] * (ds[j] - row_dot) * scale;
    }
    for (int64_t j = count; j < width; j++) p[j] = ds[j] = 0;
}

void mla_flash_score_gradient(const mla_flash *a, mla_stretch seen, int64_t width, mla_score_row x) {
    mla_flash_clear(seen.begin, x.scores);
    mla_flash_clear(seen.begin, x.dp);
    score_gradient_row(seen.size, width - seen.begin, a->scale, x.lse, x.dot, x.scores + seen.begin, x.dp + seen.begin);
}
