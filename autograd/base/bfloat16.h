/* bfloat16: the upper half of an f32, rounded to nearest even; NaN stays NaN. */
#ifndef MLA_AUTOGRAD_BASE_BFLOAT16_H
#define MLA_AUTOGRAD_BASE_BFLOAT16_H

#include <stdint.h>
#include <string.h>

typedef uint16_t mla_bf16;

static inline float mla_bf16_to_float(mla_bf16 x) {
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline mla_bf16 mla_bf16_from_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    uint32_t nan = (bits >> 16) | 0x40u;
    return (mla_bf16)((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

#endif
