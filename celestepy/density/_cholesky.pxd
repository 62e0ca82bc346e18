# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Small symmetric positive definite matrices, one in each lane: factor, inverse, and the solution beside.

A symmetric matrix is its lower triangle, row after row: (a, b), a >= b, at a (a + 1) / 2 + b. The factors are
those of T = L D L', L with ones on its diagonal, which take no square roots; a vector y that is kept as one row
more than T has comes out as (D^-1 L^-1 y)'.
"""

from celestepy._simd cimport vd, vd_log, vd_mantissa, vd_max, vd_splat

cdef extern from *:
    """
    /* A pivot is not taken smaller than this part of its diagonal element: what is left there is rounding. */
    #define SMALLEST_PIVOT 2.220446049250313e-16
    """
    double SMALLEST_PIVOT


cdef inline Py_ssize_t row_of(Py_ssize_t a) noexcept nogil:
    """Where row a of a triangle begins."""
    return a * (a + 1) // 2


cdef inline vd factor(vd* t, int d, vd* inverse_pivots, vd* scratch, vd* log_determinant) noexcept nogil:
    """L (without its ones) and D^-1 of the triangle t of d rows; turns row d, y, into (D^-1 L^-1 y)'.

    Returns y' T^-1 y. A row is a forward substitution with the rows above it: c = L^-1 t.
    """
    cdef vd* c = scratch
    cdef vd* row
    cdef const vd* other
    cdef vd total, quadratic = vd_splat(0.)
    cdef vd mantissa = vd_splat(1.), exponent = vd_splat(0.)
    cdef int i, j, k
    for i in range(d + 1):
        row = t + row_of(i)
        for j in range(i):
            other = t + row_of(j)
            total = row[j]
            for k in range(j):
                total = total - c[k] * other[k]
            c[j] = total
        quadratic = vd_splat(0.)
        for j in range(i):
            row[j] = c[j] * inverse_pivots[j]
            quadratic = quadratic + row[j] * c[j]
        if i < d:
            total = vd_max(row[i] - quadratic, vd_splat(SMALLEST_PIVOT) * row[i])
            inverse_pivots[i] = vd_splat(1.) / total
            mantissa = mantissa * vd_mantissa(total, &exponent)
    log_determinant[0] = vd_log(mantissa) + exponent * vd_splat(0.693147180559945309417)
    return quadratic


cdef inline void solve_transposed(const vd* t, int d, vd* z) noexcept nogil:
    """z = L'^-1 z."""
    cdef int a, k
    cdef vd total
    for a in range(d - 2, -1, -1):
        total = z[a]
        for k in range(a + 1, d):
            total = total - t[row_of(k) + a] * z[k]
        z[a] = total


cdef inline void invert_unit(const vd* t, int d, vd* inverse) noexcept nogil:
    """L^-1, with its ones."""
    cdef int i, j, k
    cdef const vd* row
    cdef vd total
    for i in range(d):
        row = t + row_of(i)
        for j in range(i):
            total = row[j]
            for k in range(j + 1, i):
                total = total + row[k] * inverse[row_of(k) + j]
            inverse[row_of(i) + j] = -total
        inverse[row_of(i) + i] = vd_splat(1.)


cdef inline void subtract_inverse(
    const vd* unit, const vd* inverse_pivots, int d, vd* scaled, vd* out
) noexcept nogil:
    """out -= T^-1 = L'^-1 D^-1 L^-1, from L^-1; the memory at `scaled` is for D^-1 L^-1."""
    cdef int a, b, k
    cdef vd total
    for k in range(d):
        for b in range(k + 1):
            scaled[row_of(k) + b] = inverse_pivots[k] * unit[row_of(k) + b]
    for a in range(d):
        for b in range(a + 1):
            total = out[row_of(a) + b]
            for k in range(a, d):
                total = total - scaled[row_of(k) + a] * unit[row_of(k) + b]
            out[row_of(a) + b] = total
