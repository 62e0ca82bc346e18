# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""One source in one image: its few numbers there, and the way back to the numbers all images share.

An image sees a source through (flux, x, y) and, for a galaxy, (dev_fraction, Wxx, Wxy, Wyy), W = J S J'
being the shape matrix in pixels and J the Jacobian d(x, y) / d(u, v). These are linear in the scene vector
(fluxes, u, v, dev_fraction, Suu, Suv, Svv): derivatives are carried back by the constant matrix `by_scene`.
"""

from celestepy._simd cimport vd_sum
from celestepy.model._gaussian cimport GALAXY_PLANES, Gaussian
from celestepy.model._moments cimport Moments

cdef struct Source:
    Moments moments
    double by_scene[7][7]   # d(numbers in the image) / d(f, u, v, dev_fraction, Suu, Suv, Svv)
    double flux
    double x
    double y
    double exp_share        # flux fractions of the profiles, 1 - dev_fraction and dev_fraction, never zero
    double dev_share
    double wxx
    double wxy
    double wyy
    int columns[7]          # places of f, u, v, ... in the vector of the whole scene
    int block[7]            # by_scene has blocks on the diagonal: the first row of that of each row,
    int block_end[7]        # and the row after its last
    int index               # which source of the scene
    int n_numbers           # 7, or 3 for a star
    int number              # its first entry in the image's gradient
    int plane               # its first plane
    int dev_plane           # from there to the plane of its de Vaucouleurs part
    int psf                 # range of its PSF components
    int psf_end
    int gaussians           # range of its Gaussians
    int gaussians_end
    int runs                # range of its runs in the tile at hand
    int runs_end


cdef inline double not_zero(double share) noexcept nogil:
    """A flux fraction that the flux can be divided by again; 1e-20 of it cannot be seen."""
    return 1e-20 if -1e-20 < share < 1e-20 else share


cdef inline void place_source(
    Source* s, const double* scene, const double* position, const double* jacobian, int n_bands, int band
) noexcept nogil:
    """Numbers of the source in an image, from its row of the scene; index and n_numbers are already set."""
    cdef double j00 = jacobian[0], j01 = jacobian[1], j10 = jacobian[2], j11 = jacobian[3]
    cdef const double* shape = scene + n_bands + 3
    cdef int first = s.index * (n_bands + 6)
    cdef int i, j
    for i in range(7):
        s.columns[i] = first + (band if i == 0 else n_bands + i - 1)
        s.block[i] = 0 if i == 0 else (1 if i < 3 else (3 if i == 3 else 4))
        s.block_end[i] = 1 if i == 0 else (3 if i < 3 else (4 if i == 3 else 7))
        for j in range(7):
            s.by_scene[i][j] = 0
    s.by_scene[0][0] = s.by_scene[3][3] = 1
    s.by_scene[1][1], s.by_scene[1][2] = j00, j01
    s.by_scene[2][1], s.by_scene[2][2] = j10, j11
    s.by_scene[4][4], s.by_scene[4][5], s.by_scene[4][6] = j00 * j00, 2 * j00 * j01, j01 * j01
    s.by_scene[5][4], s.by_scene[5][5], s.by_scene[5][6] = j00 * j10, j00 * j11 + j01 * j10, j01 * j11
    s.by_scene[6][4], s.by_scene[6][5], s.by_scene[6][6] = j10 * j10, 2 * j10 * j11, j11 * j11
    s.flux = scene[band]
    s.x = position[0] + j00 * scene[n_bands] + j01 * scene[n_bands + 1]
    s.y = position[1] + j10 * scene[n_bands] + j11 * scene[n_bands + 1]
    s.dev_share = not_zero(scene[n_bands + 2])
    s.exp_share = not_zero(1 - scene[n_bands + 2])
    s.wxx = s.by_scene[4][4] * shape[0] + s.by_scene[4][5] * shape[1] + s.by_scene[4][6] * shape[2]
    s.wxy = s.by_scene[5][4] * shape[0] + s.by_scene[5][5] * shape[1] + s.by_scene[5][6] * shape[2]
    s.wyy = s.by_scene[6][4] * shape[0] + s.by_scene[6][5] * shape[1] + s.by_scene[6][6] * shape[2]


cdef inline void place_sky(Source* s, int column, int number) noexcept nogil:
    """The sky level as a source of a single number, the same in the image and in the scene."""
    s.index = -1
    s.n_numbers, s.number = 1, number
    s.by_scene[0][0] = 1
    s.columns[0], s.block[0], s.block_end[0] = column, 0, 1


cdef inline void source_gradient(const Source* s, double* gradient) noexcept nogil:
    """sum_p l' d(flux g) by the numbers of the source in the image."""
    cdef const Moments* m = &s.moments
    cdef double exponential = vd_sum(m.exponential), de_vaucouleurs = vd_sum(m.de_vaucouleurs)
    gradient[0] = exponential
    gradient[1] = s.flux * vd_sum(m.x)
    gradient[2] = s.flux * vd_sum(m.y)
    if s.n_numbers == GALAXY_PLANES:
        gradient[0] = exponential + de_vaucouleurs
        gradient[3] = s.flux * (de_vaucouleurs / s.dev_share - exponential / s.exp_share)
        gradient[4] = s.flux * .5 * vd_sum(m.wxx)
        gradient[5] = s.flux * vd_sum(m.wxy)
        gradient[6] = s.flux * .5 * vd_sum(m.wyy)


cdef inline void add_source_curvature(const Source* s, double* h, Py_ssize_t n) noexcept nogil:
    """Add sum_p l' d2(flux g), upper triangle; h is the source's first diagonal element, n the row length."""
    cdef const Moments* m = &s.moments
    cdef double f = s.flux
    h[1] += vd_sum(m.x)
    h[2] += vd_sum(m.y)
    h[n + 1] += f * vd_sum(m.xx)
    h[n + 2] += f * vd_sum(m.xy)
    h[2 * n + 2] += f * vd_sum(m.yy)
    if s.n_numbers < GALAXY_PLANES:
        return
    h[3] += vd_sum(m.de_vaucouleurs) / s.dev_share - vd_sum(m.exponential) / s.exp_share
    h[4] += .5 * vd_sum(m.wxx)
    h[5] += vd_sum(m.wxy)
    h[6] += .5 * vd_sum(m.wyy)
    h[n + 3] += f * vd_sum(m.dev_x)
    h[2 * n + 3] += f * vd_sum(m.dev_y)
    h[3 * n + 4] += .5 * f * vd_sum(m.dev_wxx)
    h[3 * n + 5] += f * vd_sum(m.dev_wxy)
    h[3 * n + 6] += .5 * f * vd_sum(m.dev_wyy)
    h[n + 4] += .5 * f * vd_sum(m.wxxx)
    h[n + 5] += f * vd_sum(m.wxxy)
    h[n + 6] += .5 * f * vd_sum(m.wxyy)
    h[2 * n + 4] += .5 * f * vd_sum(m.wxxy)
    h[2 * n + 5] += f * vd_sum(m.wxyy)
    h[2 * n + 6] += .5 * f * vd_sum(m.wyyy)
    h[4 * n + 4] += .25 * f * vd_sum(m.wxxxx)
    h[4 * n + 5] += .5 * f * vd_sum(m.wxxxy)
    h[4 * n + 6] += .25 * f * vd_sum(m.wxxyy)
    h[5 * n + 5] += f * vd_sum(m.wxxyy)
    h[5 * n + 6] += .5 * f * vd_sum(m.wxyyy)
    h[6 * n + 6] += .25 * f * vd_sum(m.wyyyy)


cdef inline double plane_factor(const Source* s, int number) noexcept nogil:
    """What a derivative plane has to be multiplied with to be the derivative of flux g."""
    if number == 0:
        return 1
    return .5 * s.flux if number == 4 or number == 6 else s.flux


cdef inline void add_scene_gradient(
    const Source* s, const double* gradient, double* scene_gradient
) noexcept nogil:
    cdef int i, j
    for i in range(s.n_numbers):
        for j in range(s.block[i], s.block_end[i]):
            scene_gradient[s.columns[j]] += s.by_scene[i][j] * gradient[i]


cdef inline void add_scene_block(
    const Source* a, const Source* b, const double* h, Py_ssize_t n, double* scene_hessian, Py_ssize_t size
) noexcept nogil:
    """Carry the block of sources a and b of the image's Hessian into that of the scene, and its mirror if a
    != b.

    h is the first element of the block in a matrix of row length n; the block of one source is a full square.
    """
    cdef double half[7][7]
    cdef double entry
    cdef int i, j, k
    for i in range(a.n_numbers):
        for j in range(b.n_numbers):
            half[i][j] = 0
            for k in range(b.block[j], b.block_end[j]):
                half[i][j] += h[i * n + k] * b.by_scene[k][j]
    for i in range(a.n_numbers):
        for j in range(b.n_numbers):
            entry = 0
            for k in range(a.block[i], a.block_end[i]):
                entry += a.by_scene[k][i] * half[k][j]
            scene_hessian[a.columns[i] * size + b.columns[j]] += entry
            if a.index != b.index:
                scene_hessian[b.columns[j] * size + a.columns[i]] += entry
