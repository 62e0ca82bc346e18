"""A quick way to deblend a field, and whether two fields came out the same."""

import numpy as np

from celestepy.deblend import AdaProx, StopRule

QUICK = AdaProx(solve_fluxes=True, stop=StopRule(max_iterations=15))


def same(first, second):
    """Whether two deblended fields are one, to the last bit; the time of day aside."""
    for name in first.table.colnames:
        a, b = first.table[name], second.table[name]
        assert a.unit == b.unit
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=name)
    for a, b in zip([*first.residuals, *sum(first.models, ())], [*second.residuals, *sum(second.models, ())],
                    strict=True):
        assert (a.x0, a.y0, a.pixels.dtype) == (b.x0, b.y0, b.pixels.dtype)
        np.testing.assert_array_equal(a.pixels, b.pixels)
        assert a.header.tostring() == b.header.tostring()
    return [own.images for source in first.models for own in source] == [
        own.images for source in second.models for own in source
    ]
