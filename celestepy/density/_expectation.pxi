"""Passes over rows under a mixture of normal components. Included by every variant.

Components lie in the lanes of vectors, VD_WIDTH in a group, so that a row is factored under a whole group at
once. Of each row first the log densities under all groups are found, then the derivatives under those groups
that hold a component with a responsibility above NEGLIGIBLE: it is always few of many, and the factors are made
again for these rather than kept for all.
"""

from libc.math cimport INFINITY, log
from libc.string cimport memset

from celestepy._simd cimport (
    VD_WIDTH,
    vd,
    vd_allocate,
    vd_exp,
    vd_free,
    vd_max,
    vd_processor_runs,
    vd_splat,
    vd_sum,
    vd_zero_if_less,
)
from celestepy.density._normal cimport Group, Row, Sums, Work, nm_add, nm_log_density
from celestepy.density._rows cimport Rows, row_of, set_row

cdef extern from *:
    """
    /* Responsibilities below this are below the rounding of the others' sum. */
    #define NEGLIGIBLE 1e-16
    #define HALF_LOG_TWO_PI 0.918938533204672741780
    """
    double NEGLIGIBLE
    double HALF_LOG_TWO_PI


def processor_runs(int width):
    """Whether this machine runs the variant with vectors of ``width`` doubles."""
    return vd_processor_runs(width)


cdef Rows rows_of(
    const double[:, :] values, const unsigned char[:, :] observed, const double[:, :] variances,
    const double[:, :, :] covariances, const double[:, :, :] projections,
):
    """The arrays as the kernel reads them; their last axes must be contiguous, their first need not be."""
    cdef Rows rows
    memset(&rows, 0, sizeof(Rows))
    rows.n_columns = values.shape[1]
    if values.shape[0] == 0:
        return rows
    rows.values, rows.values_step = &values[0, 0], values.strides[0] // <Py_ssize_t>sizeof(double)
    if observed is not None:
        rows.observed, rows.observed_step = &observed[0, 0], observed.strides[0]
    if variances is not None:
        rows.variances, rows.variances_step = &variances[0, 0], variances.strides[0] // <Py_ssize_t>sizeof(double)
    if covariances is not None:
        rows.covariances = &covariances[0, 0, 0]
        rows.covariances_step = covariances.strides[0] // <Py_ssize_t>sizeof(double)
    if projections is not None:
        rows.projections = &projections[0, 0, 0]
        rows.projections_step = projections.strides[0] // <Py_ssize_t>sizeof(double)
    return rows


cdef class Scratch:
    """Memory of one pass: a row, its densities, and the sums."""

    cdef Row row
    cdef Work work
    cdef Sums sums
    cdef vd* log_densities      # of a row, by group; then responsibilities
    cdef void* blocks[3]

    def __cinit__(self, Py_ssize_t n_groups, Py_ssize_t n_columns, Py_ssize_t n_dims):
        cdef Py_ssize_t n = max(n_columns, n_dims), triangle = row_of(n), matrix = n_columns * n_dims
        cdef Py_ssize_t per_group = 1 + n_dims + row_of(n_dims)
        self.blocks[0] = vd_allocate((n + triangle) * sizeof(int))
        self.blocks[1] = vd_allocate((n + triangle + matrix) * sizeof(double))
        self.blocks[2] = vd_allocate((4 * (n + 1) + 2 * triangle + n_groups * (1 + per_group)) * sizeof(vd))
        if self.blocks[0] == NULL or self.blocks[1] == NULL or self.blocks[2] == NULL:
            raise MemoryError
        self.row.n_dims = n_dims
        self.row.column = <int*>self.blocks[0]
        self.row.place = self.row.column + n
        self.row.x = <double*>self.blocks[1]
        self.row.noise = self.row.x + n
        self.row.projection = self.row.noise + triangle
        self.work.t = <vd*>self.blocks[2]               # a triangle and a row
        self.work.inverse_pivots = self.work.t + triangle + n + 1
        self.work.z = self.work.inverse_pivots + n + 1
        self.work.product = self.work.z + n + 1
        self.work.q = self.work.product + n + 1
        self.log_densities = self.work.q + triangle
        self.sums.count = self.log_densities + n_groups
        self.sums.slope = self.sums.count + n_groups
        self.sums.curvature = self.sums.slope + n_groups * n_dims
        memset(self.sums.count, 0, n_groups * per_group * sizeof(vd))

    def __dealloc__(self):
        cdef int i
        for i in range(3):
            vd_free(self.blocks[i])


cdef class Components:
    """A mixture in vectors: log weights, means and covariances of VD_WIDTH components in each group."""

    cdef Py_ssize_t n, n_dims, n_groups
    cdef double* log_weights
    cdef double* means
    cdef double* covariances

    def __cinit__(
        self, const double[::1] log_weights, const double[:, ::1] means, const double[:, :, ::1] covariances
    ):
        cdef Py_ssize_t j, a, b, g, lane, source, triangle
        self.n, self.n_dims = means.shape[0], means.shape[1]
        self.n_groups = (self.n + VD_WIDTH - 1) // VD_WIDTH
        triangle = row_of(self.n_dims)
        self.log_weights = <double*>vd_allocate(self.n_groups * (1 + self.n_dims + triangle) * sizeof(vd))
        if self.log_weights == NULL:
            raise MemoryError
        self.means = self.log_weights + self.n_groups * VD_WIDTH
        self.covariances = self.means + self.n_groups * self.n_dims * VD_WIDTH
        for j in range(self.n_groups * VD_WIDTH):
            # what is left of the last group repeats a component, with no weight
            g, lane, source = j // VD_WIDTH, j % VD_WIDTH, min(j, self.n - 1)
            self.log_weights[j] = log_weights[j] if j < self.n else -INFINITY
            for a in range(self.n_dims):
                self.means[(g * self.n_dims + a) * VD_WIDTH + lane] = means[source, a]
                for b in range(a + 1):
                    self.covariances[(g * triangle + row_of(a) + b) * VD_WIDTH + lane] = covariances[source, a, b]

    def __dealloc__(self):
        vd_free(self.log_weights)

    cdef Group group(self, Py_ssize_t g) noexcept nogil:
        cdef Group group
        group.log_weight = <const vd*>self.log_weights + g
        group.mean = <const vd*>self.means + g * self.n_dims
        group.covariance = <const vd*>self.covariances + g * row_of(self.n_dims)
        return group

    cdef double weigh(self, Scratch s) noexcept nogil:
        """The log density of the row in `s`; its responsibilities are left there, in vectors."""
        cdef Py_ssize_t g
        cdef Group group
        cdef double largest = -INFINITY, total, shift
        cdef vd top = vd_splat(-INFINITY), sum = vd_splat(0.)
        for g in range(self.n_groups):
            group = self.group(g)
            s.log_densities[g] = nm_log_density(&s.row, &group, &s.work)
            top = vd_max(top, s.log_densities[g])
        for g in range(VD_WIDTH):
            largest = max(largest, (<double*>&top)[g])
        shift = largest if largest > -INFINITY else 0.
        for g in range(self.n_groups):
            s.log_densities[g] = vd_exp(s.log_densities[g] - vd_splat(shift))
            sum = sum + s.log_densities[g]
        total = vd_sum(sum)
        if total == 0.:
            return -INFINITY
        for g in range(self.n_groups):
            s.log_densities[g] = s.log_densities[g] * vd_splat(1. / total)
        return largest + log(total) - s.row.d * HALF_LOG_TWO_PI

    def log_densities(self, values, observed, variances, covariances, projections, double[::1] out):
        """The log density of each row into ``out``."""
        cdef Rows rows = rows_of(values, observed, variances, covariances, projections)
        cdef Scratch s = Scratch(self.n_groups, rows.n_columns, self.n_dims)
        cdef Py_ssize_t i
        with nogil:
            for i in range(out.shape[0]):
                set_row(&rows, i, &s.row)
                out[i] = self.weigh(s)

    def responsibilities(self, values, observed, variances, covariances, projections, double[:, ::1] out):
        """The responsibilities of all components for each row into ``out``."""
        cdef Rows rows = rows_of(values, observed, variances, covariances, projections)
        cdef Scratch s = Scratch(self.n_groups, rows.n_columns, self.n_dims)
        cdef double* lanes = <double*>s.log_densities
        cdef Py_ssize_t i, j
        with nogil:
            for i in range(out.shape[0]):
                set_row(&rows, i, &s.row)
                self.weigh(s)
                for j in range(self.n):
                    out[i, j] = lanes[j]

    def add_derivatives(
        self, values, observed, variances, covariances, projections, const double[::1] row_weights,
        double[::1] out, double[::1] counts, double[:, ::1] slopes, double[:, :, ::1] curvatures,
    ):
        """Log densities into ``out``; sums over rows of responsibilities and of derivatives into the others.

        Rows without weight, with nothing observed or with a density of zero add nothing.
        """
        cdef Rows rows = rows_of(values, observed, variances, covariances, projections)
        cdef Scratch s = Scratch(self.n_groups, rows.n_columns, self.n_dims)
        cdef bint weighted = row_weights is not None
        cdef double weight = 1.
        cdef Py_ssize_t i
        with nogil:
            for i in range(out.shape[0]):
                set_row(&rows, i, &s.row)
                out[i] = self.weigh(s)
                if weighted:
                    weight = row_weights[i]
                if s.row.d > 0 and weight > 0. and out[i] > -INFINITY:
                    self.add_row(s, weight)
            self.unpack(s, counts, slopes, curvatures)

    cdef void add_row(self, Scratch s, double weight) noexcept nogil:
        """Add the derivatives of the row in `s` under the groups that matter to it."""
        cdef Py_ssize_t g
        cdef Group group
        cdef Sums sums
        cdef vd responsibility
        for g in range(self.n_groups):
            responsibility = s.log_densities[g]
            responsibility = vd_zero_if_less(responsibility, vd_splat(NEGLIGIBLE), responsibility)
            if vd_sum(responsibility) == 0.:
                continue
            group = self.group(g)
            sums.count = s.sums.count + g
            sums.slope = s.sums.slope + g * self.n_dims
            sums.curvature = s.sums.curvature + g * row_of(self.n_dims)
            nm_add(&s.row, &group, &s.work, responsibility * vd_splat(weight), &sums)

    cdef void unpack(
        self, Scratch s, double[::1] counts, double[:, ::1] slopes, double[:, :, ::1] curvatures
    ) noexcept nogil:
        """The sums out of the lanes."""
        cdef Py_ssize_t j, a, b, g, lane, triangle = row_of(self.n_dims)
        cdef double* slope = <double*>s.sums.slope
        cdef double* curvature = <double*>s.sums.curvature
        for j in range(self.n):
            g, lane = j // VD_WIDTH, j % VD_WIDTH
            counts[j] = (<double*>s.sums.count)[j]
            for a in range(self.n_dims):
                slopes[j, a] = slope[(g * self.n_dims + a) * VD_WIDTH + lane]
                for b in range(a + 1):
                    curvatures[j, a, b] = curvature[(g * triangle + row_of(a) + b) * VD_WIDTH + lane]
                    curvatures[j, b, a] = curvatures[j, a, b]
