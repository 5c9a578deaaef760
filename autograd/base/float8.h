/* Eight-bit numbers (Micikevicius et al. 2022) to f32, exactly: four bits of exponent and three of fraction, where 0x7f
 * and 0xff alone are NaN and nothing is infinite; five and two, which are the upper half of an f16; and eight of
 * exponent alone, as scales have them (0xff: NaN). */
#ifndef MLA_AUTOGRAD_BASE_FLOAT8_H
#define MLA_AUTOGRAD_BASE_FLOAT8_H

#include "autograd/base/float16.h"

static inline float mla_f8_e4m3_to_float(uint8_t bits) {
    const int exponent = bits >> 3 & 15, fraction = bits & 7;
    const float size = exponent ? ldexpf((float)(8 + fraction), exponent - 10) : (float)fraction * 0x1p-9f;
    return copysignf((bits & 127) == 127 ? NAN : size, bits & 128 ? -1.0f : 1.0f);
}

static inline float mla_f8_e5m2_to_float(uint8_t bits) { return mla_f16_to_float((uint16_t)(bits << 8)); }

static inline float mla_f8_e8m0_to_float(uint8_t bits) { return bits == 255 ? NAN : ldexpf(1, bits - 127); }

#endif
