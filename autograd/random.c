#include "autograd/random.h"

#include <math.h>

void mla_random_bits(mla_stream stream, uint64_t index, uint32_t out[4]) {
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = 0, c3 = 0;
    uint32_t k0 = (uint32_t)stream.key, k1 = (uint32_t)(stream.key >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static uint64_t absorb(uint64_t key, uint64_t value) {
    uint32_t bits[4];
    mla_random_bits((mla_stream){key}, value, bits);
    return (uint64_t)bits[0] << 32 | bits[1];
}

mla_stream mla_random_stream(uint64_t seed, const char *purpose, uint64_t a, uint64_t b, uint64_t c) {
    uint64_t key = seed;
    for (const char *p = purpose; *p; p++) key = absorb(key, (uint8_t)*p);
    return (mla_stream){absorb(absorb(absorb(key, a), b), c)};
}

static float unit(uint32_t bits) { return (float)(bits >> 8) * 0x1p-24f; }

void mla_random_uniform(mla_stream stream, uint64_t index, int64_t count, float *out) {
    uint32_t bits[4];
    for (int64_t i = 0; i < count; i++) {
        const uint64_t at = index + (uint64_t)i;
        if (i == 0 || at % 4 == 0) mla_random_bits(stream, at / 4, bits);
        out[i] = unit(bits[at % 4]);
    }
}

/* Box and Muller: each pair of uniform values gives a pair of normal ones. */
void mla_random_normal(mla_stream stream, uint64_t index, int64_t count, float *out) {
    uint32_t bits[4];
    for (int64_t i = 0; i < count; i++) {
        const uint64_t at = index + (uint64_t)i;
        if (i == 0 || at % 4 == 0) mla_random_bits(stream, at / 4, bits);
        const uint32_t *pair = bits + (at % 4 & 2u);
        const double radius = sqrt(-2 * log(1 - (double)unit(pair[0])));
        const double angle = 2 * M_PI * (double)unit(pair[1]);
        out[i] = (float)(radius * (at & 1u ? sin(angle) : cos(angle)));
    }
}
