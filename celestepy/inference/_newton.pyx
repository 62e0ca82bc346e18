# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True
"""The quadratic model of the trust-region iteration and its minimiser within a radius (see newton.py).

The Hessian is brought to tridiagonal form once, by Householder reflections; every trial shift then takes of
the order of n operations (Conn, Gould & Toint 2000, section 7.5.4). """

import numpy as np

from libc.math cimport copysign, fabs, fmax, isfinite, sqrt
from libc.stdlib cimport free, malloc

cdef enum:
    MAX_SHIFTS = 30
    MAX_HALVINGS = 60
    INVERSE_ITERATIONS = 3

cdef extern from *:
    """
    #define BOUNDARY_TOLERANCE 0.05     /* of a step's length, relative to the radius */
    #define LEAST_CURVATURE 1e-12       /* of a convex model, relative to the largest */
    #define LEAST_SHIFT 1e-8            /* above the singular one, relative to the largest curvature */
    """
    double BOUNDARY_TOLERANCE, LEAST_CURVATURE, LEAST_SHIFT

cdef struct Tridiagonal:    # Q' H Q
    int n
    double* diagonal
    double* beside          # beside[i] couples i and i + 1
    double* pivots          # scratch of `factorise`


cdef inline double dot(const double* a, const double* b, int n) noexcept nogil:
    cdef double total = 0.
    cdef int i
    for i in range(n):
        total += a[i] * b[i]
    return total


cdef void reflect(const double* v, double* x, int n) noexcept nogil:
    """x - v (v.x), which is a reflection as v.v = 2."""
    cdef double along = dot(v, x, n)
    cdef int i
    for i in range(n):
        x[i] -= v[i] * along


cdef double set_reflection(double* x, int n) noexcept nogil:
    """Replace x by the v, v.v = 2 or 0, that reflects it onto its first axis; return where it lands there."""
    cdef double norm = sqrt(dot(x, x, n)), landing, scale
    cdef int i
    if norm == fabs(x[0]):      # it lies on the axis
        landing = x[0]
        for i in range(n):
            x[i] = 0.
        return landing
    landing = -copysign(norm, x[0])
    x[0] -= landing
    scale = sqrt(2. / dot(x, x, n))
    for i in range(n):
        x[i] *= scale
    return landing


cdef void tridiagonalise(double* a, Tridiagonal* t, double* v, double* w) noexcept nogil:
    """Reduce the lower triangle of a (n, n); row k of its strict upper triangle is left with reflection k.

    With v.v = 2 the reflected matrix is A - v w' - w v', w = A v - v (v.A v) / 2.
    """
    cdef int n = t.n, i, j, k, m
    cdef double half, below
    cdef double* row
    for k in range(n - 1):
        m = n - k - 1
        t.diagonal[k] = a[k * n + k]
        for i in range(m):
            v[i] = a[(k + 1 + i) * n + k]
            w[i] = 0.
        t.beside[k] = set_reflection(v, m)
        for i in range(m):
            row = a + (k + 1 + i) * n + k + 1
            below = 0.
            for j in range(i):
                below += row[j] * v[j]
                w[j] += row[j] * v[i]
            w[i] += below + row[i] * v[i]
        half = .5 * dot(v, w, m)
        for i in range(m):
            w[i] -= half * v[i]
        for i in range(m):
            row = a + (k + 1 + i) * n + k + 1
            for j in range(i + 1):
                row[j] -= v[i] * w[j] + w[i] * v[j]
        for i in range(m):
            a[k * n + k + 1 + i] = v[i]
    t.diagonal[n - 1] = a[n * n - 1]


cdef bint factorise(const Tridiagonal* t, double shift) noexcept nogil:
    """Pivots of T + shift; False, at the first that is not positive, if that is not positive definite."""
    cdef int i
    t.pivots[0] = t.diagonal[0] + shift
    for i in range(1, t.n):
        if not t.pivots[i - 1] > 0.:
            return False
        t.pivots[i] = t.diagonal[i] + shift - t.beside[i - 1] * t.beside[i - 1] / t.pivots[i - 1]
    return t.pivots[t.n - 1] > 0.


cdef void solve(const Tridiagonal* t, const double* right_side, double* x) noexcept nogil:
    """x = inverse(T + shift) right_side, after `factorise`."""
    cdef int i
    x[0] = right_side[0]
    for i in range(1, t.n):
        x[i] = right_side[i] - x[i - 1] * t.beside[i - 1] / t.pivots[i - 1]
    x[t.n - 1] /= t.pivots[t.n - 1]
    for i in range(t.n - 2, -1, -1):
        x[i] = (x[i] - t.beside[i] * x[i + 1]) / t.pivots[i]


cdef double norm_bound(const Tridiagonal* t) noexcept nogil:
    """Gershgorin's bound of the eigenvalues' size."""
    cdef int i
    cdef double bound = 0., row
    for i in range(t.n):
        row = fabs(t.diagonal[i])
        if i > 0:
            row += fabs(t.beside[i - 1])
        if i < t.n - 1:
            row += fabs(t.beside[i])
        bound = fmax(bound, row)
    return bound


cdef double singular_shift(const Tridiagonal* t, double bound) noexcept nogil:
    """The least shift, from zero, that leaves T + shift positive definite, to a small part of the bound."""
    cdef double low = 0., high = bound * (1. + 1e-12) + 1e-300, middle
    cdef int i
    if factorise(t, 0.):
        return 0.
    for i in range(MAX_HALVINGS):
        middle = .5 * (low + high)
        if factorise(t, middle):
            high = middle
        else:
            low = middle
        if high - low < .01 * LEAST_SHIFT * bound:
            break
    return high


cdef class QuadraticModel:
    """``g.s + s.H s / 2`` in coordinates divided by ``scale``.

    Attributes
    ----------
    is_finite, is_convex : bool
    decrement : float
        How far the minimum of a convex model lies below its value here.
    """

    cdef readonly bint is_finite, is_convex
    cdef readonly double decrement
    cdef const double[::1] scale
    cdef Tridiagonal t
    cdef double bound
    cdef double* reflections    # (n, n)
    cdef double* gradient       # Q' g
    cdef double* position       # Q' s
    cdef double* other          # scratch
    cdef double* memory

    def __cinit__(self, const double[::1] gradient, const double[:, ::1] hessian, const double[::1] scale):
        cdef int n = gradient.shape[0], i
        self.scale = scale
        self.memory = <double*>malloc((n * n + 6 * n) * sizeof(double))
        if self.memory == NULL:
            raise MemoryError("no memory for a quadratic model")
        self.reflections = self.memory
        self.t.n = n
        self.t.diagonal = self.memory + n * n
        self.t.beside = self.t.diagonal + n
        self.t.pivots = self.t.beside + n
        self.gradient = self.t.pivots + n
        self.position = self.gradient + n
        self.other = self.position + n
        with nogil:
            self.is_finite = self._load(gradient, hessian)
            if self.is_finite:
                self._reduce()

    def __dealloc__(self):
        free(self.memory)

    cdef bint _load(self, const double[::1] gradient, const double[:, ::1] hessian) noexcept nogil:
        cdef int n = self.t.n, i, j
        cdef double total = 0.
        for i in range(n):
            self.gradient[i] = self.scale[i] * gradient[i]
            total += self.gradient[i]
            for j in range(i + 1):
                self.reflections[i * n + j] = self.scale[i] * self.scale[j] * hessian[i, j]
                total += self.reflections[i * n + j]
        return isfinite(total)

    cdef void _reduce(self) noexcept nogil:
        cdef int n = self.t.n, k
        tridiagonalise(self.reflections, &self.t, self.position, self.other)
        for k in range(n - 1):
            reflect(self.reflections + k * n + k + 1, self.gradient + k + 1, n - k - 1)
        self.bound = norm_bound(&self.t)
        self.is_convex = factorise(&self.t, -LEAST_CURVATURE * self.bound) and factorise(&self.t, 0.)
        self.decrement = self._newton() if self.is_convex else 0.

    cdef double _newton(self) noexcept nogil:
        """Set the position to the minimum of a convex model; its depth."""
        cdef int i
        factorise(&self.t, 0.)
        solve(&self.t, self.gradient, self.position)
        for i in range(self.t.n):
            self.position[i] = -self.position[i]
        return -.5 * dot(self.gradient, self.position, self.t.n)

    cdef double _length(self) noexcept nogil:
        return sqrt(dot(self.position, self.position, self.t.n))

    cdef double _reduction(self) noexcept nogil:
        """How far the model at the position lies below its value here."""
        cdef int i, n = self.t.n
        cdef double total = 0., row
        for i in range(n):
            row = self.gradient[i] + .5 * self.t.diagonal[i] * self.position[i]
            if i < n - 1:
                row += self.t.beside[i] * self.position[i + 1]
            total -= row * self.position[i]
        return total

    cdef void _shifted(self, double radius) noexcept nogil:
        """Set the position to the minimiser on the boundary, by safeguarded Newton steps on 1 / length."""
        cdef int i, n = self.t.n
        cdef double least = singular_shift(&self.t, self.bound), low, high, shift, length, slope
        low = least + LEAST_SHIFT * self.bound
        high = least + sqrt(dot(self.gradient, self.gradient, n)) / radius + low
        shift = low
        for i in range(MAX_SHIFTS):
            factorise(&self.t, shift)
            solve(&self.t, self.gradient, self.position)
            length = self._length()
            if fabs(length - radius) < BOUNDARY_TOLERANCE * radius or (length < radius and shift == low):
                break
            solve(&self.t, self.position, self.other)
            slope = dot(self.position, self.other, n)
            if length > radius:
                low = fmax(low, shift)
            else:
                high = shift
            shift += (length - radius) / radius * length * length / slope
            if not low < shift < high:
                shift = sqrt(low * high)
        for i in range(n):
            self.position[i] = -self.position[i]
        if least > 0. and length < (1. - BOUNDARY_TOLERANCE) * radius:
            self._extend(radius)

    cdef void _extend(self, double radius) noexcept nogil:
        """Go on to the boundary along the most negative curvature, along which the gradient has no part."""
        cdef int i, k, n = self.t.n
        cdef double along, missing, norm
        for i in range(n):
            self.other[i] = 1. + i % 3      # like no eigenvector of a Hessian
        for k in range(INVERSE_ITERATIONS):
            solve(&self.t, self.other, self.other)
            norm = sqrt(dot(self.other, self.other, n))
            for i in range(n):
                self.other[i] /= norm
        along = dot(self.position, self.other, n)
        missing = radius * radius - dot(self.position, self.position, n)
        along = missing / (along + copysign(sqrt(along * along + missing), along))
        for i in range(n):
            self.position[i] += along * self.other[i]

    def newton_step(self):
        """Displacement, in the original coordinates, to the minimum of a convex model."""
        self._newton()
        return self._displacement()

    def step(self, double radius):
        """The minimiser within a radius of the scaled coordinates.

        Returns
        -------
        displacement : `~numpy.ndarray`
            In the original coordinates.
        length : float
            In the scaled ones.
        is_on_boundary : bool
        reduction : float
            How far the model falls.
        """
        cdef bint is_on_boundary = True
        with nogil:
            if self.is_convex:
                self._newton()
                is_on_boundary = self._length() > radius
            if is_on_boundary:
                self._shifted(radius)
        return self._displacement(), self._length(), is_on_boundary, self._reduction()

    cdef _displacement(self):
        cdef int n = self.t.n, k, i
        result = np.empty(n)
        cdef double[::1] out = result
        for i in range(n):
            self.other[i] = self.position[i]
        for k in range(n - 2, -1, -1):
            reflect(self.reflections + k * n + k + 1, self.other + k + 1, n - k - 1)
        for i in range(n):
            out[i] = self.scale[i] * self.other[i]
        return result
