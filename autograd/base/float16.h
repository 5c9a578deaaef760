/* IEEE half precision (binary16) as 16 bits: to f32 exactly, and back rounded to nearest even. */
#ifndef MLA_AUTOGRAD_BASE_FLOAT16_H
#define MLA_AUTOGRAD_BASE_FLOAT16_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float mla_f16_to_float(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = (half >> 10) & 31u;
    const uint32_t fraction = half & 1023u;
    float value = (float)fraction * 0x1p-24f; /* zero and subnormal */
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (exponent == 31) bits = 0x7f800000u | fraction << 13; /* infinite, NaN */
    else if (exponent > 0) bits = (exponent + 112) << 23 | fraction << 13;
    bits |= sign;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint16_t mla_f16_from_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    uint32_t half;
    if (size > 0x7f800000u) half = 0x7e00u | (size >> 13 & 1023u);                /* NaN */
    else if (size >= 0x477ff000u) half = 0x7c00u;                                 /* 65520 and more: infinite */
    else if (size < 0x38800000u) half = (uint32_t)lrintf(fabsf(value) * 0x1p24f); /* below 2^-14: subnormal */
    else half = (size + 0xfffu + (size >> 13 & 1u) - (112u << 23)) >> 13;
    return (uint16_t)(sign | half);
}

#endif
