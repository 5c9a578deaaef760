/* Random numbers without state: each value is a pure function of its stream and its index, so that masks,
 * initial values and the order of data are the same on any number of threads or ranks, and after a resume.
 * Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). */
#ifndef MLA_AUTOGRAD_BASE_RANDOM_H
#define MLA_AUTOGRAD_BASE_RANDOM_H

#include <stdint.h>

typedef struct {
    uint64_t key;
} mla_stream;

/* A stream for a purpose (a short text) and up to three numbers: step, site, sample ... */
mla_stream mla_random_stream(uint64_t seed, const char *purpose, uint64_t a, uint64_t b, uint64_t c);

/* Four words of 32 random bits. */
void mla_random_bits(mla_stream stream, uint64_t index, uint32_t out[4]);

/* Values index ... index + count - 1 of the stream; count may start anywhere. */
void mla_random_uniform(mla_stream stream, uint64_t index, int64_t count, float *out); /* in [0, 1) */
void mla_random_normal(mla_stream stream, uint64_t index, int64_t count, float *out);  /* mean 0, variance 1 */

#endif
