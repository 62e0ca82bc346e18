# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True
"""The chain rule from scene vectors to free vectors (see posterior.py)."""

from libc.stdlib cimport free, malloc


cdef void pull_block(
    const double[:, ::1] h, Py_ssize_t row, Py_ssize_t column, const double[:, ::1] left,
    const double[:, ::1] right, double[:, ::1] out, Py_ssize_t out_row, Py_ssize_t out_column, double* product
) noexcept nogil:
    """out = left' h right for the blocks that begin at the given rows and columns, and its mirror image."""
    cdef Py_ssize_t i, j, a, b, n_left = left.shape[1], n_right = right.shape[1]
    cdef double factor
    for i in range(left.shape[0]):
        for b in range(n_right):
            product[b] = 0.
        for j in range(right.shape[0]):
            factor = h[row + i, column + j]
            for b in range(n_right):
                product[b] += factor * right[j, b]
        for a in range(n_left):
            factor = left[i, a]
            if factor != 0.:        # most are
                for b in range(n_right):
                    out[out_row + a, out_column + b] += factor * product[b]
    if row != column:
        for a in range(n_left):
            for b in range(n_right):
                out[out_column + b, out_row + a] = out[out_row + a, out_column + b]


cdef void pull_sky(
    const double[::1] g, const double[:, ::1] h, Py_ssize_t row, const double[:, ::1] left, Py_ssize_t
    n_images, double[::1] gradient, double[:, ::1] out, Py_ssize_t out_row
) noexcept nogil:
    """Gradient of one source, and its mixed derivatives with the sky levels, which come last."""
    cdef Py_ssize_t i, a, n, sky = h.shape[0] - n_images, out_sky = out.shape[0] - n_images
    for i in range(left.shape[0]):
        for a in range(left.shape[1]):
            if left[i, a] != 0.:
                gradient[out_row + a] += left[i, a] * g[row + i]
                for n in range(n_images):
                    out[out_row + a, out_sky + n] += left[i, a] * h[row + i, sky + n]
    for a in range(left.shape[1]):
        for n in range(n_images):
            out[out_sky + n, out_row + a] = out[out_row + a, out_sky + n]


def pull_back(
    list jacobians, const double[::1] scene_gradient, const double[:, ::1] scene_hessian, double[::1]
    gradient, double[:, ::1] hessian
):
    """Fill the zeroed ``J' g`` and ``J' H J``: J has the blocks of the sources, then ones for the sky."""
    cdef const double[:, ::1] left, right
    cdef Py_ssize_t k, m, row = 0, column, out_row = 0, out_column, n_images = scene_gradient.shape[0]
    cdef Py_ssize_t sky, out_sky
    cdef double* product = <double*>malloc(gradient.shape[0] * sizeof(double))
    if product == NULL:
        raise MemoryError("no memory for a row of the Hessian")
    for k in range(len(jacobians)):
        n_images -= jacobians[k].shape[0]
    for k in range(len(jacobians)):
        left = jacobians[k]
        column, out_column = row, out_row
        pull_sky(scene_gradient, scene_hessian, row, left, n_images, gradient, hessian, out_row)
        for m in range(k, len(jacobians)):
            right = jacobians[m]
            pull_block(scene_hessian, row, column, left, right, hessian, out_row, out_column, product)
            column += right.shape[0]
            out_column += right.shape[1]
        row += left.shape[0]
        out_row += left.shape[1]
    free(product)
    sky, out_sky = row, out_row
    for k in range(n_images):
        gradient[out_sky + k] = scene_gradient[sky + k]
        for m in range(n_images):
            hessian[out_sky + k, out_sky + m] = scene_hessian[sky + k, sky + m]
