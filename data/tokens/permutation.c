#include "data/tokens/permutation.h"

#include "autograd/base/random.h"

enum { ROUNDS = 6 };

static uint32_t random_word(mla_stream stream, uint64_t index) {
    uint32_t bits[4];
    mla_random_bits(stream, index, bits);
    return bits[0];
}

/* A bijection of 0 .. 4^half - 1: (l, r) -> (r, l xor F(r)), a few times. */
static uint64_t feistel(mla_stream stream, int half, uint64_t x) {
    uint64_t mask = (1ull << half) - 1, left = x >> half, right = x & mask;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint64_t mixed = left ^ (random_word(stream, (round << 32) | right) & mask);
        left = right;
        right = mixed;
    }
    return left << half | right;
}

int64_t mla_permute(uint64_t seed, uint64_t key, int64_t count, int64_t index) {
    mla_stream stream = mla_random_stream(seed, "permutation", key, 0, 0);
    int half = 1;
    while (half < 31 && (1ll << 2 * half) < count) half++;
    uint64_t x = (uint64_t)index;
    do x = feistel(stream, half, x);
    while (x >= (uint64_t)count);
    return (int64_t)x;
}
