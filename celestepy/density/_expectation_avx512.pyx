# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True
"""The kernel of mixtures under noise for AVX-512 (F, DQ, VL)."""

include "_expectation.pxi"
