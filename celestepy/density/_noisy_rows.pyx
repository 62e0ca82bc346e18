# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True
"""Which of many small noise covariances is not one."""

from libc.math cimport fabs, isfinite, sqrt
from libc.stdlib cimport free, malloc

# Matrices that were rounded to single precision, singular ones among them, still pass.
cdef double TOLERANCE = 1e-6

cdef enum:
    GOOD, NOT_FINITE, NEGATIVE, ASYMMETRIC, INDEFINITE


cdef int symmetric(const double* s, Py_ssize_t n, const int* columns, int d) noexcept nogil:
    """Whether the elements of the given columns are finite, the diagonal positive or zero, both halves the same."""
    cdef int a, b, i, j
    for a in range(d):
        i = columns[a]
        if not isfinite(s[i * n + i]):
            return NOT_FINITE
        if s[i * n + i] < 0.:
            return NEGATIVE
        for b in range(a):
            j = columns[b]
            if not (isfinite(s[i * n + j]) and isfinite(s[j * n + i])):
                return NOT_FINITE
            if fabs(s[i * n + j] - s[j * n + i]) > TOLERANCE * sqrt(s[i * n + i] * s[j * n + j]):
                return ASYMMETRIC
    return GOOD


cdef int positive(
    const double* s, Py_ssize_t n, const int* columns, int d, double* factor, double* pivots
) noexcept nogil:
    """Whether the matrix of correlations has no negative pivot, and zero columns beneath those that vanish."""
    cdef int a, b, k
    cdef double total, scale
    for a in range(d):
        for b in range(a + 1):
            scale = sqrt(s[columns[a] * n + columns[a]] * s[columns[b] * n + columns[b]])
            if scale == 0. and s[columns[a] * n + columns[b]] != 0.:
                return INDEFINITE
            total = s[columns[a] * n + columns[b]] / scale if scale > 0. else 0.
            for k in range(b):
                total -= factor[a * d + k] * factor[b * d + k] * pivots[k]
            if a == b:
                if total < -TOLERANCE:
                    return INDEFINITE
                pivots[a] = total if total > TOLERANCE else 0.
            elif pivots[b] > 0.:
                factor[a * d + b] = total / pivots[b]
            else:
                # a correlation of one, rounded, leaves an element as large as the square root of the pivot
                if fabs(total) > sqrt(TOLERANCE):
                    return INDEFINITE
                factor[a * d + b] = 0.
    return GOOD


def first_bad(const double[:, :, ::1] covariances, const unsigned char[:, ::1] observed):
    """Index of the first row whose observed block is no covariance, and why (0: all of them are)."""
    cdef Py_ssize_t i = -1, n = covariances.shape[1]
    cdef int a, d, verdict = GOOD
    cdef int* columns = <int*>malloc((n + 1) * sizeof(int))
    cdef double* factor = <double*>malloc((n + 1) * (n + 1) * sizeof(double))
    try:
        if columns == NULL or factor == NULL:
            raise MemoryError
        with nogil:
            for i in range(covariances.shape[0]):
                d = 0
                for a in range(n):
                    if observed is None or observed[i, a]:
                        columns[d] = a
                        d += 1
                verdict = symmetric(&covariances[i, 0, 0], n, columns, d)
                if verdict == GOOD:
                    verdict = positive(&covariances[i, 0, 0], n, columns, d, factor, factor + n * n)
                if verdict != GOOD:
                    break
        return i if verdict != GOOD else -1, verdict
    finally:
        free(columns)
        free(factor)
