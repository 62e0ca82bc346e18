"""The log likelihood of a scene with gradient and Hessian. Included by every variant, after _tiles.pxi.

To the planes of a tile the likelihood of its pixels adds their slope l' and curvature l''; the Hessian is
the sum of the products l'' d_a d_b of first derivatives, plus the second derivatives of the profiles summed
against l'.
"""

from celestepy.model._poisson cimport Term, gaussian, poisson, sum_gaussian, sum_poisson
from celestepy.model._scene cimport (
    add_scene_block,
    add_scene_gradient,
    add_source_curvature,
    plane_factor,
    place_sky,
    source_gradient,
)


cdef inline void add_products(
    const vd* planes, Py_ssize_t n_planes, Py_ssize_t stride, const vd* weight, Py_ssize_t n_rows,
    vd* products,
) noexcept nogil:
    """products[a, b] += sum over rows of weight d_a d_b, at least for a <= b; 2 x 4 sums at a time."""
    cdef Py_ssize_t a, b, row
    cdef const vd* d
    cdef vd* out
    cdef vd w, p, q, p0, p1, p2, p3, q0, q1, q2, q3
    for a in range(0, n_planes, 2):
        for b in range(a // 4 * 4, n_planes, 4):
            p0 = p1 = p2 = p3 = q0 = q1 = q2 = q3 = vd_splat(0.)
            d = planes
            for row in range(n_rows):
                w = weight[row]
                p = w * d[a]
                q = w * d[a + 1]
                p0 = p0 + p * d[b]
                p1 = p1 + p * d[b + 1]
                p2 = p2 + p * d[b + 2]
                p3 = p3 + p * d[b + 3]
                q0 = q0 + q * d[b]
                q1 = q1 + q * d[b + 1]
                q2 = q2 + q * d[b + 2]
                q3 = q3 + q * d[b + 3]
                d += stride
            out = products + a * n_planes + b
            out[0] += p0
            out[1] += p1
            out[2] += p2
            out[3] += p3
            out += n_planes
            out[0] += q0
            out[1] += q1
            out[2] += q2
            out[3] += q3


cdef class PixelKernel(Tiles):
    """Tiles with the sums that the likelihood of a scene needs."""

    cdef vd* products
    cdef double* gradient
    cdef double* hessian
    cdef double* factors
    cdef int* by_width      # profiles, the narrowest first

    def __cinit__(self, *_):
        cdef Py_ssize_t numbers = self.n_sources * GALAXY_PLANES + 1
        cdef Py_ssize_t rounded = rounded_up(numbers, 4)
        self.products = <vd*>vd_allocate(rounded * rounded * sizeof(vd))
        self.gradient = <double*>vd_allocate((numbers + 2) * numbers * sizeof(double))
        self.by_width = <int*>vd_allocate(self.profiles.shape[0] * sizeof(int))
        if self.products == NULL or self.gradient == NULL or self.by_width == NULL:
            raise MemoryError
        self.factors = self.gradient + numbers
        self.hessian = self.factors + numbers
        self._sort_profiles()

    def __dealloc__(self):
        vd_free(self.products)
        vd_free(self.gradient)
        vd_free(self.by_width)

    def _sort_profiles(self):
        cdef Py_ssize_t n = self.profiles.shape[0], j
        for i, j in enumerate(sorted(range(n), key=lambda j: self.profiles[j, 1])):
            self.by_width[i] = j

    def evaluate(
        self, const unsigned char[::1] is_galaxy, const double[:, ::1] scene, const double[::1] sky,
        int order, double[::1] gradient, double[:, ::1] hessian,
    ):
        """Log likelihood; adds to ``gradient`` if order > 0 and to ``hessian`` if order > 1."""
        cdef int n
        cdef double value = 0.
        cdef double* g = &gradient[0] if order > 0 else NULL
        cdef double* h = &hessian[0, 0] if order > 1 else NULL
        with nogil:
            for n in range(self.n_images):
                self._place(n, &is_galaxy[0], &scene[0, 0], order > 1)
                value += self._sum_image(n, sky[n], order)
                if order > 0:
                    self._finish_gradient(g)
                if order > 1:
                    self._finish_hessian(h)
        return value

    def values(
        self, const unsigned char[::1] is_galaxy, const double[:, :, ::1] scenes, const double[:, ::1] sky,
        double[::1] out,
    ):
        """Log likelihood of each of many scenes, added to ``out``; image by image, whose pixels stay in the cache."""
        cdef int n
        cdef Py_ssize_t draw
        with nogil:
            for n in range(self.n_images):
                for draw in range(scenes.shape[0]):
                    self._place(n, &is_galaxy[0], &scenes[draw, 0, 0], False)
                    out[draw] += self._value_of_image(n, sky[draw, n])

    cdef double _value_of_image(self, int n, double sky) noexcept nogil:
        """Sum over the tiles of image n, with the light of all sources in a single plane."""
        cdef Photo* photo = &self.photos[n]
        cdef const Pixels* pixels
        cdef int strip, tile, first, rows, row, i, c
        cdef vd value = vd_splat(0.)
        for i in range(self.n_active):
            for c in range(self.sources[i].gaussians, self.sources[i].gaussians_end):
                self.gaussians[c].peak *= self.sources[i].flux
        for strip in range(photo.n_strips):
            for tile in range(photo.n_tiles):
                first = tile * TILE_ROWS
                rows = min(TILE_ROWS, photo.height - first)
                pixels = photo.pixels + strip * photo.height + first
                for row in range(rows):
                    self.planes[row] = pixels[row].background + sky
                self._add_light(strip * VD_WIDTH, first, rows)
                if photo.poisson:
                    value = value + sum_poisson(pixels, self.planes, rows)
                else:
                    value = value + sum_gaussian(pixels, self.planes, rows)
        return vd_sum(value)

    cdef void _start_all_runs(self, int column, int first_row, int rows) noexcept nogil:
        """The Gaussians of all sources that reach into a tile, those of a galaxy by increasing width."""
        cdef int i, j, c
        cdef int n_profiles = self.profiles.shape[0]
        cdef const Source* s
        cdef const Gaussian* g
        self.n_runs = 0
        for i in range(self.n_active):
            s = &self.sources[i]
            if s.n_numbers == STAR_PLANES:
                self._start_runs(&self.sources[i], column, first_row, rows)
                continue
            for j in range(n_profiles):
                g = self.gaussians + s.gaussians + self.by_width[j]
                for c in range(s.psf, s.psf_end):
                    self._start_run(g, column, first_row, rows)
                    g += n_profiles

    cdef void _add_light(self, int column, int first_row, int rows) noexcept nogil:
        """Add all Gaussians to the first plane, four by four as far as they go together."""
        cdef Run* run
        cdef int i, j, first, last, n
        self._start_all_runs(column, first_row, rows)
        for i in range(0, self.n_runs, 4):
            run = &self.runs[i]
            n = min(4, self.n_runs - i)
            first, last = 0, rows
            for j in range(n):
                first, last = max(first, run[j].first), min(last, run[j].last)
            if first < last and n == 4:
                for j in range(n):
                    add_run(&run[j], first, self.planes)
                add_four_runs(&run[0], &run[1], &run[2], &run[3], last, self.planes)
            for j in range(n):
                add_run(&run[j], run[j].last, self.planes)

    def render(
        self, int n, const unsigned char[::1] is_galaxy, const double[:, ::1] scene, double[:, :, ::1] out
    ):
        """Profiles of unit flux of all sources in image ``n`` into ``out`` (K, h, w), which must be zero."""
        with nogil:
            self._place(n, &is_galaxy[0], &scene[0, 0], False)
            self._render(n, out)

    cdef void _place(
        self, int n, const unsigned char* is_galaxy, const double* scene, bint with_derivatives
    ) noexcept nogil:
        """Sources visible in image n and, after them, the sky level, whose plane is one everywhere."""
        cdef int k
        self._clear()
        for k in range(self.n_sources):
            if self.visible[n, k]:
                self._add_source(n, k, is_galaxy[k], scene + k * (self.n_bands + 6), with_derivatives)
        place_sky(&self.sources[self.n_active], self.n_sources * (self.n_bands + 6) + n, self.n_numbers)
        self.n_numbers += 1
        self.n_planes += 1
        self.stride = row_length(self.n_planes)
        if with_derivatives:
            memset(self.products, 0, rounded_up(self.n_planes, 4) ** 2 * sizeof(vd))

    cdef double _sum_image(self, int n, double sky, int order) noexcept nogil:
        """Sum over the tiles of image n; leaves the sums of products and moments in the scratch memory."""
        cdef Photo* photo = &self.photos[n]
        cdef int strip, tile, first, rows, i
        cdef vd value = vd_splat(0.), sky_slope = vd_splat(0.)
        for strip in range(photo.n_strips):
            for tile in range(photo.n_tiles):
                first = tile * TILE_ROWS
                rows = min(TILE_ROWS, photo.height - first)
                self._draw(strip * VD_WIDTH, first, rows, order > 1)
                value = value + self._likelihood(
                    photo.pixels + strip * photo.height + first, rows, sky, photo.poisson, &sky_slope
                )
                if order > 1:
                    add_products(
                        self.planes, rounded_up(self.n_planes, 4), self.stride, self.curvature, rows,
                        self.products,
                    )
                if order > 0:
                    for i in range(self.n_active):
                        self._add_moments(&self.sources[i], self.slope, strip * VD_WIDTH, first, rows, order)
        self.gradient[self.n_numbers - 1] = vd_sum(sky_slope)
        return vd_sum(value)

    cdef vd _likelihood(
        self, const Pixels* pixels, int rows, double sky, bint is_poisson, vd* sky_slope
    ) noexcept nogil:
        """Sum of the log likelihood over a tile; its slope and curvature at each pixel are kept."""
        cdef int row, i
        cdef vd total = vd_splat(0.), total_slope = vd_splat(0.)
        cdef vd expected
        cdef vd* plane
        cdef Term term
        for row in range(rows):
            plane = self.planes + row * self.stride
            expected = pixels[row].background + sky
            for i in range(self.n_active):
                expected = expected + self.sources[i].flux * plane[self.sources[i].plane]
            plane[self.n_planes - 1] = vd_splat(1.)
            term = poisson(&pixels[row], expected) if is_poisson else gaussian(&pixels[row], expected)
            total = total + term.value
            self.slope[row] = term.slope
            self.curvature[row] = term.curvature
            total_slope = total_slope + term.slope
        sky_slope[0] = sky_slope[0] + total_slope
        return total

    cdef void _finish_gradient(self, double* scene_gradient) noexcept nogil:
        """Gradient over the numbers of an image, carried into that over the scene; the sky's is there."""
        cdef int i
        cdef Source* s
        for i in range(self.n_active + 1):
            s = &self.sources[i]
            if i < self.n_active:
                source_gradient(s, self.gradient + s.number)
            add_scene_gradient(s, self.gradient + s.number, scene_gradient)

    cdef void _finish_hessian(self, double* scene_hessian) noexcept nogil:
        """Hessian over the numbers of an image, carried into that over the scene."""
        cdef Py_ssize_t size = self.n_sources * (self.n_bands + 6) + self.n_images
        cdef Py_ssize_t numbers = self.n_numbers, rounded = rounded_up(self.n_planes, 4)
        cdef Py_ssize_t a, b
        cdef int i, j
        cdef double* h = self.hessian
        cdef double factor
        cdef Source* s
        for i in range(self.n_active + 1):
            for a in range(self.sources[i].n_numbers):
                self.factors[self.sources[i].number + a] = plane_factor(&self.sources[i], a)
        for a in range(numbers):
            for b in range(a, numbers):
                factor = self.factors[a] * self.factors[b]
                h[a * numbers + b] = factor * vd_sum(self.products[a * rounded + b])
        for i in range(self.n_active):
            add_source_curvature(&self.sources[i], h + self.sources[i].number * (numbers + 1), numbers)
        for a in range(numbers):
            for b in range(a):
                h[a * numbers + b] = h[b * numbers + a]
        for i in range(self.n_active + 1):
            s = &self.sources[i]
            for j in range(i, self.n_active + 1):
                add_scene_block(
                    s, &self.sources[j], h + s.number * numbers + self.sources[j].number, numbers,
                    scene_hessian, size,
                )
