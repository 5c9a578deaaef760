#include "autograd/base/random.h"
#include "autograd/base/vecmath.h"

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

static inline float unit(uint32_t bits) { return (float)(int32_t)(bits >> 8) * 0x1p-24f; }

/* Whole blocks of four, `block` being the index of the first: as mla_random_bits, in 64-bit lanes that the
 * compiler's vectors multiply without shuffling. */
MLA_VECTOR static void uniform_blocks(uint64_t key, uint64_t block, int64_t blocks, float *out) {
    const uint64_t low = 0xffffffffu;
    MLA_SIMD
    for (int64_t i = 0; i < blocks; i++) {
        const uint64_t index = block + (uint64_t)i;
        uint64_t c0 = index & low, c1 = index >> 32, c2 = 0, c3 = 0;
        uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
#pragma GCC unroll 10
        for (int round = 0; round < 10; round++) {
            const uint64_t p0 = 0xD2511F53u * (c0 & low), p1 = 0xCD9E8D57u * (c2 & low);
            c0 = p1 >> 32 ^ c1 ^ k0;
            c2 = p0 >> 32 ^ c3 ^ k1;
            c1 = p1 & low;
            c3 = p0 & low;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        out[4 * i] = unit((uint32_t)c0);
        out[4 * i + 1] = unit((uint32_t)c1);
        out[4 * i + 2] = unit((uint32_t)c2);
        out[4 * i + 3] = unit((uint32_t)c3);
    }
}

/* Values of one block, from its `first` on. */
static void uniform_part(mla_stream stream, uint64_t block, int64_t first, int64_t count, float *out) {
    uint32_t bits[4];
    mla_random_bits(stream, block, bits);
    for (int64_t i = 0; i < count; i++) out[i] = unit(bits[first + i]);
}

void mla_random_uniform(mla_stream stream, uint64_t index, int64_t count, float *out) {
    const int64_t first = (int64_t)(index % 4), missing = first ? 4 - first : 0;
    const int64_t head = missing < count ? missing : count, blocks = (count - head) / 4, tail = (count - head) % 4;
    const uint64_t block = (index + 3) / 4;
    if (head) uniform_part(stream, index / 4, first, head, out);
    uniform_blocks(stream.key, block, blocks, out + head);
    if (tail) uniform_part(stream, block + (uint64_t)blocks, 0, tail, out + head + 4 * blocks);
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
