# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True
"""Scene vector of one source, its Jacobian and its contracted second derivatives (see transforms.py).

Vectors are laid out as in parameters.py, B bands: theta = [u, v, log_flux, B - 1 colours, log_radius, eta1,
eta2, logit_dev], scene = [B fluxes, u, v, d, Suu, Suv, Svv]. Outputs must come zeroed; only entries that are
not zero are written.
"""

from libc.math cimport cosh, exp, sinh, sqrt, tanh

cdef enum:
    TERMS = 11  # leaves less than 1e-19 at e = 1

cdef struct SinhRatios:
    double cosh  # cosh e
    double s0    # sinh(e) / e
    double s1    # d s0 / d eta_i = s1 eta_i
    double s2    # d s1 / d eta_i = s2 eta_i

cdef double[3][TERMS] SERIES  # Taylor coefficients of s0, s1, s2 in e^2


cdef void _fill_series() noexcept:
    cdef double factorial = 1.0
    cdef int k
    # s0 = sum w^k / (2k + 1)!, s1 = 2 ds0/dw, s2 = 2 ds1/dw
    for k in range(TERMS + 2):
        if k > 0:
            factorial *= (2 * k) * (2 * k + 1)
        if k < TERMS:
            SERIES[0][k] = 1.0 / factorial
        if 0 < k <= TERMS:
            SERIES[1][k - 1] = 2.0 * k / factorial
        if k > 1:
            SERIES[2][k - 2] = 4.0 * k * (k - 1) / factorial


_fill_series()


cdef SinhRatios _sinh_ratios(double w) noexcept nogil:
    """The ratios at w = e^2; below w = 1 by their series, where the closed forms lose digits."""
    cdef SinhRatios s
    cdef double e
    cdef int k
    if w < 1.0:
        s.s0 = s.s1 = s.s2 = 0.0
        for k in range(TERMS - 1, -1, -1):
            s.s0 = s.s0 * w + SERIES[0][k]
            s.s1 = s.s1 * w + SERIES[1][k]
            s.s2 = s.s2 * w + SERIES[2][k]
        s.cosh = w * s.s1 + s.s0
        return s
    e = sqrt(w)
    s.cosh = cosh(e)
    s.s0 = sinh(e) / e
    s.s1 = (s.cosh - s.s0) / w
    s.s2 = (s.s0 - 3 * s.s1) / w
    return s


cdef double _log_flux(const double[:] theta, const double[:, ::1] matrix, Py_ssize_t band) noexcept nogil:
    cdef double total = 0.0
    cdef Py_ssize_t k
    for k in range(matrix.shape[0]):
        total += matrix[band, k] * theta[2 + k]
    return total


cdef void _fluxes_and_position(const double[:] theta, const double[:, ::1] matrix, double[::1] scene,
                               double[:, ::1] jacobian) noexcept nogil:
    cdef Py_ssize_t n_bands = matrix.shape[0], b, k
    cdef double flux
    for b in range(n_bands):
        flux = exp(_log_flux(theta, matrix, b))
        scene[b] = flux
        for k in range(n_bands):
            jacobian[b, 2 + k] = flux * matrix[b, k]  # df_b = f_b (1, M_b) . d(log_flux, colours)
    for k in range(2):
        scene[n_bands + k] = theta[k]
        jacobian[n_bands + k, k] = 1.0


cdef void _shape(const double[:] theta, Py_ssize_t n_bands, double[::1] scene,
                 double[:, ::1] jacobian) noexcept nogil:
    """S = r^2 (cosh e -+ s0 eta1, s0 eta2) and its derivatives."""
    cdef Py_ssize_t row = n_bands + 2, col = n_bands + 2  # of d, and of log_radius
    cdef double area = exp(2 * theta[col]), eta1 = theta[col + 1], eta2 = theta[col + 2]
    cdef double dev = 0.5 * (1 + tanh(0.5 * theta[col + 3]))
    cdef SinhRatios s = _sinh_ratios(eta1 * eta1 + eta2 * eta2)
    cdef double cosh_term = area * s.cosh, s0 = area * s.s0, s1 = area * s.s1
    cdef double cross = s1 * eta1 * eta2
    scene[row] = dev
    scene[row + 1] = cosh_term - s0 * eta1
    scene[row + 2] = s0 * eta2
    scene[row + 3] = cosh_term + s0 * eta1
    jacobian[row, col + 3] = dev * (1 - dev)
    jacobian[row + 1, col] = 2 * scene[row + 1]
    jacobian[row + 1, col + 1] = s0 * eta1 - s0 - s1 * eta1 * eta1
    jacobian[row + 1, col + 2] = s0 * eta2 - cross
    jacobian[row + 2, col] = 2 * scene[row + 2]
    jacobian[row + 2, col + 1] = cross
    jacobian[row + 2, col + 2] = s0 + s1 * eta2 * eta2
    jacobian[row + 3, col] = 2 * scene[row + 3]
    jacobian[row + 3, col + 1] = s0 * eta1 + s0 + s1 * eta1 * eta1
    jacobian[row + 3, col + 2] = s0 * eta2 + cross


cdef void _flux_curvature(const double[:] theta, const double[:] gradient, const double[:, ::1] matrix,
                          double[:, ::1] result) noexcept nogil:
    """sum_b g_b f_b (1, M_b)' (1, M_b)."""
    cdef Py_ssize_t n_bands = matrix.shape[0], b, k, m
    cdef double weight
    for b in range(n_bands):
        weight = gradient[b] * exp(_log_flux(theta, matrix, b))
        for k in range(n_bands):
            for m in range(n_bands):
                result[2 + k, 2 + m] += weight * matrix[b, k] * matrix[b, m]


cdef void _shape_curvature(const double[:] theta, const double[:] gradient, Py_ssize_t n_bands,
                           double[:, ::1] result) noexcept nogil:
    """Of g_d d + r^2 (p cosh e + s0 (m1 eta1 + m2 eta2)), p = g_uu + g_vv, m1 = g_vv - g_uu, m2 = g_uv."""
    cdef Py_ssize_t at = n_bands + 2
    cdef double area = exp(2 * theta[at]), eta1 = theta[at + 1], eta2 = theta[at + 2]
    cdef double dev = 0.5 * (1 + tanh(0.5 * theta[at + 3]))
    cdef double p = gradient[at + 1] + gradient[at + 3], m1 = gradient[at + 3] - gradient[at + 1]
    cdef double m2 = gradient[at + 2]
    cdef SinhRatios s = _sinh_ratios(eta1 * eta1 + eta2 * eta2)
    cdef double projection = m1 * eta1 + m2 * eta2
    cdef double radial = area * (p * s.s0 + projection * s.s1)
    cdef double twist = area * (p * s.s1 + projection * s.s2)
    cdef double s1 = area * s.s1
    result[at, at] = 4 * area * (p * s.cosh + s.s0 * projection)
    result[at, at + 1] = result[at + 1, at] = 2 * (radial * eta1 + area * s.s0 * m1)
    result[at, at + 2] = result[at + 2, at] = 2 * (radial * eta2 + area * s.s0 * m2)
    result[at + 1, at + 1] = radial + twist * eta1 * eta1 + 2 * s1 * m1 * eta1
    result[at + 2, at + 2] = radial + twist * eta2 * eta2 + 2 * s1 * m2 * eta2
    result[at + 1, at + 2] = result[at + 2, at + 1] = twist * eta1 * eta2 + s1 * (m1 * eta2 + m2 * eta1)
    result[at + 3, at + 3] = gradient[at] * dev * (1 - dev) * (1 - 2 * dev)


def to_scene(bint is_galaxy, const double[:] theta, const double[:, ::1] matrix, double[::1] scene,
             double[:, ::1] jacobian):
    """Fill the zeroed scene (B + 6,) and jacobian (B + 6, n); the log-flux matrix has shape (B, B)."""
    _fluxes_and_position(theta, matrix, scene, jacobian)
    if is_galaxy:
        _shape(theta, matrix.shape[0], scene, jacobian)


def to_scenes(bint is_galaxy, const double[:, ::1] theta, const double[:, ::1] matrix, double[:, ::1] scenes,
              double[:, ::1] jacobian):
    """Fill the zeroed scenes (m, B + 6) of the rows of theta (m, n); the jacobian is scratch."""
    cdef Py_ssize_t row
    with nogil:
        for row in range(theta.shape[0]):
            _fluxes_and_position(theta[row], matrix, scenes[row], jacobian)
            if is_galaxy:
                _shape(theta[row], matrix.shape[0], scenes[row], jacobian)


def curvature(bint is_galaxy, const double[:] theta, const double[:] gradient, const double[:, ::1] matrix,
              double[:, ::1] result):
    """Fill the zeroed result (n, n) with sum_k gradient[k] d^2 scene_k / d theta^2."""
    _flux_curvature(theta, gradient, matrix, result)
    if is_galaxy:
        _shape_curvature(theta, gradient, matrix.shape[0], result)
