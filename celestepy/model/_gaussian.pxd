# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""One Gaussian component on a strip of pixels: VD_WIDTH columns side by side, row after row.

With d = pixel - centre, T the inverse covariance and s = T d, the component is

    phi(d) = peak exp(-d.s / 2),

its derivatives by the centre are phi times the Hermite polynomials of s,

    x: sx    y: sy    xx: sx^2 - Txx    xy: sx sy - Txy    yy: sy^2 - Tyy   and so on,

and those by the covariance follow from d phi / d C = (1/2) grad grad phi. Down a column phi obeys

    phi(y + 1) = phi(y) ratio(y),    ratio(y + 1) = ratio(y) exp(-Tyy),

two multiplications instead of an exponential. In n rows the error of exp(-Tyy) enters n^2 / 2 times: below 3e-13
for the 64 rows of a tile.
"""

from libc.math cimport ceil, exp, fabs, floor, sqrt

from celestepy.model._simd cimport VD_WIDTH, vd, vd_exp, vd_lanes, vd_splat

cdef enum:
    # a component is left out where d.s exceeds this: there it is below 1e-26 of its peak, far beyond the last digit
    # of anything it is added to, so the edge cannot be seen in a derivative either
    FARTHEST = 120
    # planes of a galaxy: flux of the exponential part, x, y, flux of the de Vaucouleurs part, Wxx, Wxy, Wyy
    GALAXY_PLANES = 7
    # planes of a star: flux, x, y
    STAR_PLANES = 3

cdef struct Gaussian:
    double x
    double y
    double txx
    double txy
    double tyy
    double peak             # at the centre, for a unit flux of its profile
    double share            # flux fraction of its profile: 1 - dev_fraction, dev_fraction, or 1 for a star
    double v                # covariance = PSF covariance + v W
    double step             # exp(-tyy)
    double inverse_cxx
    double reach            # |dx| of the outermost point where d.s = FARTHEST
    double top              # dx of the uppermost such point
    double slope            # cxy / cxx
    bint de_vaucouleurs
    bint direct             # so thin and tilted that the recurrence could start below the smallest double

cdef struct Run:            # one Gaussian in one tile: the rows it reaches, and the recurrence at the first
    vd phi
    vd ratio
    int first
    int last


cdef inline void set_gaussian(
    Gaussian* g, double flux, double x, double y, double cxx, double cxy, double cyy
) noexcept nogil:
    """Fill in everything that follows from flux, centre and covariance."""
    cdef double determinant = cxx * cyy - cxy * cxy
    g.x, g.y = x, y
    g.txx, g.txy, g.tyy = cyy / determinant, -cxy / determinant, cxx / determinant
    g.peak = flux / (6.283185307179586 * sqrt(determinant))
    g.step = exp(-g.tyy)
    g.inverse_cxx = 1 / cxx
    g.slope = cxy / cxx
    g.reach = sqrt(FARTHEST * cxx)
    g.top = cxy * sqrt(FARTHEST / cyy)
    # across the strip the peak shifts by this many standard deviations; beyond 25 a lane that starts at exp(-700) = 0
    # might still come to matter
    g.direct = (VD_WIDTH - 1) * fabs(g.txy) > 25 * sqrt(g.tyy) or g.tyy > 100


cdef inline double clipped(double value, double low, double high) noexcept nogil:
    return low if value < low else (high if value > high else value)


cdef inline void find_rows(const Gaussian* g, double column, double row, int n_rows, Run* run) noexcept nogil:
    """The rows in which the ellipse d.s < FARTHEST meets the strip that begins at the given column and row."""
    cdef double left = column - g.x, right = left + (VD_WIDTH - 1)
    cdef double dx, low, high
    run.first = run.last = 0
    if left > g.reach or right < -g.reach:
        return
    # the ellipse is convex: its highest point over an interval of x lies nearest to its uppermost point
    dx = clipped(g.top, left, right)
    high = g.slope * dx + sqrt(max(FARTHEST - dx * dx * g.inverse_cxx, 0.) / g.tyy)
    dx = clipped(-g.top, left, right)
    low = g.slope * dx - sqrt(max(FARTHEST - dx * dx * g.inverse_cxx, 0.) / g.tyy)
    run.first = <int>clipped(ceil(g.y + low - row), 0., n_rows)
    run.last = <int>clipped(floor(g.y + high - row) + 1., 0., n_rows)


cdef inline void start(const Gaussian* g, vd dx, double dy, vd* phi, vd* ratio) noexcept nogil:
    """The recurrence at the row dy above the centre."""
    cdef vd conditional = dy - g.slope * dx
    phi[0] = g.peak * vd_exp(-.5 * (g.inverse_cxx * dx * dx + g.tyy * conditional * conditional))
    ratio[0] = vd_exp(-g.txy * dx - g.tyy * (dy + .5))


cdef inline void add_values(
    const Gaussian* g, vd phi, vd ratio, int first, int last, vd* plane, Py_ssize_t stride
) noexcept nogil:
    cdef int row
    cdef vd step = vd_splat(g.step)
    for row in range(first, last):
        plane[row * stride] += phi
        phi = phi * ratio
        ratio = ratio * step


cdef inline void add_star_planes(
    const Gaussian* g, vd phi, vd ratio, vd dx, double dy, int first, int last, vd* planes, Py_ssize_t stride
) noexcept nogil:
    """Add phi and its derivatives by x and y; dy belongs to the first row."""
    cdef int row
    cdef vd* plane = planes + first * stride
    cdef vd step = vd_splat(g.step), txy = vd_splat(g.txy), tyy = vd_splat(g.tyy)
    cdef vd sx = g.txx * dx + g.txy * dy, sy = g.txy * dx + g.tyy * dy
    for row in range(first, last):
        plane[0] += phi
        plane[1] += phi * sx
        plane[2] += phi * sy
        phi = phi * ratio
        ratio = ratio * step
        sx = sx + txy
        sy = sy + tyy
        plane += stride


cdef inline void add_galaxy_planes(
    const Gaussian* g, vd phi, vd ratio, vd dx, double dy, int first, int last, vd* planes, Py_ssize_t stride
) noexcept nogil:
    """Add the seven planes of a galaxy (Wxx and Wyy without their factor 1/2); dy belongs to the first row."""
    cdef int row
    cdef vd* plane = planes + first * stride
    cdef vd* value = plane + (3 if g.de_vaucouleurs else 0)
    cdef vd step = vd_splat(g.step), txx = vd_splat(g.txx), txy = vd_splat(g.txy), tyy = vd_splat(g.tyy)
    cdef vd share = vd_splat(g.share), spread = vd_splat(g.v)
    cdef vd sx = g.txx * dx + g.txy * dy, sy = g.txy * dx + g.tyy * dy
    cdef vd part, wide
    for row in range(first, last):
        part = share * phi
        wide = spread * part
        value[0] += phi
        plane[1] += part * sx
        plane[2] += part * sy
        plane[4] += wide * (sx * sx - txx)
        plane[5] += wide * (sx * sy - txy)
        plane[6] += wide * (sy * sy - tyy)
        phi = phi * ratio
        ratio = ratio * step
        sx = sx + txy
        sy = sy + tyy
        plane += stride
        value += stride
