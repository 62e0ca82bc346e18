# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Small positive definite matrices, row after row in plain memory: triangular roots and what they are for."""

from libc.math cimport sqrt


cdef inline bint cholesky(double* a, int n) noexcept nogil:
    """Replace the lower triangle of a by the L of a = L L'; False if a is not positive definite."""
    cdef int i, j, k
    cdef double total
    for j in range(n):
        for i in range(j, n):
            total = a[i * n + j]
            for k in range(j):
                total -= a[i * n + k] * a[j * n + k]
            if i == j:
                if not total > 0.:
                    return False
                a[j * n + j] = sqrt(total)
            else:
                a[i * n + j] = total / a[j * n + j]
    return True


cdef inline void solve(const double* root, double* x, int n) noexcept nogil:
    """Replace x by the solution of L L' y = x."""
    cdef int i, k
    for i in range(n):
        for k in range(i):
            x[i] -= root[i * n + k] * x[k]
        x[i] /= root[i * n + i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            x[i] -= root[k * n + i] * x[k]
        x[i] /= root[i * n + i]


cdef inline void invert_root(const double* root, double* inverse, int n) noexcept nogil:
    """The inverse of L, lower triangular too; the upper triangle is not written."""
    cdef int i, j, k
    cdef double total
    for j in range(n):
        inverse[j * n + j] = 1. / root[j * n + j]
        for i in range(j + 1, n):
            total = 0.
            for k in range(j, i):
                total -= root[i * n + k] * inverse[k * n + j]
            inverse[i * n + j] = total / root[i * n + i]


cdef inline void square(const double* lower, double* product, int n) noexcept nogil:
    """W' W of a lower triangular W: with W = inverse(L) the inverse of L L'."""
    cdef int a, b, k
    cdef double total
    for a in range(n):
        for b in range(a + 1):
            total = 0.
            for k in range(a, n):
                total += lower[k * n + a] * lower[k * n + b]
            product[a * n + b] = product[b * n + a] = total
