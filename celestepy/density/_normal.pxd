# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Normal components, one in each lane, seen through a row's projection R and noise S.

With T = R V R' + S and the residual y = x - R m, the log density of the row is

    log N(x | R m, T) = -1/2 [d log(2 pi) + log det T + y' T^-1 y],

its derivative by m is R' z with z = T^-1 y, and that by V is 1/2 R' (z z' - T^-1) R. These two are also all
that expectation maximisation needs: the expected value of v given x is m + V R' z, its covariance
V - V R' T^-1 R V (Bovy, Hogg & Roweis 2011, eq. 8).
"""

from celestepy._simd cimport vd, vd_splat
from celestepy.density._cholesky cimport (
    factor,
    invert_unit,
    row_of,
    solve_transposed,
    subtract_inverse,
)
from celestepy.density._rows cimport Row

cdef struct Group:              # VD_WIDTH components
    const vd* log_weight
    const vd* mean              # (n_dims,)
    const vd* covariance        # triangle

cdef struct Sums:               # over rows, of the weights and the derivatives by a group's means and covariances
    vd* count
    vd* slope                   # (n_dims,)
    vd* curvature               # triangle

cdef struct Work:               # memory for one row and one group
    vd* t
    vd* inverse_pivots
    vd* unit
    vd* scaled
    vd* z
    vd* q
    vd* product


cdef inline void project(const Row* row, const Group* g, Work* work) noexcept nogil:
    """T and, as its last row, the residual, through the row's projection."""
    cdef int a, b, q, r, n = row.n_dims
    cdef const double* ra
    cdef const double* rb
    cdef vd total
    cdef vd* rv = work.product
    for a in range(row.d):
        ra = row.projection + a * n
        for q in range(n):
            total = vd_splat(0.)
            for r in range(q + 1):
                total = total + ra[r] * g.covariance[row_of(q) + r]
            for r in range(q + 1, n):
                total = total + ra[r] * g.covariance[row_of(r) + q]
            rv[q] = total
        for b in range(a + 1):
            rb = row.projection + b * n
            total = vd_splat(row.noise[row_of(a) + b])
            for q in range(n):
                total = total + rb[q] * rv[q]
            work.t[row_of(a) + b] = total
        total = vd_splat(row.x[a])
        for q in range(n):
            total = total - ra[q] * g.mean[q]
        work.t[row_of(row.d) + a] = total


cdef inline void select(const Row* row, const Group* g, Work* work) noexcept nogil:
    """The same where the row shows some dimensions themselves."""
    cdef int a, e
    cdef vd* residual = work.t + row_of(row.d)
    for e in range(row_of(row.d)):
        work.t[e] = g.covariance[row.place[e]] + row.noise[e]
    for a in range(row.d):
        residual[a] = row.x[a] - g.mean[row.column[a]]


cdef inline vd log_density(const Row* row, const Group* g, Work* work) noexcept nogil:
    """log(weight) + log N(x | R m, T) + d / 2 log(2 pi); leaves the factors of T in `work`."""
    cdef vd quadratic, log_determinant
    if row.projected:
        project(row, g, work)
    else:
        select(row, g, work)
    quadratic = factor(work.t, row.d, work.inverse_pivots, work.z, &log_determinant)
    return g.log_weight[0] - vd_splat(0.5) * (log_determinant + quadratic)


cdef inline void slope_and_curvature(const Row* row, Work* work) noexcept nogil:
    """From the factors, z and q = z z' - T^-1."""
    cdef int a, b, d = row.d
    cdef vd* last = work.t + row_of(d)
    for a in range(d):
        work.z[a] = last[a]
    solve_transposed(work.t, d, work.z)
    for a in range(d):
        for b in range(a + 1):
            work.q[row_of(a) + b] = work.z[a] * work.z[b]
    invert_unit(work.t, d, work.unit)
    subtract_inverse(work.unit, work.inverse_pivots, d, work.scaled, work.q)


cdef inline void add_selected(const Row* row, const Work* work, vd weight, Sums* sums) noexcept nogil:
    cdef int a, e
    for a in range(row.d):
        sums.slope[row.column[a]] += weight * work.z[a]
    for e in range(row_of(row.d)):
        sums.curvature[row.place[e]] += weight * work.q[e]


cdef inline void add_projected(const Row* row, const Work* work, vd weight, Sums* sums) noexcept nogil:
    """Slope R' z and curvature R' q R."""
    cdef int a, b, i, j, n = row.n_dims
    cdef vd total
    cdef vd* qr = work.product          # one column of q R
    for j in range(n):
        total = vd_splat(0.)
        for a in range(row.d):
            total = total + row.projection[a * n + j] * work.z[a]
        sums.slope[j] += weight * total
        for a in range(row.d):
            total = vd_splat(0.)
            for b in range(a + 1):
                total = total + row.projection[b * n + j] * work.q[row_of(a) + b]
            for b in range(a + 1, row.d):
                total = total + row.projection[b * n + j] * work.q[row_of(b) + a]
            qr[a] = weight * total
        for i in range(j, n):
            total = vd_splat(0.)
            for a in range(row.d):
                total = total + row.projection[a * n + i] * qr[a]
            sums.curvature[row_of(i) + j] += total


cdef inline void add_derivatives(
    const Row* row, const Group* g, Work* work, vd weight, Sums* sums
) noexcept nogil:
    """Add the derivatives of the row's log density under each component, times the weights."""
    log_density(row, g, work)
    slope_and_curvature(row, work)
    sums.count[0] += weight
    if row.projected:
        add_projected(row, work, weight, sums)
    else:
        add_selected(row, work, weight, sums)
