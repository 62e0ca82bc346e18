# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""One row of data, made ready for all components: what was observed, and its noise as a triangle.

A column that is missing is left out: of the values, of the noise and, as a row, of the projection.
"""

from celestepy.density._normal cimport NM_ALL, NM_PROJECTED, NM_SOME, Row

cdef struct Rows:               # n rows of n_columns; each array by the distance of its rows, 0 if all share one
    Py_ssize_t n_columns
    const double* values
    const unsigned char* observed       # NULL: everything is
    const double* variances             # (n_columns,) in each row, or NULL
    const double* covariances           # (n_columns, n_columns), or NULL
    const double* projections           # (n_columns, n_dims), or NULL for the identity
    Py_ssize_t values_step, observed_step, variances_step, covariances_step, projections_step

cdef inline Py_ssize_t row_of(Py_ssize_t a) noexcept nogil:
    """Where row a of a triangle begins."""
    return a * (a + 1) // 2


cdef inline void observed_columns(const Rows* rows, Py_ssize_t i, Row* row) noexcept nogil:
    cdef int a
    cdef const double* values = rows.values + i * rows.values_step
    row.d = 0
    for a in range(rows.n_columns):
        if rows.observed == NULL or rows.observed[i * rows.observed_step + a]:
            row.column[row.d] = a
            row.x[row.d] = values[a]
            row.d += 1


cdef inline void set_noise(const Rows* rows, Py_ssize_t i, Row* row) noexcept nogil:
    cdef int a, b
    cdef const double* variances = rows.variances + i * rows.variances_step
    cdef const double* covariances = rows.covariances + i * rows.covariances_step
    cdef double* out
    for a in range(row.d):
        out = row.noise + row_of(a)
        if rows.covariances != NULL:
            for b in range(a + 1):
                out[b] = covariances[row.column[a] * rows.n_columns + row.column[b]]
        else:
            for b in range(a):
                out[b] = 0.
            out[a] = variances[row.column[a]] if rows.variances != NULL else 0.


cdef inline void set_row(const Rows* rows, Py_ssize_t i, Row* row) noexcept nogil:
    """Row i of the data."""
    cdef int a, b
    cdef const double* projection
    observed_columns(rows, i, row)
    set_noise(rows, i, row)
    if rows.projections != NULL:
        row.shows = NM_PROJECTED
    else:
        row.shows = NM_ALL if row.d == rows.n_columns else NM_SOME
    for a in range(row.d):
        if row.shows == NM_PROJECTED:
            projection = rows.projections + i * rows.projections_step + row.column[a] * row.n_dims
            for b in range(row.n_dims):
                row.projection[a * row.n_dims + b] = projection[b]
        else:
            for b in range(a + 1):
                row.place[row_of(a) + b] = row_of(row.column[a]) + row.column[b]
