# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Log likelihood of pixels, with its first and second derivative by the expected value.

Poisson counts in the deviance form, with n the data, m the expectation and w photons per unit:

    l = w (n log(m / n) - m + n) = -w m [(rho - 1)^2 - rho e(rho)],   rho = n / m,   e(x) = x - 1 - log x,

which keeps all digits when m is near n and is -w m at n = 0. Below a floor m0 it goes on as its own
second-order Taylor expansion about m0, so that an expectation that is not positive has a finite value and
derivatives that lead back. Gaussian noise: l = -w (n - m)^2 / 2.
"""

from celestepy._simd cimport (
    VD_WIDTH,
    vd,
    vd_half_deviance,
    vd_log_excess,
    vd_max,
    vd_min,
    vd_splat,
)

cdef struct Pixels:         # VD_WIDTH pixels of a row
    vd data
    vd weight
    vd background
    vd floor

cdef struct Term:           # log likelihood of VD_WIDTH pixels and its derivatives by the expectation
    vd value
    vd slope
    vd curvature


cdef inline Term poisson(const Pixels* p, vd expected) noexcept nogil:
    cdef Term term
    cdef vd m = vd_max(expected, p.floor)
    cdef vd below = vd_min(expected - p.floor, vd_splat(0.))
    # never exactly zero: its logarithm is multiplied by rho again
    cdef vd inverse = vd_splat(1.) / m
    cdef vd rho = vd_max(p.data * inverse, vd_splat(1e-300))
    cdef vd excess = rho - 1.
    term.curvature = -p.weight * rho * inverse
    term.slope = p.weight * excess
    term.value = -p.weight * m * (excess * excess - rho * vd_log_excess(rho))
    term.value = term.value + below * (term.slope + .5 * below * term.curvature)
    term.slope = term.slope + below * term.curvature
    return term


cdef inline Term gaussian(const Pixels* p, vd expected) noexcept nogil:
    cdef Term term
    term.curvature = -p.weight
    term.slope = p.weight * (p.data - expected)
    term.value = -.5 * term.slope * (p.data - expected)
    return term


cdef inline vd sum_poisson(const Pixels* pixels, const vd* expected, int rows) noexcept nogil:
    """Log likelihood of the pixels of some rows, value alone.

    Expectations below the floor are rare: only where there are any the long formula is used, for all rows.
    """
    cdef vd total = vd_splat(0.), lowest = vd_splat(0.), m, n
    cdef int row, lane
    for row in range(rows):
        m = vd_max(expected[row], pixels[row].floor)
        lowest = vd_min(lowest, expected[row] - pixels[row].floor)
        n = vd_max(pixels[row].data, vd_splat(1e-300))
        total = total + pixels[row].weight * vd_half_deviance(n, m)
    for lane in range(VD_WIDTH):
        if (<double*>&lowest)[lane] < 0:
            total = vd_splat(0.)
            for row in range(rows):
                total = total + poisson(&pixels[row], expected[row]).value
            break
    return total


cdef inline vd sum_gaussian(const Pixels* pixels, const vd* expected, int rows) noexcept nogil:
    """Log likelihood of the pixels of some rows, value alone."""
    cdef vd total = vd_splat(0.), residual
    cdef int row
    for row in range(rows):
        residual = pixels[row].data - expected[row]
        total = total - .5 * pixels[row].weight * residual * residual
    return total


cdef inline void set_pixel(
    Pixels* p, int lane, double data, double weight, double background, bint is_poisson
) noexcept nogil:
    """One pixel of a row; what does not count gets harmless numbers."""
    cdef bint used = weight > 0
    cdef double level = background if used else 1.
    cdef double count = data if used else 0.
    (<double*>&p.data)[lane] = max(count, 0.) if is_poisson else count
    (<double*>&p.weight)[lane] = weight
    (<double*>&p.background)[lane] = level
    (<double*>&p.floor)[lane] = .01 * level if level > 0 else 1e-6 / weight
