#include "data/tokens/mixture.h"
#include "autograd/base/random.h"

#include <math.h>

__extension__ typedef unsigned __int128 uint128_t;

static const double WHOLE = 0x1p32;

static uint64_t random_phase(uint64_t seed, int part) {
    uint32_t bits[4];
    mla_random_bits(mla_random_stream(seed, "mixture", (uint64_t)part, 0, 0), 0, bits);
    return bits[0];
}

void mla_mixture_init(mla_mixture *out, int count, const double *weights, uint64_t seed) {
    double left = 0;
    *out = (mla_mixture){.count = count};
    for (int k = count - 1; k >= 0; k--) {
        left += weights[k];
        const double quota = round(weights[k] / left * WHOLE);
        out->quotas[k] = quota < 1 ? 1 : quota > WHOLE ? (uint64_t)WHOLE : (uint64_t)quota;
        out->phases[k] = random_phase(seed, k);
    }
    out->quotas[count - 1] = (uint64_t)WHOLE;
}

/* f(i) of the head of this file's page. */
static int64_t given_by(const mla_mixture *m, int part, int64_t i) {
    return (int64_t)(((uint128_t)(uint64_t)i * m->quotas[part] + m->phases[part]) >> 32);
}

int mla_mixture_at(const mla_mixture *m, int64_t index, int64_t *own) {
    int part = 0;
    for (; part < m->count - 1; part++) {
        *own = given_by(m, part, index);
        if (given_by(m, part, index + 1) > *own) return part;
        index -= *own;
    }
    *own = index;
    return part;
}

int64_t mla_mixture_given(const mla_mixture *m, int part, int64_t index) {
    for (int k = 0; k < part; k++) index -= given_by(m, k, index);
    return part == m->count - 1 ? index : given_by(m, part, index);
}
