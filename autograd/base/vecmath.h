/* Hot loops over floats, compiled for every x86-64 level in one binary.
 *
 * MLA_VECTOR marks a function that loops over a row: gcc compiles it for x86-64, x86-64-v3 (AVX2) and
 * x86-64-v4 (AVX-512) and the loader picks one. gcc turns expf and its like into glibc's vector forms only
 * where they are declared as below (and linked with -lmvec); no -ffast-math is needed. Sums need
 * MLA_SIMD_SUM to be vectorised: their order is fixed by the level of the processor, not by the run. */
#ifndef MLA_AUTOGRAD_BASE_VECMATH_H
#define MLA_AUTOGRAD_BASE_VECMATH_H

#include <math.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define MLA_VECTOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#pragma omp declare simd notinbranch
extern float expf(float);
#pragma omp declare simd notinbranch
extern float logf(float);
#pragma omp declare simd notinbranch
extern float sinf(float);
#pragma omp declare simd notinbranch
extern float cosf(float);
#else
#define MLA_VECTOR
#endif

#define MLA_SIMD              _Pragma("omp simd")
#define MLA_SIMD_SUM(...)     _Pragma(MLA_VECMATH_STRING(omp simd reduction(+ : __VA_ARGS__)))
#define MLA_SIMD_MAX(...)     _Pragma(MLA_VECMATH_STRING(omp simd reduction(max : __VA_ARGS__)))
#define MLA_VECMATH_STRING(x) #x

#endif
