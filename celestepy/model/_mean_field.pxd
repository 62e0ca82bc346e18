# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Expected log likelihood of pixels whose expectation is uncertain, by the delta method, with its
derivatives.

A pixel's rate has the mean E and the variance V under the variational distribution. To second order in the
deviation

    < n log m - m > = n (log E - V / (2 E^2)) - E

(Regier et al. 2019, eqs. 34 and 35); for Gaussian noise < -w (n - m)^2 / 2 > = -w ((n - E)^2 + V) / 2
exactly. With one active source, of star profile s and galaxy profile g, and with A_i = a_i E[l | i] and B_i
= a_i E[l^2 | i],

    E = E0 + mu,   V = V0 + nu - mu^2,   mu = A1 s + A2 g,   nu = B1 s^2 + B2 g^2.

Derivatives are formed by (mu, nu), then by (A1, A2, B1, B2, s, g) at each pixel, then summed against those
of s and g.
"""

from celestepy._simd cimport vd, vd_max, vd_splat, vd_zero_if_less
from celestepy.model._poisson cimport Pixels, Term, gaussian, poisson

cdef enum:
    AMPLITUDES = 4          # A1, A2, B1, B2
    PLACES = 2              # x, y: what the star's profile depends on
    SHAPES = 6              # x, y, dev_fraction, Wxx, Wxy, Wyy: what the galaxy's profile depends on
    NUMBERS = 10            # all of them

cdef struct Expectation:    # value and derivatives by mu and nu; the second by nu is zero
    vd value
    vd mu
    vd nu
    vd mu_mu
    vd mu_nu

cdef struct PixelSums:      # sums over pixels; s_a and g_a are derivatives of the profiles
    vd value
    vd first[4]             # d / d amplitude
    vd second[4][4]         # d2 / d amplitude^2, upper triangle
    vd star[4][2]           # d2 / d amplitude d s, times s_a
    vd galaxy[4][6]         # d2 / d amplitude d g, times g_a
    vd star_star[2][2]      # d2 / ds2 s_a s_b, upper triangle
    vd star_galaxy[2][6]    # d2 / ds dg s_a g_b
    vd galaxy_galaxy[6][6]  # d2 / dg2 g_a g_b, upper triangle


cdef inline Expectation expectation(
    const Pixels* p, bint is_poisson, vd mean, vd variance, vd mu, vd nu
) noexcept nogil:
    """Expected log likelihood given E0 and V0; below the floor the factor of V stays as at the floor."""
    cdef Expectation e
    cdef Term term
    cdef vd inverse, half_curvature, slope = vd_splat(0.), curvature = vd_splat(0.)
    mean = mean + mu
    variance = variance + nu - mu * mu
    if is_poisson:
        term = poisson(p, mean)
        inverse = vd_splat(1.) / vd_max(mean, p.floor)
        half_curvature = .5 * p.weight * p.data * inverse * inverse
        inverse = vd_zero_if_less(mean, p.floor, inverse)
        slope = 2. * half_curvature * inverse
        curvature = 3. * slope * inverse
    else:
        term = gaussian(p, mean)
        half_curvature = .5 * p.weight
    e.value = term.value - half_curvature * variance
    e.mu = term.slope + slope * variance + 2. * mu * half_curvature
    e.nu = -half_curvature
    e.mu_mu = term.curvature - curvature * variance - 4. * mu * slope + 2. * half_curvature
    e.mu_nu = slope
    return e


cdef inline void add_first(const Expectation* e, vd s, vd g, PixelSums* sums) noexcept nogil:
    """Value and derivatives by the amplitudes."""
    sums.value += e.value
    sums.first[0] += e.mu * s
    sums.first[1] += e.mu * g
    sums.first[2] += e.nu * s * s
    sums.first[3] += e.nu * g * g


cdef inline void add_second(
    const Expectation* e, const double* a, const vd* star, const vd* galaxy, PixelSums* sums
) noexcept nogil:
    """Second derivatives but for those of the profiles; a = (A1, A2, B1, B2), then planes at the pixels."""
    cdef vd s = star[0], g = galaxy[0]
    # d nu / ds and d nu / dg
    cdef vd nu_s = 2. * a[2] * s, nu_g = 2. * a[3] * g
    # d2 / d mu ds and d2 / d mu dg with mu and nu taken as functions of s and g
    cdef vd mu_s = a[0] * e.mu_mu + nu_s * e.mu_nu, mu_g = a[1] * e.mu_mu + nu_g * e.mu_nu
    cdef vd by_s[4]
    cdef vd by_g[4]
    cdef vd ss = a[0] * mu_s + a[0] * nu_s * e.mu_nu + 2. * a[2] * e.nu
    cdef vd sg = a[1] * mu_s + a[0] * nu_g * e.mu_nu
    cdef vd gg = a[1] * mu_g + a[1] * nu_g * e.mu_nu + 2. * a[3] * e.nu
    cdef vd weighted
    cdef int i, j
    by_s[0], by_s[1] = s * mu_s + e.mu, g * mu_s
    by_g[0], by_g[1] = s * mu_g, g * mu_g + e.mu
    by_s[2], by_s[3] = s * s * a[0] * e.mu_nu + 2. * s * e.nu, g * g * a[0] * e.mu_nu
    by_g[2], by_g[3] = s * s * a[1] * e.mu_nu, g * g * a[1] * e.mu_nu + 2. * g * e.nu
    sums.second[0][0] += e.mu_mu * s * s
    sums.second[0][1] += e.mu_mu * s * g
    sums.second[1][1] += e.mu_mu * g * g
    sums.second[0][2] += e.mu_nu * s * s * s
    sums.second[0][3] += e.mu_nu * s * g * g
    sums.second[1][2] += e.mu_nu * g * s * s
    sums.second[1][3] += e.mu_nu * g * g * g
    for i in range(AMPLITUDES):
        for j in range(PLACES):
            sums.star[i][j] += by_s[i] * star[1 + j]
        for j in range(SHAPES):
            sums.galaxy[i][j] += by_g[i] * galaxy[1 + j]
    for i in range(PLACES):
        weighted = ss * star[1 + i]
        for j in range(i, PLACES):
            sums.star_star[i][j] += weighted * star[1 + j]
        weighted = sg * star[1 + i]
        for j in range(SHAPES):
            sums.star_galaxy[i][j] += weighted * galaxy[1 + j]
    for i in range(SHAPES):
        weighted = gg * galaxy[1 + i]
        for j in range(i, SHAPES):
            sums.galaxy_galaxy[i][j] += weighted * galaxy[1 + j]
