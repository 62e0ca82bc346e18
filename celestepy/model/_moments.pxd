# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Sums over pixels of one Gaussian component times the slope of the likelihood.

The curvature of the log likelihood needs sum_p l'(p) d2 g(p), g being a source's profile. Instead of planes of second
derivatives (up to fourth-order Hermite polynomials at every pixel), five moments per column are summed,

    m_i = sum over rows of l' phi dy^i,    i = 0 .. 4,

five multiply-adds per pixel and component, and the polynomials are applied to the moments, once per column.
With tilt = Txy / Tyy and t = dx / Cxx the vector s = T d is (t + tilt sy, sy), t is constant down a column, and in
(t, sy) the Hermite polynomials are products; the shear by tilt comes last:

    (D + tilt dy)^a dy^b  with  D^i dy^j phi = He_i(t; 1 / Cxx) He_j(sy; Tyy) phi.
"""

from celestepy.model._gaussian cimport Gaussian
from celestepy.model._simd cimport vd, vd_splat

cdef enum:
    LEVELS = 5              # powers of dy kept for each row

cdef struct ColumnMoments:
    vd m0
    vd m1
    vd m2
    vd m3
    vd m4

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


cdef inline ColumnMoments three_moments(
    vd phi, vd ratio, vd step, int first, int last, const vd* levels
) noexcept nogil:
    cdef ColumnMoments m
    cdef int row
    cdef const vd* level = levels + first * LEVELS
    m.m0 = m.m1 = m.m2 = m.m3 = m.m4 = vd_splat(0.)
    for row in range(first, last):
        m.m0 = m.m0 + phi * level[0]
        m.m1 = m.m1 + phi * level[1]
        m.m2 = m.m2 + phi * level[2]
        phi = phi * ratio
        ratio = ratio * step
        level += LEVELS
    return m


cdef inline ColumnMoments five_moments(
    vd phi, vd ratio, vd step, int first, int last, const vd* levels
) noexcept nogil:
    cdef ColumnMoments m
    cdef int row
    cdef const vd* level = levels + first * LEVELS
    m.m0 = m.m1 = m.m2 = m.m3 = m.m4 = vd_splat(0.)
    for row in range(first, last):
        m.m0 = m.m0 + phi * level[0]
        m.m1 = m.m1 + phi * level[1]
        m.m2 = m.m2 + phi * level[2]
        m.m3 = m.m3 + phi * level[3]
        m.m4 = m.m4 + phi * level[4]
        phi = phi * ratio
        ratio = ratio * step
        level += LEVELS
    return m


cdef inline void add_star_moments(const Gaussian* g, const ColumnMoments* m, vd dx, Moments* total) noexcept nogil:
    """Everything a star needs: polynomials up to order two."""
    cdef vd c = g.txy * dx, t = g.inverse_cxx * dx
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


cdef inline void add_galaxy_slopes(const Gaussian* g, const ColumnMoments* m, vd dx, Moments* total) noexcept nogil:
    """What the gradient of a galaxy needs."""
    cdef vd c = g.txy * dx, t = g.inverse_cxx * dx
    cdef vd s0 = c * m.m0 + g.tyy * m.m1, s1 = c * m.m1 + g.tyy * m.m2
    cdef vd hyy = c * s0 + g.tyy * s1 - g.tyy * m.m0
    cdef vd ts = t * s0
    cdef double tilt = g.txy / g.tyy, wide = g.share * g.v
    cdef vd hxy = ts + tilt * hyy
    if g.de_vaucouleurs:
        total.de_vaucouleurs += m.m0
    else:
        total.exponential += m.m0
    total.x += g.share * (t * m.m0 + tilt * s0)
    total.y += g.share * s0
    total.wxx += wide * ((t * t - g.inverse_cxx) * m.m0 + tilt * (ts + hxy))
    total.wxy += wide * hxy
    total.wyy += wide * hyy


cdef inline void add_galaxy_moments(const Gaussian* g, const ColumnMoments* m, vd dx, Moments* total) noexcept nogil:
    """Everything a galaxy needs: polynomials up to order four."""
    cdef double tyy = g.tyy, ixx = g.inverse_cxx, tilt = g.txy / g.tyy
    cdef double share = g.share, wide = g.share * g.v, wide2 = wide * g.v
    cdef double sign = 1. if g.de_vaucouleurs else -1.
    cdef double sign_v = sign * g.v
    cdef vd c = g.txy * dx, t = ixx * dx, tt = t * t
    # sums of l' phi sy^i dy^j, i from 1 to 4
    cdef vd a0 = c * m.m0 + tyy * m.m1, a1 = c * m.m1 + tyy * m.m2
    cdef vd a2 = c * m.m2 + tyy * m.m3, a3 = c * m.m3 + tyy * m.m4
    cdef vd b0 = c * a0 + tyy * a1, b1 = c * a1 + tyy * a2, b2 = c * a2 + tyy * a3
    cdef vd d0 = c * b0 + tyy * b1, d1 = c * b1 + tyy * b2
    # Hermite polynomials of sy
    cdef vd y0 = m.m0, y1 = a0, y2 = b0 - tyy * y0, y3 = d0 - 3 * tyy * a0
    cdef vd y4 = c * d0 + tyy * d1 - 6 * tyy * b0 + 3 * tyy * tyy * y0
    # and of t
    cdef vd x2 = tt - ixx, x3 = t * (tt - 3 * ixx), x4 = tt * (tt - 6 * ixx) + 3 * ixx * ixx
    # order one and two, sheared: p stands for D + tilt dy
    cdef vd d1y1 = t * y1
    cdef vd hx = t * y0 + tilt * y1
    cdef vd hxy = d1y1 + tilt * y2
    cdef vd hxx = x2 * y0 + tilt * (d1y1 + hxy)
    # order three: each line applies p once more
    cdef vd d1y2 = t * y2, d2y1 = x2 * y1
    cdef vd xyy = d1y2 + tilt * y3
    cdef vd p_d1y1 = d2y1 + tilt * d1y2
    cdef vd xxy = p_d1y1 + tilt * xyy
    cdef vd p_d2 = x3 * y0 + tilt * d2y1
    cdef vd xxx = p_d2 + tilt * (p_d1y1 + xxy)
    # order four
    cdef vd d1y3 = t * y3, d2y2 = x2 * y2, d3y1 = x3 * y1
    cdef vd xyyy = d1y3 + tilt * y4
    cdef vd p_d1y2 = d2y2 + tilt * d1y3
    cdef vd xxyy = p_d1y2 + tilt * xyyy
    cdef vd p_d2y1 = d3y1 + tilt * d2y2
    cdef vd pp_d1y1 = p_d2y1 + tilt * p_d1y2
    cdef vd xxxy = pp_d1y1 + tilt * xxyy
    cdef vd pp_d2 = x4 * y0 + tilt * d3y1 + tilt * p_d2y1
    cdef vd xxxx = pp_d2 + tilt * (pp_d1y1 + xxxy)
    if g.de_vaucouleurs:
        total.de_vaucouleurs += y0
    else:
        total.exponential += y0
    total.x += share * hx
    total.y += share * y1
    total.xx += share * hxx
    total.xy += share * hxy
    total.yy += share * y2
    total.wxx += wide * hxx
    total.wxy += wide * hxy
    total.wyy += wide * y2
    total.wxxx += wide * xxx
    total.wxxy += wide * xxy
    total.wxyy += wide * xyy
    total.wyyy += wide * y3
    total.wxxxx += wide2 * xxxx
    total.wxxxy += wide2 * xxxy
    total.wxxyy += wide2 * xxyy
    total.wxyyy += wide2 * xyyy
    total.wyyyy += wide2 * y4
    total.dev_x += sign * hx
    total.dev_y += sign * y1
    total.dev_wxx += sign_v * hxx
    total.dev_wxy += sign_v * hxy
    total.dev_wyy += sign_v * y2
