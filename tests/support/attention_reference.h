/* Attention and its gradients written out in double precision, with whole T x S scores. */
#ifndef MLA_TESTS_SUPPORT_ATTENTION_REFERENCE_H
#define MLA_TESTS_SUPPORT_ATTENTION_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

/* Batch, heads, key heads, queries, keys, and the widths of keys and values. */
typedef struct {
    int64_t b, h, g, t, s, k, v;
    bool causal;
    const int32_t *starts; /* (b,t), or NULL */
} attention_sizes;

/* The starts (batch, length) of documents of some length, another one in each sample, and of some positions alone after
 * them. The caller frees them. */
int32_t *attention_starts(int64_t batch, int64_t length, int64_t document);

typedef struct {
    double *o, *dq, *dk, *dv;
} attention_reference;

/* q (b,t,h,k), k (b,s,g,k), v (b,s,g,v), dout (b,t,h,v). */
attention_reference attention_reference_of(const attention_sizes *z, const float *q, const float *k, const float *v,
                                           const float *dout);
void attention_reference_free(attention_reference *r);

/* Normal ones, always the same for a name; the caller frees them. */
float *random_floats(const char *name, int64_t count);
/* |a - b| / |b|; infinite where anything is not finite. */
double error_of(int64_t count, const float *a, const double *b);

#endif
