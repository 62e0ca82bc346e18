# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True
"""The pixel kernel for any processor."""

include "_tiles.pxi"
include "_pixel_rate.pxi"
include "_mean_field.pxi"
