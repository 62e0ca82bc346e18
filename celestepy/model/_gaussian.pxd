# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""One Gaussian component on a strip of pixels: VD_WIDTH columns side by side, row after row.

With d = pixel - centre, T the inverse covariance and s = T d, the component is

    phi(d) = peak exp(-d.s / 2),

its derivatives by the centre are phi times the Hermite polynomials of s,

    x: sx    y: sy    xx: sx^2 - Txx    xy: sx sy - Txy    yy: sy^2 - Tyy   and so on,

and those by the covariance follow from d phi / d C = (1/2) grad grad phi. Down a column phi obeys

    phi(y + 1) = phi(y) ratio(y),    ratio(y + 1) = ratio(y) exp(-Tyy),

two multiplications instead of an exponential. In n rows the error of exp(-Tyy) enters n^2 / 2 times: below
3e-13 for the 64 rows of a tile.
"""

from libc.math cimport exp, fabs, sqrt

from celestepy._simd cimport VD_WIDTH, vd, vd_exp, vd_lanes, vd_splat

cdef enum:
    # a component is left out where d.s exceeds this: there it is below 3e-20 of its peak, beyond the last
    # digit of anything it is added to, fourth derivatives included, so there is no edge to be seen
    FARTHEST = 90
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
    double peak             # at the centre, share included
    double share            # flux fraction of its profile: 1 - dev_fraction, dev_fraction, or 1 for a star
    double v                # covariance = PSF covariance + v W
    double step             # exp(-tyy)
    double inverse_cxx
    double inverse_tyy
    double reach            # |dx| of the outermost point where d.s = FARTHEST
    double top              # dx of the uppermost such point
    double slope            # cxy / cxx
    int group               # shared by the components of one profile and one component of the PSF
    bint de_vaucouleurs
    bint direct             # so thin and tilted that the recurrence could start below the smallest double

cdef struct Run:            # a Gaussian in a tile: the rows it reaches, and the recurrence at the first
    vd phi
    vd ratio
    const Gaussian* g
    int first
    int last

cdef struct Sweep:          # a Gaussian on its way down a tile
    vd phi
    vd ratio
    vd sx
    vd sy
    vd step
    vd txx
    vd txy
    vd tyy
    vd v
    int row


cdef inline void set_gaussian(
    Gaussian* g, double flux, double x, double y, double cxx, double cxy, double cyy
) noexcept nogil:
    """Fill in everything that follows from flux, centre and covariance."""
    cdef double determinant = cxx * cyy - cxy * cxy
    g.x, g.y = x, y
    cdef double inverse = 1 / determinant
    g.txx, g.txy, g.tyy = cyy * inverse, -cxy * inverse, cxx * inverse
    g.peak = flux * inverse * sqrt(determinant) * 0.15915494309189535
    g.step = exp(-g.tyy)
    g.inverse_cxx = 1 / cxx
    g.inverse_tyy = determinant * g.inverse_cxx
    g.slope = cxy * g.inverse_cxx
    g.reach = sqrt(FARTHEST * cxx)
    g.top = cxy * sqrt(FARTHEST / cyy)
    g.direct = (VD_WIDTH - 1) * fabs(g.txy) > 25 * sqrt(g.tyy) or g.tyy > 100


cdef inline double clipped(double value, double low, double high) noexcept nogil:
    return low if value < low else (high if value > high else value)


cdef inline bint find_rows(const Gaussian* g, double column, double row, int n_rows, Run* run) noexcept nogil:
    """The rows in which the ellipse d.s < FARTHEST meets the strip beginning at a column and row, if any."""
    cdef double left = column - g.x, right = left + (VD_WIDTH - 1)
    cdef double high, low
    if left > g.reach or right < -g.reach:
        return False
    # the ellipse is convex: its highest point over an interval of x lies nearest to its uppermost point
    high = clipped(g.top, left, right)
    low = clipped(-g.top, left, right)
    high = g.slope * high + sqrt(max(FARTHEST - high * high * g.inverse_cxx, 0.) * g.inverse_tyy)
    low = g.slope * low - sqrt(max(FARTHEST - low * low * g.inverse_cxx, 0.) * g.inverse_tyy)
    run.g = g
    # rounded outwards by truncation: all these numbers are positive
    run.first = <int>clipped(g.y + low - row, 0., n_rows)
    run.last = <int>clipped(g.y + high - row + 1., 0., n_rows)
    return run.first < run.last


cdef inline void start(Run* run, double column, double row) noexcept nogil:
    """The recurrence at the run's first row."""
    cdef const Gaussian* g = run.g
    cdef vd dx = vd_lanes() + (column - g.x)
    cdef double dy = row + run.first - g.y
    cdef vd conditional = dy - g.slope * dx
    run.phi = g.peak * vd_exp(-.5 * (g.inverse_cxx * dx * dx + g.tyy * conditional * conditional))
    run.ratio = vd_exp(-g.txy * dx - g.tyy * (dy + .5))


cdef inline Sweep begin(const Run* run, double column, double row) noexcept nogil:
    cdef Sweep s
    cdef const Gaussian* g = run.g
    cdef vd dx = vd_lanes() + (column - g.x)
    cdef double dy = row + run.first - g.y
    s.phi, s.ratio, s.row = run.phi, run.ratio, run.first
    s.step, s.v = vd_splat(g.step), vd_splat(g.v)
    s.txx, s.txy, s.tyy = vd_splat(g.txx), vd_splat(g.txy), vd_splat(g.tyy)
    s.sx, s.sy = g.txx * dx + g.txy * dy, g.txy * dx + g.tyy * dy
    return s


cdef inline void advance(Sweep* s) noexcept nogil:
    s.phi = s.phi * s.ratio
    s.ratio = s.ratio * s.step
    s.sx = s.sx + s.txy
    s.sy = s.sy + s.tyy


# The functions below add Gaussians to the planes of the rows from where they are to the row before the last.
# They work on copies of the sweeps: the compiler then knows that no store to a plane changes them, and keeps
# them in registers.


cdef inline void add_value(Sweep* sweep, int last, vd* planes, Py_ssize_t stride) noexcept nogil:
    cdef Sweep s = sweep[0]
    cdef int row
    for row in range(s.row, last):
        planes[row * stride] += s.phi
        s.phi = s.phi * s.ratio
        s.ratio = s.ratio * s.step
    s.row = max(last, s.row)
    sweep[0] = s


cdef inline void add_two_values(
    Sweep* one, Sweep* other, int last, vd* planes, Py_ssize_t stride
) noexcept nogil:
    cdef Sweep s = one[0], t = other[0]
    cdef int row
    for row in range(s.row, last):
        planes[row * stride] += s.phi + t.phi
        s.phi = s.phi * s.ratio
        t.phi = t.phi * t.ratio
        s.ratio = s.ratio * s.step
        t.ratio = t.ratio * t.step
    s.row = t.row = max(last, s.row)
    one[0], other[0] = s, t


# The two that follow are for values alone and take runs as they are, with all Gaussians in one plane.


cdef inline void add_run(Run* run, int last, vd* plane) noexcept nogil:
    cdef vd phi = run.phi, ratio = run.ratio, step = vd_splat(run.g.step)
    cdef int row
    for row in range(run.first, last):
        plane[row] += phi
        phi = phi * ratio
        ratio = ratio * step
    run.phi, run.ratio, run.first = phi, ratio, max(last, run.first)


cdef inline void add_four_runs(Run* a, Run* b, Run* c, Run* d, int last, vd* plane) noexcept nogil:
    """Four runs at the same row: enough work to hide the latency of the multiplications."""
    cdef vd p = a.phi, q = b.phi, r = c.phi, s = d.phi
    cdef vd p_ratio = a.ratio, q_ratio = b.ratio, r_ratio = c.ratio, s_ratio = d.ratio
    cdef vd p_step = vd_splat(a.g.step), q_step = vd_splat(b.g.step)
    cdef vd r_step = vd_splat(c.g.step), s_step = vd_splat(d.g.step)
    cdef int row
    for row in range(a.first, last):
        plane[row] += (p + q) + (r + s)
        p = p * p_ratio
        q = q * q_ratio
        r = r * r_ratio
        s = s * s_ratio
        p_ratio = p_ratio * p_step
        q_ratio = q_ratio * q_step
        r_ratio = r_ratio * r_step
        s_ratio = s_ratio * s_step
    a.phi, b.phi, c.phi, d.phi = p, q, r, s
    a.ratio, b.ratio, c.ratio, d.ratio = p_ratio, q_ratio, r_ratio, s_ratio
    a.first = b.first = c.first = d.first = last


cdef inline void add_star_planes(Sweep* sweep, int last, vd* planes, Py_ssize_t stride) noexcept nogil:
    """Add phi and its derivatives by x and y."""
    cdef Sweep s = sweep[0]
    cdef int _row
    cdef vd* plane = planes + s.row * stride
    for _row in range(s.row, last):
        plane[0] += s.phi
        plane[1] += s.phi * s.sx
        plane[2] += s.phi * s.sy
        advance(&s)
        plane += stride


cdef inline void add_galaxy_planes(
    Sweep* sweep, int last, vd* planes, Py_ssize_t value, Py_ssize_t stride
) noexcept nogil:
    """Add phi to the plane `value`, and the derivatives by x, y, Wxx, Wxy, Wyy (xx, yy without the 1/2)."""
    cdef Sweep s = sweep[0]
    cdef int _row
    cdef vd* plane = planes + s.row * stride
    cdef vd wide
    for _row in range(s.row, last):
        wide = s.v * s.phi
        plane[value] += s.phi
        plane[1] += s.phi * s.sx
        plane[2] += s.phi * s.sy
        plane[4] += wide * (s.sx * s.sx - s.txx)
        plane[5] += wide * (s.sx * s.sy - s.txy)
        plane[6] += wide * (s.sy * s.sy - s.tyy)
        advance(&s)
        plane += stride
    s.row = max(last, s.row)
    sweep[0] = s


cdef inline void add_two_galaxy_planes(
    Sweep* one, Sweep* other, int last, vd* planes, Py_ssize_t value, Py_ssize_t stride
) noexcept nogil:
    """The same for two Gaussians at the same row: half the loads and stores of the planes."""
    cdef Sweep s = one[0], t = other[0]
    cdef int _row
    cdef vd* plane = planes + s.row * stride
    cdef vd wide, wider
    for _row in range(s.row, last):
        wide = s.v * s.phi
        wider = t.v * t.phi
        plane[value] += s.phi + t.phi
        plane[1] = plane[1] + s.phi * s.sx + t.phi * t.sx
        plane[2] = plane[2] + s.phi * s.sy + t.phi * t.sy
        plane[4] = plane[4] + wide * (s.sx * s.sx - s.txx) + wider * (t.sx * t.sx - t.txx)
        plane[5] = plane[5] + wide * (s.sx * s.sy - s.txy) + wider * (t.sx * t.sy - t.txy)
        plane[6] = plane[6] + wide * (s.sy * s.sy - s.tyy) + wider * (t.sy * t.sy - t.tyy)
        advance(&s)
        advance(&t)
        plane += stride
    s.row = t.row = max(last, s.row)
    one[0], other[0] = s, t
