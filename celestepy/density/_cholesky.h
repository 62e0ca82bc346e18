/* Small symmetric positive definite matrices, one in each lane: factors, inverse, and a solution beside.
 *
 * A symmetric matrix is its lower triangle, row after row: (a, b), a >= b, at ROW(a) + b. The factors are those
 * of T = L D L', L with ones on its diagonal, which take no square roots. Everything is inline: where the
 * caller's d is a constant the loops are unrolled and the matrix stays in registers, which is four times as
 * fast at d = 7.
 */
#ifndef CELESTEPY_CHOLESKY_H
#define CELESTEPY_CHOLESKY_H

#include "_simd.h"

#define ROW(a) ((a) * ((a) + 1) / 2)

#if defined(__clang__)
#  define CH_UNROLLED _Pragma("unroll")
#elif defined(__GNUC__)
#  define CH_UNROLLED _Pragma("GCC unroll 16")
#else
#  define CH_UNROLLED
#endif

/* A pivot is not taken smaller than this part of its diagonal element: what is left there is rounding. */
#define CH_SMALLEST_PIVOT 2.220446049250313e-16

/* Triangle t into L (without its ones), D^-1 and log det T; the row after it, y, into (D^-1 L^-1 y)'. Returns
 * y' T^-1 y. A row is a forward substitution with the rows above: c = L^-1 t. */
VD_INLINE vd ch_factor(const int d, vd *t, vd *inverse_pivots, vd *c, vd *log_determinant) {
    vd mantissa = vd_splat(1.), exponent = vd_splat(0.), quadratic = vd_splat(0.);
    CH_UNROLLED for (int i = 0; i <= d; i++) {
        vd *row = t + ROW(i);
        CH_UNROLLED for (int j = 0; j < i; j++) {
            const vd *other = t + ROW(j);
            c[j] = row[j];
            CH_UNROLLED for (int k = 0; k < j; k++) c[j] = c[j] - c[k] * other[k];
        }
        quadratic = vd_splat(0.);
        CH_UNROLLED for (int j = 0; j < i; j++) {
            row[j] = c[j] * inverse_pivots[j];
            quadratic = quadratic + row[j] * c[j];
        }
        if (i < d) {
            const vd pivot = vd_max(row[i] - quadratic, vd_splat(CH_SMALLEST_PIVOT) * row[i]);
            inverse_pivots[i] = vd_splat(1.) / pivot;
            mantissa = mantissa * vd_mantissa(pivot, &exponent);
        }
    }
    *log_determinant = vd_log(mantissa) + exponent * vd_splat(6.93147180559945309417e-01);
    return quadratic;
}

/* z = L'^-1 z */
VD_INLINE void ch_solve_transposed(const int d, const vd *t, vd *z) {
    CH_UNROLLED for (int i = 1; i < d; i++) {
        const int k = d - i;
        CH_UNROLLED for (int a = 0; a < k; a++) z[a] = z[a] - t[ROW(k) + a] * z[k];
    }
}

/* L into the elements of L^-1 beneath its ones, in place */
VD_INLINE void ch_invert(const int d, vd *t) {
    CH_UNROLLED for (int i = 1; i < d; i++) {
        CH_UNROLLED for (int j = 0; j < i; j++) {
            vd total = t[ROW(i) + j];
            CH_UNROLLED for (int k = j + 1; k < i; k++) total = total + t[ROW(i) + k] * t[ROW(k) + j];
            t[ROW(i) + j] = -total;
        }
    }
}

/* Element (a, b), a >= b, of T^-1 = L'^-1 D^-1 L^-1, from L^-1 beneath its ones */
VD_INLINE vd ch_inverse_element(const int d, const vd *unit, const vd *inverse_pivots, int a, int b) {
    vd total = a > b ? inverse_pivots[a] * unit[ROW(a) + b] : inverse_pivots[a];
    CH_UNROLLED for (int k = a + 1; k < d; k++)
        total = total + inverse_pivots[k] * unit[ROW(k) + a] * unit[ROW(k) + b];
    return total;
}

#endif
