/* A vector of VD_WIDTH doubles, and the few functions that the kernels need on it.
 *
 * The width follows the instruction set the file is compiled for; on compilers without GCC's vector
 * extension a "vector" is one plain double, so the kernels are the same source everywhere.
 */
#ifndef CELESTEPY_SIMD_H
#define CELESTEPY_SIMD_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__) || defined(__clang__)
#  define VD_INLINE static inline __attribute__((always_inline, unused))
#  if defined(__AVX512F__)
#    define VD_WIDTH 8
#    include <immintrin.h>
#  elif defined(__AVX2__)
#    define VD_WIDTH 4
#    include <immintrin.h>
#  else
#    define VD_WIDTH 2
#  endif
typedef double vd __attribute__((vector_size(8 * VD_WIDTH)));
typedef uint64_t vu __attribute__((vector_size(8 * VD_WIDTH)));
#else
#  define VD_INLINE static __inline
#  define VD_WIDTH 1
typedef double vd;
typedef uint64_t vu;
#endif

#if VD_WIDTH == 8
#  define VD_ALL(x) {x, x, x, x, x, x, x, x}
#  define VD_COUNT {0., 1., 2., 3., 4., 5., 6., 7.}
#elif VD_WIDTH == 4
#  define VD_ALL(x) {x, x, x, x}
#  define VD_COUNT {0., 1., 2., 3.}
#elif VD_WIDTH == 2
#  define VD_ALL(x) {x, x}
#  define VD_COUNT {0., 1.}
#else
#  define VD_ALL(x) x
#  define VD_COUNT 0.
#endif

VD_INLINE vd vd_splat(double x) { vd v = VD_ALL(x); return v; }
VD_INLINE vu vu_splat(uint64_t x) { vu v = VD_ALL(x); return v; }
VD_INLINE vd vd_lanes(void) { vd v = VD_COUNT; return v; }
VD_INLINE vu vd_bits(vd x) { vu u; memcpy(&u, &x, sizeof u); return u; }
VD_INLINE vd vd_from_bits(vu u) { vd x; memcpy(&x, &u, sizeof x); return x; }

/* Larger and smaller of two vectors, and x with 0 where a < b. With GCC's vectors a comparison is a mask of
 * all ones in a register, and with AVX-512 GCC makes that mask by an instruction that waits for the
 * register's last value: in a loop the iterations can then no longer overlap. Hence the processor's own
 * instructions where there are any. */
#if VD_WIDTH == 8
VD_INLINE vd vd_max(vd a, vd b) { return (vd)_mm512_max_pd((__m512d)a, (__m512d)b); }
VD_INLINE vd vd_min(vd a, vd b) { return (vd)_mm512_min_pd((__m512d)a, (__m512d)b); }
VD_INLINE vd vd_zero_if_less(vd a, vd b, vd x) {
    return (vd)_mm512_maskz_mov_pd(_mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_GE_OQ), (__m512d)x);
}
#elif VD_WIDTH == 4
VD_INLINE vd vd_max(vd a, vd b) { return (vd)_mm256_max_pd((__m256d)a, (__m256d)b); }
VD_INLINE vd vd_min(vd a, vd b) { return (vd)_mm256_min_pd((__m256d)a, (__m256d)b); }
VD_INLINE vd vd_zero_if_less(vd a, vd b, vd x) {
    return (vd)_mm256_and_pd(_mm256_cmp_pd((__m256d)a, (__m256d)b, _CMP_GE_OQ), (__m256d)x);
}
#elif VD_WIDTH == 2
VD_INLINE vd vd_select(vu mask, vd a, vd b) {
    return vd_from_bits((vd_bits(a) & mask) | (vd_bits(b) & ~mask));
}
VD_INLINE vd vd_max(vd a, vd b) { return vd_select((vu)(a < b), b, a); }
VD_INLINE vd vd_min(vd a, vd b) { return vd_select((vu)(a < b), a, b); }
VD_INLINE vd vd_zero_if_less(vd a, vd b, vd x) { return vd_from_bits(vd_bits(x) & ~(vu)(a < b)); }
#else
VD_INLINE vd vd_max(vd a, vd b) { return a < b ? b : a; }
VD_INLINE vd vd_min(vd a, vd b) { return a < b ? a : b; }
VD_INLINE vd vd_zero_if_less(vd a, vd b, vd x) { return a < b ? 0. : x; }
#endif

VD_INLINE double vd_sum(vd x) {
    double lanes[VD_WIDTH], total = 0.;
    int i;
    memcpy(lanes, &x, sizeof x);
    for (i = 0; i < VD_WIDTH; i++) total += lanes[i];
    return total;
}

/* 1.5 * 2^52: adding it to a small number leaves that number, rounded, in the low bits */
#define VD_ROUNDER 6755399441055744.0

/* exp(x) to 2 units in the last place; exactly 0 below -690, so that no subnormal number (slow on
 * many processors) ever enters the recurrences; x above 690 is taken as 690. */
VD_INLINE vd vd_exp(vd x) {
    const vd unclipped = x;
    const vd rounder = vd_splat(VD_ROUNDER);
    vd k, f, p;
    x = vd_min(vd_max(x, vd_splat(-690.)), vd_splat(690.));
    k = x * vd_splat(1.44269504088896338700) + rounder;
    const vu exponent = vd_bits(k) << 52;
    k = k - rounder;
    f = x - k * vd_splat(6.93147180369123816490e-01);
    f = f - k * vd_splat(1.90821492927058770002e-10);
    /* Taylor series to order 13: the remainder is below 5e-18 for |f| <= ln(2) / 2. Even and odd
     * powers apart, because two short chains finish before one long one. */
    const vd g = f * f;
    p = vd_splat(1. / 479001600.) * g + vd_splat(1. / 3628800.);
    vd o = vd_splat(1. / 6227020800.) * g + vd_splat(1. / 39916800.);
    p = p * g + vd_splat(1. / 40320.);
    o = o * g + vd_splat(1. / 362880.);
    p = p * g + vd_splat(1. / 720.);
    o = o * g + vd_splat(1. / 5040.);
    p = p * g + vd_splat(1. / 24.);
    o = o * g + vd_splat(1. / 120.);
    p = p * g + vd_splat(1. / 2.);
    o = o * g + vd_splat(1. / 6.);
    o = o * g + vd_splat(1.);
    p = p * g + (o * f + vd_splat(1.));
    return vd_zero_if_less(unclipped, vd_splat(-690.), vd_from_bits(vd_bits(p) + exponent));
}

/* x - 1 - log(x) for normal x > 0, accurate to a few units in the last place also near x = 1, where
 * the difference of the terms would keep nothing. Reduction and coefficients of fdlibm's log:
 * x = 2^k (1 + f), log(1 + f) = f - (f^2/2 - s (f^2/2 + R)), s = f / (2 + f). */
VD_INLINE vd vd_log_excess(vd x) {
    const uint64_t root_half = 0x3fe6a09e667f3bcdULL, one = 0x3ff0000000000000ULL;
    const vu shifted = vd_bits(x) + vu_splat(one - root_half);
    const vu mantissa = (shifted & vu_splat(0x000fffffffffffffULL)) + vu_splat(root_half);
    const vd f = vd_from_bits(mantissa) - vd_splat(1.);
    const vd rounder = vd_splat(VD_ROUNDER);
    const vd k = vd_from_bits((shifted >> 52) + vd_bits(rounder)) - vd_splat(VD_ROUNDER + 1023.);
    const vd s = f / (f + vd_splat(2.));
    const vd z = s * s, half = vd_splat(.5) * f * f;
    vd r = vd_splat(1.479819860511658591e-01) * z + vd_splat(1.531383769920937332e-01);
    r = r * z + vd_splat(1.818357216161805012e-01);
    r = r * z + vd_splat(2.222219843214978396e-01);
    r = r * z + vd_splat(2.857142874366239149e-01);
    r = r * z + vd_splat(3.999999999940941908e-01);
    r = r * z + vd_splat(6.666666666666735130e-01);
    r = r * z;
    vd rest = (x - vd_splat(1.)) - f;
    rest = rest - k * vd_splat(6.93147180369123816490e-01);
    rest = rest - k * vd_splat(1.90821492927058770002e-10);
    return rest + (half - s * (half + r));
}

/* log(x) for normal x > 0 to 2 units in the last place, by the same reduction. */
VD_INLINE vd vd_log(vd x) {
    const uint64_t root_half = 0x3fe6a09e667f3bcdULL, one = 0x3ff0000000000000ULL;
    const vu shifted = vd_bits(x) + vu_splat(one - root_half);
    const vu mantissa = (shifted & vu_splat(0x000fffffffffffffULL)) + vu_splat(root_half);
    const vd f = vd_from_bits(mantissa) - vd_splat(1.);
    const vd rounder = vd_splat(VD_ROUNDER);
    const vd k = vd_from_bits((shifted >> 52) + vd_bits(rounder)) - vd_splat(VD_ROUNDER + 1023.);
    const vd s = f / (f + vd_splat(2.));
    const vd z = s * s, half = vd_splat(.5) * f * f;
    vd r = vd_splat(1.479819860511658591e-01) * z + vd_splat(1.531383769920937332e-01);
    r = r * z + vd_splat(1.818357216161805012e-01);
    r = r * z + vd_splat(2.222219843214978396e-01);
    r = r * z + vd_splat(2.857142874366239149e-01);
    r = r * z + vd_splat(3.999999999940941908e-01);
    r = r * z + vd_splat(6.666666666666735130e-01);
    r = r * z;
    return k * vd_splat(6.93147180369123816490e-01) +
           (f - (half - (s * (half + r) + k * vd_splat(1.90821492927058770002e-10))));
}

/* The mantissa, 1 <= m < 2, of a normal x > 0; its exponent is added to *exponent. The product of many
 * mantissas neither overflows nor vanishes where that of the numbers would. */
VD_INLINE vd vd_mantissa(vd x, vd *exponent) {
    const vu bits = vd_bits(x);
    const vd rounder = vd_splat(VD_ROUNDER);
    *exponent = *exponent + (vd_from_bits((bits >> 52) + vd_bits(rounder)) - vd_splat(VD_ROUNDER + 1023.));
    return vd_from_bits((bits & vu_splat(0x000fffffffffffffULL)) | vu_splat(0x3ff0000000000000ULL));
}

/* n log(m / n) - m + n for n >= 1e-300 and normal m > 0: minus half the deviance of n counts where m are
 * expected, with one division. With b = 2^k m and k such that n / b lies in 2/3 .. 3/2, and with
 * d = n - b, s = d / (n + b), log(n / b) = 2 atanh(s) = 2 s + s R(s^2),
 *
 *     n log(b / n) - b + n = -d s - n s R,     m in place of b adds b - m - n k log(2),
 *
 * all digits kept when m is near n, where k = 0. The difference of the bit patterns of two numbers is that of
 * their exponents plus that of their mantissas: rounded, it is k. R is that of fdlibm's log, made for s^2 up
 * to 0.0295; at the 0.04 of here it is still right to 3e-17. */
VD_INLINE vd vd_half_deviance(vd n, vd m) {
    const uint64_t top = 0x8000000000000000ULL, half = 0x0008000000000000ULL;
    const vu shift = (vd_bits(n) - vd_bits(m) + vu_splat(top + half)) >> 52; /* k + 2048 */
    const vd k = vd_from_bits(shift + vd_bits(vd_splat(VD_ROUNDER))) - vd_splat(VD_ROUNDER + 2048.);
    const vd b = vd_from_bits(vd_bits(m) + (shift << 52) - vu_splat(top));
    const vd d = n - b;
    const vd s = d / (n + b);
    const vd z = s * s;
    vd r = vd_splat(1.479819860511658591e-01) * z + vd_splat(1.531383769920937332e-01);
    r = r * z + vd_splat(1.818357216161805012e-01);
    r = r * z + vd_splat(2.222219843214978396e-01);
    r = r * z + vd_splat(2.857142874366239149e-01);
    r = r * z + vd_splat(3.999999999940941908e-01);
    r = r * z + vd_splat(6.666666666666735130e-01);
    r = r * z;
    return (b - m) - n * (k * vd_splat(6.93147180559945309417e-01) + s * r) - d * s;
}

/* Memory aligned for any vector, or NULL; released by vd_free. */
VD_INLINE void *vd_allocate(size_t bytes) {
    char *raw = (char *)malloc(bytes + 64 + sizeof(void *));
    uintptr_t aligned;
    if (!raw) return NULL;
    aligned = ((uintptr_t)raw + sizeof(void *) + 63) & ~(uintptr_t)63;
    ((void **)aligned)[-1] = raw;
    return (void *)aligned;
}
VD_INLINE void vd_free(void *aligned) {
    if (aligned) free(((void **)aligned)[-1]);
}

/* Whether this processor (and its operating system) runs a variant; asked before its import. */
static inline int vd_processor_runs(int width) {
#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
    __builtin_cpu_init();
    if (width == 8)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
    if (width == 4) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return width == VD_WIDTH;
}

#endif
