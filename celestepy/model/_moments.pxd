# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Sums over pixels of one Gaussian component times the slope of the likelihood.

The curvature of the log likelihood needs sum_p l'(p) d2 g(p), g being a source's profile. Instead of planes
of second derivatives (up to fourth-order Hermite polynomials at every pixel), five moments per column are
summed,

    m_i = sum over rows of l' phi y^i,    i = 0 .. 4,    y from the centre of the source,

five multiply-adds per pixel and component, and the polynomials are applied to the moments, once per column.
With tilt = Txy / Tyy and t = dx / Cxx the vector s = T d is (t + tilt sy, sy), t is constant down a column,
and in (t, sy) the Hermite polynomials are products; the shear by tilt comes last:

    (D + tilt dy)^a dy^b  with  D^i dy^j phi = He_i(t; 1 / Cxx) He_j(sy; Tyy) phi.
"""

from celestepy._simd cimport vd, vd_splat
from celestepy.model._gaussian cimport Gaussian, Sweep

cdef enum:
    LEVELS = 5              # powers of dy kept for each row

cdef struct ColumnMoments:
    vd m0
    vd m1
    vd m2
    vd m3
    vd m4

cdef struct Hermite:        # sums of l' times the derivatives of a component
    vd one
    vd x
    vd y
    vd xx
    vd xy
    vd yy
    vd xxx
    vd xxy
    vd xyy
    vd yyy
    vd xxxx
    vd xxxy
    vd xxyy
    vd xyyy
    vd yyyy

cdef struct Moments:
    # sum of l' times: the exponential (or the star's) and the de Vaucouleurs profile of unit flux,
    vd exponential
    vd de_vaucouleurs
    # derivatives by position of the profile,
    vd x
    vd y
    vd xx
    vd xy
    vd yy
    # spatial derivatives weighted with v (so that halves of them are derivatives by W),
    vd wxx
    vd wxy
    vd wyy
    vd wxxx
    vd wxxy
    vd wxyy
    vd wyyy
    # with v squared,
    vd wxxxx
    vd wxxxy
    vd wxxyy
    vd wxyyy
    vd wyyyy
    # and differences de Vaucouleurs minus exponential, the derivatives by the fraction
    vd dev_x
    vd dev_y
    vd dev_wxx
    vd dev_wxy
    vd dev_wyy


cdef inline void set_levels(
    vd* levels, const vd* slope, Py_ssize_t n_rows, double dy, int n_levels
) noexcept nogil:
    """levels[row, i] = slope[row] (dy + row)^i."""
    cdef Py_ssize_t row
    cdef int i
    cdef vd level
    for row in range(n_rows):
        level = slope[row]
        for i in range(n_levels):
            levels[row * LEVELS + i] = level
            level = level * (dy + row)


# The loops below work on variables of their own, not on the structures: only so does the compiler keep them
# in registers.


cdef inline void sum_three(Sweep* sweep, int last, const vd* levels, ColumnMoments* m) noexcept nogil:
    """Add the moments up to m2 of the rows before the last."""
    cdef vd phi = sweep.phi, ratio = sweep.ratio, step = sweep.step
    cdef vd m0 = m.m0, m1 = m.m1, m2 = m.m2
    cdef int row
    for row in range(sweep.row, last):
        m0 = m0 + phi * levels[row * LEVELS]
        m1 = m1 + phi * levels[row * LEVELS + 1]
        m2 = m2 + phi * levels[row * LEVELS + 2]
        phi = phi * ratio
        ratio = ratio * step
    m.m0, m.m1, m.m2 = m0, m1, m2
    sweep.phi, sweep.ratio, sweep.row = phi, ratio, max(last, sweep.row)


cdef inline void sum_five(Sweep* sweep, int last, const vd* levels, ColumnMoments* m) noexcept nogil:
    """Add all moments of the rows before the last."""
    cdef vd phi = sweep.phi, ratio = sweep.ratio, step = sweep.step
    cdef vd m0 = m.m0, m1 = m.m1, m2 = m.m2, m3 = m.m3, m4 = m.m4
    cdef int row
    for row in range(sweep.row, last):
        m0 = m0 + phi * levels[row * LEVELS]
        m1 = m1 + phi * levels[row * LEVELS + 1]
        m2 = m2 + phi * levels[row * LEVELS + 2]
        m3 = m3 + phi * levels[row * LEVELS + 3]
        m4 = m4 + phi * levels[row * LEVELS + 4]
        phi = phi * ratio
        ratio = ratio * step
    m.m0, m.m1, m.m2, m.m3, m.m4 = m0, m1, m2, m3, m4
    sweep.phi, sweep.ratio, sweep.row = phi, ratio, max(last, sweep.row)


cdef inline void sum_two_fives(
    Sweep* one, Sweep* other, int last, const vd* levels, ColumnMoments* m, ColumnMoments* n
) noexcept nogil:
    """The same for two Gaussians at the same row: two chains of multiplications at once, half the loads."""
    cdef vd phi = one.phi, ratio = one.ratio, step = one.step
    cdef vd psi = other.phi, rate = other.ratio, stride = other.step
    cdef vd m0 = m.m0, m1 = m.m1, m2 = m.m2, m3 = m.m3, m4 = m.m4
    cdef vd n0 = n.m0, n1 = n.m1, n2 = n.m2, n3 = n.m3, n4 = n.m4
    cdef int row
    for row in range(one.row, last):
        m0 = m0 + phi * levels[row * LEVELS]
        n0 = n0 + psi * levels[row * LEVELS]
        m1 = m1 + phi * levels[row * LEVELS + 1]
        n1 = n1 + psi * levels[row * LEVELS + 1]
        m2 = m2 + phi * levels[row * LEVELS + 2]
        n2 = n2 + psi * levels[row * LEVELS + 2]
        m3 = m3 + phi * levels[row * LEVELS + 3]
        n3 = n3 + psi * levels[row * LEVELS + 3]
        m4 = m4 + phi * levels[row * LEVELS + 4]
        n4 = n4 + psi * levels[row * LEVELS + 4]
        phi = phi * ratio
        psi = psi * rate
        ratio = ratio * step
        rate = rate * stride
    m.m0, m.m1, m.m2, m.m3, m.m4 = m0, m1, m2, m3, m4
    n.m0, n.m1, n.m2, n.m3, n.m4 = n0, n1, n2, n3, n4
    one.phi, one.ratio, other.phi, other.ratio = phi, ratio, psi, rate
    one.row = other.row = max(last, one.row)


cdef inline void add_star_moments(
    const Gaussian* g, const ColumnMoments* m, vd dx, double shift, Moments* total
) noexcept nogil:
    """Everything a star needs: polynomials up to order two."""
    cdef vd c = g.txy * dx + g.tyy * shift, t = g.inverse_cxx * dx
    cdef vd s0 = c * m.m0 + g.tyy * m.m1, s1 = c * m.m1 + g.tyy * m.m2
    cdef vd hyy = c * s0 + g.tyy * s1 - g.tyy * m.m0
    cdef vd hx = t * m.m0 + g.txy / g.tyy * s0
    cdef vd ts = t * s0
    cdef double tilt = g.txy / g.tyy
    cdef vd hxy = ts + tilt * hyy
    total.exponential += m.m0
    total.x += hx
    total.y += s0
    total.xx += (t * t - g.inverse_cxx) * m.m0 + tilt * (ts + hxy)
    total.xy += hxy
    total.yy += hyy


cdef inline void add_galaxy_slopes(
    const Gaussian* g, const ColumnMoments* m, vd dx, double shift, Moments* total
) noexcept nogil:
    """What the gradient of a galaxy needs."""
    cdef vd c = g.txy * dx + g.tyy * shift, t = g.inverse_cxx * dx
    cdef vd s0 = c * m.m0 + g.tyy * m.m1, s1 = c * m.m1 + g.tyy * m.m2
    cdef vd hyy = c * s0 + g.tyy * s1 - g.tyy * m.m0
    cdef vd ts = t * s0
    cdef double tilt = g.txy / g.tyy
    cdef vd hxy = ts + tilt * hyy
    if g.de_vaucouleurs:
        total.de_vaucouleurs += m.m0
    else:
        total.exponential += m.m0
    total.x += t * m.m0 + tilt * s0
    total.y += s0
    total.wxx += g.v * ((t * t - g.inverse_cxx) * m.m0 + tilt * (ts + hxy))
    total.wxy += g.v * hxy
    total.wyy += g.v * hyy


cdef inline Hermite hermite(const Gaussian* g, const ColumnMoments* m, vd dx, double shift) noexcept nogil:
    """Sums of l' times all derivatives of a component by position, up to order four."""
    cdef Hermite h
    cdef double tyy = g.tyy, ixx = g.inverse_cxx, tilt = g.txy / g.tyy
    cdef vd c = g.txy * dx + g.tyy * shift, t = ixx * dx, tt = t * t
    # sums of l' phi sy^i dy^j, i from 1 to 4
    cdef vd a0 = c * m.m0 + tyy * m.m1, a1 = c * m.m1 + tyy * m.m2
    cdef vd a2 = c * m.m2 + tyy * m.m3, a3 = c * m.m3 + tyy * m.m4
    cdef vd b0 = c * a0 + tyy * a1, b1 = c * a1 + tyy * a2, b2 = c * a2 + tyy * a3
    cdef vd d0 = c * b0 + tyy * b1, d1 = c * b1 + tyy * b2
    # Hermite polynomials of sy
    h.one, h.y = m.m0, a0
    h.yy = b0 - tyy * m.m0
    h.yyy = d0 - 3 * tyy * a0
    h.yyyy = c * d0 + tyy * d1 - 6 * tyy * b0 + 3 * tyy * tyy * m.m0
    # and of t
    cdef vd x2 = tt - ixx, x3 = t * (tt - 3 * ixx), x4 = tt * (tt - 6 * ixx) + 3 * ixx * ixx
    # order one and two, sheared: d1y2 stands for D dy^2, p for D + tilt dy
    cdef vd d1y1 = t * h.y
    h.x = t * h.one + tilt * h.y
    h.xy = d1y1 + tilt * h.yy
    h.xx = x2 * h.one + tilt * (d1y1 + h.xy)
    # order three: each line applies p once more
    cdef vd d1y2 = t * h.yy, d2y1 = x2 * h.y
    h.xyy = d1y2 + tilt * h.yyy
    cdef vd p_d1y1 = d2y1 + tilt * d1y2
    h.xxy = p_d1y1 + tilt * h.xyy
    cdef vd p_d2 = x3 * h.one + tilt * d2y1
    h.xxx = p_d2 + tilt * (p_d1y1 + h.xxy)
    # order four
    cdef vd d1y3 = t * h.yyy, d2y2 = x2 * h.yy, d3y1 = x3 * h.y
    h.xyyy = d1y3 + tilt * h.yyyy
    cdef vd p_d1y2 = d2y2 + tilt * d1y3
    h.xxyy = p_d1y2 + tilt * h.xyyy
    cdef vd p_d2y1 = d3y1 + tilt * d2y2
    cdef vd pp_d1y1 = p_d2y1 + tilt * p_d1y2
    h.xxxy = pp_d1y1 + tilt * h.xxyy
    cdef vd pp_d2 = x4 * h.one + tilt * d3y1 + tilt * p_d2y1
    h.xxxx = pp_d2 + tilt * (pp_d1y1 + h.xxxy)
    return h


cdef inline void add_galaxy_moments(
    const Gaussian* g, const ColumnMoments* m, vd dx, double shift, Moments* total
) noexcept nogil:
    """Everything a galaxy needs: polynomials up to order four."""
    cdef Hermite h = hermite(g, m, dx, shift)
    cdef double v = g.v, v2 = v * v
    cdef double by_dev = (1. if g.de_vaucouleurs else -1.) / g.share
    cdef double v_by_dev = v * by_dev
    if g.de_vaucouleurs:
        total.de_vaucouleurs += h.one
    else:
        total.exponential += h.one
    total.x += h.x
    total.y += h.y
    total.xx += h.xx
    total.xy += h.xy
    total.yy += h.yy
    total.wxx += v * h.xx
    total.wxy += v * h.xy
    total.wyy += v * h.yy
    total.wxxx += v * h.xxx
    total.wxxy += v * h.xxy
    total.wxyy += v * h.xyy
    total.wyyy += v * h.yyy
    total.wxxxx += v2 * h.xxxx
    total.wxxxy += v2 * h.xxxy
    total.wxxyy += v2 * h.xxyy
    total.wxyyy += v2 * h.xyyy
    total.wyyyy += v2 * h.yyyy
    total.dev_x += by_dev * h.x
    total.dev_y += by_dev * h.y
    total.dev_wxx += v_by_dev * h.xx
    total.dev_wxy += v_by_dev * h.xy
    total.dev_wyy += v_by_dev * h.yy
