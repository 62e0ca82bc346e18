"""The pixels of a set of patches, strip by strip, and the sources drawn into them. Included by every variant.

An image is cut into strips of VD_WIDTH columns and these into tiles of at most TILE_ROWS rows, whose planes
stay in the first-level cache. In a tile, first every Gaussian adds itself to the planes (profile and first
derivatives); the likelihood of the pixels is formed by the classes derived from the one here; last, the
second derivatives of the profiles are summed against the slope of the likelihood by moments (_moments.pxd).
"""

from libc.string cimport memset

from celestepy._simd cimport (
    VD_WIDTH,
    vd,
    vd_allocate,
    vd_free,
    vd_lanes,
    vd_processor_runs,
    vd_splat,
    vd_sum,
)
from celestepy.model._gaussian cimport (
    GALAXY_PLANES,
    STAR_PLANES,
    Gaussian,
    Run,
    Sweep,
    add_four_runs,
    add_galaxy_planes,
    add_run,
    add_star_planes,
    add_two_galaxy_planes,
    add_two_values,
    add_value,
    begin,
    find_rows,
    set_gaussian,
    start,
)
from celestepy.model._moments cimport (
    LEVELS,
    ColumnMoments,
    Moments,
    add_galaxy_moments,
    add_galaxy_slopes,
    add_star_moments,
    set_levels,
    sum_five,
    sum_three,
    sum_two_fives,
)
from celestepy.model._poisson cimport Pixels, set_pixel
from celestepy.model._scene cimport Source, place_source

cdef enum:
    TILE_ROWS = 64          # as many as the recurrences may run without a fresh start

cdef struct Photo:          # the pixels of one image, strip after strip, row after row
    Pixels* pixels
    int height
    int width
    int n_strips
    int n_tiles
    int band
    bint poisson


def processor_runs(int width):
    """Whether this machine runs the variant with vectors of ``width`` doubles."""
    return vd_processor_runs(width)


cdef inline Py_ssize_t rounded_up(Py_ssize_t n, Py_ssize_t multiple) noexcept nogil:
    return (n + multiple - 1) // multiple * multiple


cdef inline Py_ssize_t row_length(Py_ssize_t n_planes) noexcept nogil:
    """Planes per row: a multiple of four, but not of sixteen, or rows would fall on few sets of the cache."""
    cdef Py_ssize_t length = rounded_up(n_planes, 4)
    return length + 4 if length % 16 == 0 else length


cdef class Tiles:
    """Copies of the pixels, the PSF components and the scratch memory of one set of patches.

    Nothing is checked here; `celestepy.model.pixel_rate` does. Positions are those of the patch, not of the
    image.
    """

    cdef int n_images, n_sources, n_bands
    cdef Photo* photos
    cdef const double[:, ::1] psf               # amplitude, mean x, y, covariance xx, xy, yy
    cdef const int[:, ::1] psf_first            # (N, K + 1): where the components of each source begin
    cdef const double[:, :, ::1] positions
    cdef const double[:, :, ::1] jacobians      # (N, K, 4)
    cdef const unsigned char[:, ::1] visible
    cdef const double[:, ::1] profiles          # rows: amplitude, variance, is de Vaucouleurs
    # scratch, for the image at hand
    cdef Source* sources
    cdef Gaussian* gaussians
    cdef Run* runs
    cdef vd* planes
    cdef vd* slope
    cdef vd* curvature
    cdef vd* levels
    cdef int n_active, n_gaussians, n_runs, n_numbers, n_planes
    cdef Py_ssize_t stride

    def __cinit__(
        self, images, int n_bands, psf, psf_first, positions, jacobians, visible, profiles, bint narrow
    ):
        self.n_images, self.n_sources, self.n_bands = len(images), positions.shape[1], n_bands
        self.psf, self.psf_first = psf, psf_first
        self.positions, self.jacobians, self.visible = positions, jacobians, visible
        self.profiles = profiles
        self.photos = <Photo*>vd_allocate(self.n_images * sizeof(Photo))
        if self.photos == NULL:
            raise MemoryError
        memset(self.photos, 0, self.n_images * sizeof(Photo))
        for n, image in enumerate(images):
            self._copy(n, *image)
        self._reserve(max((psf_first[:, -1] - psf_first[:, 0]).max(), 1) * len(profiles), narrow)

    def __dealloc__(self):
        cdef int n
        if self.photos != NULL:
            for n in range(self.n_images):
                vd_free(self.photos[n].pixels)
        vd_free(self.photos)
        vd_free(self.sources)
        vd_free(self.gaussians)
        vd_free(self.runs)
        vd_free(self.planes)

    def _copy(
        self, int n, const double[:, ::1] data, const double[:, ::1] weight, const double[:, ::1] background,
        int band, bint poisson,
    ):
        """Rearrange an image into strips; columns beyond its edge get weight zero."""
        cdef Photo* photo = &self.photos[n]
        cdef int row, strip, lane, column
        photo.height, photo.width = data.shape[0], data.shape[1]
        photo.n_strips = rounded_up(photo.width, VD_WIDTH) // VD_WIDTH
        photo.n_tiles = rounded_up(photo.height, TILE_ROWS) // TILE_ROWS
        photo.band, photo.poisson = band, poisson
        photo.pixels = <Pixels*>vd_allocate(photo.n_strips * photo.height * sizeof(Pixels))
        if photo.pixels == NULL:
            raise MemoryError
        for strip in range(photo.n_strips):
            for row in range(photo.height):
                for lane in range(VD_WIDTH):
                    column = strip * VD_WIDTH + lane
                    if column < photo.width:
                        set_pixel(
                            &photo.pixels[strip * photo.height + row], lane, data[row, column],
                            weight[row, column], background[row, column], poisson,
                        )
                    else:
                        set_pixel(&photo.pixels[strip * photo.height + row], lane, 0., 0., 1., poisson)

    def _reserve(self, Py_ssize_t n_gaussians, bint narrow):
        """Scratch memory for the largest image: all sources visible, all galaxies."""
        cdef Py_ssize_t stride = row_length(self.n_sources * GALAXY_PLANES + 1)
        self.sources = <Source*>vd_allocate((self.n_sources + 1) * sizeof(Source))
        self.gaussians = <Gaussian*>vd_allocate(n_gaussians * sizeof(Gaussian))
        # very narrow Gaussians may need a fresh start in every row; one more is written before it is counted
        self.runs = <Run*>vd_allocate((n_gaussians * (TILE_ROWS if narrow else 1) + 1) * sizeof(Run))
        self.planes = <vd*>vd_allocate(TILE_ROWS * (stride + 2 + LEVELS) * sizeof(vd))
        if self.sources == NULL or self.gaussians == NULL or self.runs == NULL or self.planes == NULL:
            raise MemoryError
        self.slope = self.planes + TILE_ROWS * stride
        self.curvature = self.slope + TILE_ROWS
        self.levels = self.curvature + TILE_ROWS

    cdef void _clear(self) noexcept nogil:
        """No sources in the image."""
        self.n_active = self.n_gaussians = self.n_numbers = self.n_planes = 0

    cdef void _add_source(
        self, int n, int k, bint is_galaxy, const double* scene, bint with_derivatives
    ) noexcept nogil:
        """Source k of the scene joins the image n: its numbers, its Gaussians, the places of its planes."""
        cdef Source* s = &self.sources[self.n_active]
        s.index = k
        s.n_numbers = GALAXY_PLANES if is_galaxy else STAR_PLANES
        s.number, s.plane = self.n_numbers, self.n_planes
        self.n_active += 1
        self.n_numbers += s.n_numbers
        # values alone: one plane, or for a galaxy one for each profile
        s.dev_plane = 3 if with_derivatives else 1
        self.n_planes += s.n_numbers if with_derivatives else (2 if is_galaxy else 1)
        s.psf, s.psf_end = self.psf_first[n, k], self.psf_first[n, k + 1]
        place_source(
            s, scene, &self.positions[n, k, 0], &self.jacobians[n, k, 0], self.n_bands, self.photos[n].band
        )
        memset(&s.moments, 0, sizeof(Moments))
        self._set_gaussians(s)

    cdef void _set_gaussians(self, Source* s) noexcept nogil:
        """One Gaussian per component of the PSF and, for a galaxy, of the profile, grouped by the former."""
        cdef int c, j
        cdef const double* p
        cdef double v
        cdef Gaussian* g
        s.gaussians = self.n_gaussians
        for c in range(s.psf, s.psf_end):
            p = &self.psf[c, 0]
            for j in range(self.profiles.shape[0] if s.n_numbers == GALAXY_PLANES else 1):
                g = &self.gaussians[self.n_gaussians]
                self.n_gaussians += 1
                if s.n_numbers == STAR_PLANES:
                    set_gaussian(g, p[0], s.x + p[1], s.y + p[2], p[3], p[4], p[5])
                    g.share, g.v, g.de_vaucouleurs, g.group = 1, 0, False, 2 * c
                    continue
                v = self.profiles[j, 1]
                g.v, g.de_vaucouleurs = v, self.profiles[j, 2] > 0
                g.group = 2 * c + g.de_vaucouleurs
                g.share = s.dev_share if g.de_vaucouleurs else s.exp_share
                set_gaussian(
                    g, g.share * p[0] * self.profiles[j, 0], s.x + p[1], s.y + p[2],
                    p[3] + v * s.wxx, p[4] + v * s.wxy, p[5] + v * s.wyy,
                )
        s.gaussians_end = self.n_gaussians

    cdef void _render(self, int n, double[:, :, ::1] out) noexcept nogil:
        """Values of the sources placed in image n into out (K, h, w)."""
        cdef Photo* photo = &self.photos[n]
        cdef int strip, tile, first, rows, row, i, lane, last
        cdef vd value
        cdef Source* s
        for strip in range(photo.n_strips):
            last = min(VD_WIDTH, photo.width - strip * VD_WIDTH)
            for tile in range(photo.n_tiles):
                first = tile * TILE_ROWS
                rows = min(TILE_ROWS, photo.height - first)
                self._draw(strip * VD_WIDTH, first, rows, False)
                for i in range(self.n_active):
                    s = &self.sources[i]
                    for row in range(rows):
                        value = self.planes[row * self.stride + s.plane]
                        for lane in range(last):
                            out[s.index, first + row, strip * VD_WIDTH + lane] = (<double*>&value)[lane]

    cdef void _draw(self, int column, int first_row, int rows, bint with_derivatives) noexcept nogil:
        """Profiles of the sources in a tile and, if asked, their derivatives, into the planes."""
        cdef int i, row
        cdef Source* s
        cdef vd* plane
        cdef vd exponential
        memset(self.planes, 0, rows * self.stride * sizeof(vd))
        self.n_runs = 0
        for i in range(self.n_active):
            s = &self.sources[i]
            self._start_runs(s, column, first_row, rows)
            if s.n_numbers == STAR_PLANES:
                self._draw_star(s, column, first_row, with_derivatives)
                continue
            self._draw_galaxy(s, column, first_row, with_derivatives)
            for row in range(rows):
                plane = self.planes + row * self.stride + s.plane
                exponential = plane[0]
                plane[0] = exponential + plane[s.dev_plane]
                if with_derivatives:
                    plane[3] = plane[3] * (1 / s.dev_share) - exponential * (1 / s.exp_share)

    cdef void _start_runs(self, Source* s, int column, int first_row, int rows) noexcept nogil:
        """The Gaussians of a source that reach into a tile."""
        cdef int c
        s.runs = self.n_runs
        for c in range(s.gaussians, s.gaussians_end):
            self._start_run(&self.gaussians[c], column, first_row, rows)
        s.runs_end = self.n_runs

    cdef void _start_run(self, const Gaussian* g, int column, int first_row, int rows) noexcept nogil:
        """A Gaussian, if it reaches into a tile; where it is not safe to go on, a run for each row."""
        cdef Run* run = &self.runs[self.n_runs]
        cdef int row, last
        if not find_rows(g, column, first_row, rows, run):
            return
        last = run.last
        for row in range(run.first, last):
            run = &self.runs[self.n_runs]
            run.g = g
            run.first = row
            run.last = row + 1 if g.direct else last
            start(run, column, first_row)
            self.n_runs += 1
            if not g.direct:
                break

    cdef void _draw_star(
        self, const Source* s, int column, int first_row, bint with_derivatives
    ) noexcept nogil:
        cdef int i
        cdef Sweep sweep
        for i in range(s.runs, s.runs_end):
            sweep = begin(&self.runs[i], column, first_row)
            if with_derivatives:
                add_star_planes(&sweep, self.runs[i].last, self.planes + s.plane, self.stride)
            else:
                add_value(&sweep, self.runs[i].last, self.planes + s.plane, self.stride)

    cdef void _draw_galaxy(
        self, const Source* s, int column, int first_row, bint with_derivatives
    ) noexcept nogil:
        """Gaussians of a group two by two, as far as they go together."""
        cdef int i = s.runs, value, last
        cdef const Run* run
        cdef const Run* other
        cdef Sweep one, two
        cdef vd* planes = self.planes + s.plane
        while i < s.runs_end:
            run = &self.runs[i]
            one = begin(run, column, first_row)
            value = s.dev_plane if run.g.de_vaucouleurs else 0
            i += 1
            if i < s.runs_end and self.runs[i].g.group == run.g.group:
                other = &self.runs[i]
                i += 1
                two = begin(other, column, first_row)
                if with_derivatives:
                    add_galaxy_planes(&one, min(other.first, run.last), planes, value, self.stride)
                    add_galaxy_planes(&two, min(run.first, other.last), planes, value, self.stride)
                    if one.row == two.row:
                        last = min(run.last, other.last)
                        add_two_galaxy_planes(&one, &two, last, planes, value, self.stride)
                    add_galaxy_planes(&two, other.last, planes, value, self.stride)
                else:
                    add_value(&one, min(other.first, run.last), planes + value, self.stride)
                    add_value(&two, min(run.first, other.last), planes + value, self.stride)
                    if one.row == two.row:
                        add_two_values(&one, &two, min(run.last, other.last), planes + value, self.stride)
                    add_value(&two, other.last, planes + value, self.stride)
            if with_derivatives:
                add_galaxy_planes(&one, run.last, planes, value, self.stride)
            else:
                add_value(&one, run.last, planes + value, self.stride)

    cdef void _add_moments(
        self, Source* s, const vd* slope, int column, int first_row, int rows, int order
    ) noexcept nogil:
        """Sum slope times the derivatives of a source's profile over a tile."""
        cdef int c
        cdef Sweep sweep
        cdef ColumnMoments m
        cdef const Run* run
        if order > 1 and s.n_numbers == GALAXY_PLANES:
            self._add_galaxy_moments(s, slope, column, first_row, rows)
            return
        set_levels(self.levels, slope, rows, first_row - s.y, 3)
        for c in range(s.runs, s.runs_end):
            run = &self.runs[c]
            sweep = begin(run, column, first_row)
            memset(&m, 0, sizeof(m))
            sum_three(&sweep, run.last, self.levels, &m)
            if s.n_numbers == GALAXY_PLANES:
                add_galaxy_slopes(run.g, &m, vd_lanes() + (column - run.g.x), s.y - run.g.y, &s.moments)
            else:
                add_star_moments(run.g, &m, vd_lanes() + (column - run.g.x), s.y - run.g.y, &s.moments)

    cdef void _add_galaxy_moments(
        self, Source* s, const vd* slope, int column, int first_row, int rows
    ) noexcept nogil:
        """Gaussians of a group two by two, as far as they go together."""
        cdef int i = s.runs
        cdef const Run* run
        cdef const Run* other
        cdef Sweep one, two
        cdef ColumnMoments m, n
        cdef vd dx
        set_levels(self.levels, slope, rows, first_row - s.y, 5)
        while i < s.runs_end:
            run = &self.runs[i]
            one = begin(run, column, first_row)
            memset(&m, 0, sizeof(m))
            i += 1
            if i < s.runs_end and self.runs[i].g.group == run.g.group:
                other = &self.runs[i]
                i += 1
                two = begin(other, column, first_row)
                memset(&n, 0, sizeof(n))
                sum_five(&one, min(other.first, run.last), self.levels, &m)
                sum_five(&two, min(run.first, other.last), self.levels, &n)
                if one.row == two.row:
                    sum_two_fives(&one, &two, min(run.last, other.last), self.levels, &m, &n)
                sum_five(&two, other.last, self.levels, &n)
                dx = vd_lanes() + (column - other.g.x)
                add_galaxy_moments(other.g, &n, dx, s.y - other.g.y, &s.moments)
            sum_five(&one, run.last, self.levels, &m)
            dx = vd_lanes() + (column - run.g.x)
            add_galaxy_moments(run.g, &m, dx, s.y - run.g.y, &s.moments)
