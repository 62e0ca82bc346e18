# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True
"""The kernel of mixtures under noise for AVX2 and FMA."""

include "_expectation.pxi"
