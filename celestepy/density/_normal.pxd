# cython: language_level=3
"""The components of _normal.h, as Cython sees them."""

from celestepy._simd cimport vd

cdef extern from "_normal.h" nogil:
    int NM_SOME
    int NM_ALL
    int NM_PROJECTED

    ctypedef struct Row:
        int d
        int n_dims
        int shows
        int* column
        int* place
        double* x
        double* noise
        double* projection

    ctypedef struct Group:
        const vd* log_weight
        const vd* mean
        const vd* covariance

    ctypedef struct Sums:
        vd* count
        vd* slope
        vd* curvature

    ctypedef struct Work:
        vd* t
        vd* inverse_pivots
        vd* z
        vd* q
        vd* product

    vd nm_log_density(const Row* row, const Group* group, const Work* work) noexcept
    void nm_add(const Row* row, const Group* group, const Work* work, vd weight, Sums* sums) noexcept
