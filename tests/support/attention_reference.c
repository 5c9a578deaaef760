#include "tests/support/attention_reference.h"
#include "autograd/base/random.h"

#include <math.h>
#include <stdlib.h>

int32_t *attention_starts(int64_t batch, int64_t length, int64_t document) {
    int32_t *starts = malloc((size_t)(batch * length) * sizeof *starts);
    for (int64_t i = 0; i < batch * length; i++) {
        const int64_t t = i % length, each = document + i / length * 3;
        starts[i] = (int32_t)(t > length * 9 / 10 ? t : t - t % each);
    }
    return starts;
}

float *random_floats(const char *name, int64_t count) {
    float *x = malloc((size_t)count * sizeof *x);
    mla_random_normal(mla_random_stream(1, name, 0, 0, 0), 0, count, x);
    return x;
}

static double *zeros(int64_t count) { return calloc((size_t)count, sizeof(double)); }

static void probabilities(const attention_sizes *z, double scale, const float *q, const float *k, double *p) {
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < z->s; j++) {
        p[j] = 0;
        for (int64_t i = 0; i < z->k; i++) p[j] += scale * (double)q[i] * (double)k[j * z->g * z->k + i];
    }
    for (int64_t j = 0; j < z->s; j++) top = fmax(top, p[j]);
    for (int64_t j = 0; j < z->s; j++) sum += p[j] = isinf(p[j]) ? 0 : exp(p[j] - top);
    for (int64_t j = 0; j < z->s; j++) p[j] /= sum;
}

/* One query row: its output and what it adds to the gradients. */
static void reference_row(const attention_sizes *z, int64_t b, int64_t t, int64_t h, const float *q, const float *k,
                          const float *v, const float *dout, attention_reference *r) {
    attention_sizes seen = *z;
    const int64_t first = z->starts ? z->starts[b * z->t + t] : 0;
    seen.s = (z->causal ? t + 1 : z->s) - first;
    double *p = zeros(z->s), row_dot = 0;
    const double scale = 1 / sqrt((double)z->k);
    const int64_t g = h / (z->h / z->g), qi = ((b * z->t + t) * z->h + h) * z->k,
                  oi = ((b * z->t + t) * z->h + h) * z->v;
    const int64_t k0 = ((b * z->s + first) * z->g + g) * z->k, v0 = ((b * z->s + first) * z->g + g) * z->v;
    probabilities(&seen, scale, q + qi, k + k0, p);
    for (int64_t j = 0; j < seen.s; j++)
        for (int64_t i = 0; i < z->v; i++) r->o[oi + i] += p[j] * (double)v[v0 + j * z->g * z->v + i];
    for (int64_t i = 0; i < z->v; i++) row_dot += r->o[oi + i] * (double)dout[oi + i];
    for (int64_t j = 0; j < seen.s; j++) {
        double dp = 0;
        for (int64_t i = 0; i < z->v; i++) {
            dp += (double)dout[oi + i] * (double)v[v0 + j * z->g * z->v + i];
            r->dv[v0 + j * z->g * z->v + i] += p[j] * (double)dout[oi + i];
        }
        const double ds = p[j] * (dp - row_dot) * scale;
        for (int64_t i = 0; i < z->k; i++) {
            r->dq[qi + i] += ds * (double)k[k0 + j * z->g * z->k + i];
            r->dk[k0 + j * z->g * z->k + i] += ds * (double)q[qi + i];
        }
    }
    free(p);
}

attention_reference attention_reference_of(const attention_sizes *z, const float *q, const float *k, const float *v,
                                           const float *dout) {
    attention_reference r = {zeros(z->b * z->t * z->h * z->v), zeros(z->b * z->t * z->h * z->k),
                             zeros(z->b * z->s * z->g * z->k), zeros(z->b * z->s * z->g * z->v)};
    for (int64_t b = 0; b < z->b; b++)
        for (int64_t t = 0; t < z->t; t++)
            for (int64_t h = 0; h < z->h; h++) reference_row(z, b, t, h, q, k, v, dout, &r);
    return r;
}

void attention_reference_free(attention_reference *r) {
    free(r->o);
    free(r->dq);
    free(r->dk);
    free(r->dv);
}

double error_of(int64_t count, const float *a, const double *b) {
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += b[i] * b[i];
    }
    if (!isfinite(difference)) return INFINITY;
    return norm > 0 ? sqrt(difference / norm) : sqrt(difference);
}
