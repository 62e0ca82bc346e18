"""The pixel term of mean-field variational inference. Included by every variant, after _tiles.pxi.

The tiles hold two sources at the same place, a star and a galaxy, both of unit flux: the two types of one
active source. All other sources enter by maps of their mean and variance.
"""

from celestepy.model._mean_field cimport (
    AMPLITUDES,
    NUMBERS,
    PLACES,
    SHAPES,
    Expectation,
    PixelSums,
    add_first,
    add_second,
    expectation,
)
from celestepy.model._scene cimport add_source_curvature, plane_factor, source_gradient


cdef class MeanFieldKernel(Tiles):
    """Tiles with the neighbours' maps and the sums that the mean-field objective needs."""

    cdef vd** neighbours        # of each image, strip after strip, row after row: mean, variance
    cdef PixelSums* sums

    def __cinit__(self, *_):
        cdef int n
        self.neighbours = <vd**>vd_allocate(self.n_images * sizeof(vd*))
        self.sums = <PixelSums*>vd_allocate(sizeof(PixelSums))
        if self.neighbours == NULL or self.sums == NULL:
            raise MemoryError
        memset(self.neighbours, 0, self.n_images * sizeof(vd*))
        for n in range(self.n_images):
            self.neighbours[n] = <vd*>vd_allocate(self._neighbour_size(n))
            if self.neighbours[n] == NULL:
                raise MemoryError
            memset(self.neighbours[n], 0, self._neighbour_size(n))

    def __dealloc__(self):
        cdef int n
        if self.neighbours != NULL:
            for n in range(self.n_images):
                vd_free(self.neighbours[n])
        vd_free(self.neighbours)
        vd_free(self.sums)

    cdef size_t _neighbour_size(self, int n) noexcept nogil:
        return 2 * self.photos[n].n_strips * self.photos[n].height * sizeof(vd)

    def set_neighbours(self, int n, const double[:, ::1] mean, const double[:, ::1] variance):
        """Rearrange the maps of image ``n`` into strips."""
        cdef Photo* photo = &self.photos[n]
        cdef Py_ssize_t row, column, place
        for row in range(photo.height):
            for column in range(photo.width):
                place = 2 * (column // VD_WIDTH * photo.height + row) * VD_WIDTH + column % VD_WIDTH
                (<double*>self.neighbours[n])[place] = mean[row, column]
                (<double*>self.neighbours[n])[place + VD_WIDTH] = variance[row, column]

    def evaluate(
        self, const double[:, ::1] amplitudes, const double[:, ::1] scene, const double[::1] sky, int order,
        double[::1] value, double[:, ::1] gradient, double[:, :, ::1] hessian,
    ):
        """Objective of each image, derivatives by (A1, A2, B1, B2, u, v, dev_fraction, Suu, Suv, Svv)."""
        cdef int n
        with nogil:
            for n in range(self.n_images):
                self._place(n, &scene[0, 0], order > 1)
                memset(self.sums, 0, sizeof(PixelSums))
                self._sum_image(n, &amplitudes[n, 0], sky[n], order)
                value[n] = vd_sum(self.sums.value)
                if order > 0:
                    self._finish_gradient(&gradient[n, 0])
                if order > 1:
                    self._finish_hessian(&hessian[n, 0, 0])

    def render(self, int n, const double[:, ::1] scene, double[:, :, ::1] out):
        """Profiles of star and galaxy in image ``n`` into ``out`` (2, h, w)."""
        with nogil:
            self._place(n, &scene[0, 0], False)
            self._render(n, out)

    cdef void _place(self, int n, const double* scene, bint with_derivatives) noexcept nogil:
        self._clear()
        self._add_source(n, 0, False, scene, with_derivatives)
        self._add_source(n, 1, True, scene + self.n_bands + 6, with_derivatives)
        self.stride = row_length(self.n_planes)

    cdef void _sum_image(self, int n, const double* amplitudes, double sky, int order) noexcept nogil:
        cdef Photo* photo = &self.photos[n]
        cdef int strip, tile, first, rows, place
        for strip in range(photo.n_strips):
            for tile in range(photo.n_tiles):
                first = tile * TILE_ROWS
                rows = min(TILE_ROWS, photo.height - first)
                place = strip * photo.height + first
                self._draw(strip * VD_WIDTH, first, rows, order > 1)
                self._add_pixels(
                    photo.pixels + place, self.neighbours[n] + 2 * place, rows, amplitudes, sky,
                    photo.poisson, order,
                )
                if order > 0:
                    # the slopes by the two profiles; the galaxy's lies in the place of the curvature
                    self._add_moments(&self.sources[0], self.slope, strip * VD_WIDTH, first, rows, order)
                    self._add_moments(&self.sources[1], self.curvature, strip * VD_WIDTH, first, rows, order)

    cdef void _add_pixels(
        self, const Pixels* pixels, const vd* neighbours, int rows, const double* a, double sky,
        bint is_poisson, int order,
    ) noexcept nogil:
        """Sums over the pixels of a tile; the slopes by the profiles of star and galaxy are kept."""
        cdef int row
        cdef vd s, g
        cdef vd* star
        cdef vd* galaxy
        cdef Expectation e
        for row in range(rows):
            star = self.planes + row * self.stride + self.sources[0].plane
            galaxy = self.planes + row * self.stride + self.sources[1].plane
            s, g = star[0], galaxy[0]
            e = expectation(
                &pixels[row], is_poisson, pixels[row].background + sky + neighbours[2 * row],
                neighbours[2 * row + 1], a[0] * s + a[1] * g, a[2] * s * s + a[3] * g * g,
            )
            add_first(&e, s, g, self.sums)
            self.slope[row] = a[0] * e.mu + 2. * a[2] * s * e.nu
            self.curvature[row] = a[1] * e.mu + 2. * a[3] * g * e.nu
            if order > 1:
                add_second(&e, a, star, galaxy, self.sums)

    cdef void _finish_gradient(self, double* gradient) noexcept nogil:
        cdef double star[7]
        cdef double galaxy[7]
        cdef const Source* s = &self.sources[1]
        cdef int i, j
        memset(galaxy, 0, sizeof(galaxy))
        source_gradient(&self.sources[0], star)
        source_gradient(s, galaxy)
        for i in range(PLACES):
            galaxy[1 + i] += star[1 + i]
        for i in range(AMPLITUDES):
            gradient[i] = vd_sum(self.sums.first[i])
        for i in range(SHAPES):
            gradient[AMPLITUDES + i] = 0
            for j in range(SHAPES):
                gradient[AMPLITUDES + i] += s.by_scene[1 + j][1 + i] * galaxy[1 + j]

    cdef void _finish_hessian(self, double* hessian) noexcept nogil:
        """The sums as a matrix, with the second derivatives of the profiles, in the scene's coordinates."""
        cdef double h[10][10]
        cdef double star[7][7]
        cdef double galaxy[7][7]
        cdef double factor
        cdef int i, j
        memset(h, 0, sizeof(h))
        memset(star, 0, sizeof(star))
        memset(galaxy, 0, sizeof(galaxy))
        add_source_curvature(&self.sources[0], &star[0][0], 7)
        add_source_curvature(&self.sources[1], &galaxy[0][0], 7)
        for i in range(AMPLITUDES):
            for j in range(i, AMPLITUDES):
                h[i][j] = vd_sum(self.sums.second[i][j])
            for j in range(SHAPES):
                h[i][AMPLITUDES + j] = self._factor(j) * vd_sum(self.sums.galaxy[i][j])
            for j in range(PLACES):
                h[i][AMPLITUDES + j] += vd_sum(self.sums.star[i][j])
        for i in range(SHAPES):
            for j in range(i, SHAPES):
                factor = self._factor(i) * self._factor(j)
                factor *= vd_sum(self.sums.galaxy_galaxy[i][j])
                h[AMPLITUDES + i][AMPLITUDES + j] = galaxy[1 + i][1 + j] + factor
        for i in range(PLACES):
            for j in range(i, PLACES):
                h[AMPLITUDES + i][AMPLITUDES + j] += star[1 + i][1 + j] + vd_sum(self.sums.star_star[i][j])
            for j in range(SHAPES):
                factor = self._factor(j) * vd_sum(self.sums.star_galaxy[i][j])
                # s_i g_j + g_i s_j: on the diagonal both, below it the mirror of what is above
                h[AMPLITUDES + min(i, j)][AMPLITUDES + max(i, j)] += 2. * factor if i == j else factor
        self._to_scene(&h[0][0], hessian)

    cdef inline double _factor(self, int shape) noexcept nogil:
        return plane_factor(&self.sources[1], 1 + shape)

    cdef void _to_scene(self, double* h, double* hessian) noexcept nogil:
        """Mirror the upper triangle h and carry it into the coordinates of the scene from both sides."""
        cdef const Source* s = &self.sources[1]
        cdef double half[10][10]
        cdef double jacobian[10][10]
        cdef int i, j, k
        memset(jacobian, 0, sizeof(jacobian))
        for i in range(AMPLITUDES):
            jacobian[i][i] = 1
        for i in range(SHAPES):
            for j in range(SHAPES):
                jacobian[AMPLITUDES + i][AMPLITUDES + j] = s.by_scene[1 + i][1 + j]
        for i in range(NUMBERS):
            for j in range(i):
                h[i * NUMBERS + j] = h[j * NUMBERS + i]
        for i in range(NUMBERS):
            for j in range(NUMBERS):
                half[i][j] = 0
                for k in range(NUMBERS):
                    half[i][j] += h[i * NUMBERS + k] * jacobian[k][j]
        for i in range(NUMBERS):
            for j in range(NUMBERS):
                hessian[i * NUMBERS + j] = 0
                for k in range(NUMBERS):
                    hessian[i * NUMBERS + j] += jacobian[k][i] * half[k][j]
