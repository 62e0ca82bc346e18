# cython: language_level=3
"""The vectors of _simd.h, as Cython sees them: doubles, with VD_WIDTH of them in each."""

cdef extern from "_simd.h" nogil:
    ctypedef double vd
    int VD_WIDTH
    vd vd_splat(double x) noexcept
    vd vd_lanes() noexcept
    vd vd_max(vd a, vd b) noexcept
    vd vd_min(vd a, vd b) noexcept
    vd vd_exp(vd x) noexcept
    vd vd_log(vd x) noexcept
    vd vd_mantissa(vd x, vd* exponent) noexcept
    vd vd_log_excess(vd x) noexcept
    vd vd_half_deviance(vd n, vd m) noexcept
    vd vd_zero_if_less(vd a, vd b, vd x) noexcept
    double vd_sum(vd x) noexcept
    void *vd_allocate(size_t size) noexcept
    void vd_free(void *memory) noexcept
    bint vd_processor_runs(int width) noexcept
