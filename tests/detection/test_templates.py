"""How bands are weighted, and what looking several times costs."""

import numpy as np
import pytest

from celestepy.detection.templates import black_body_templates, checked_templates, look_elsewhere_threshold
from celestepy.images import ImageError


def test_black_bodies_have_stellar_colours():
    """A 6000 K black body has g - r of 0.43 and a 3500 K one 1.3: as the sun's 0.45 and an M dwarf's 1.35."""
    cool, sun, hot = black_body_templates("ugriz")
    g_minus_r = [-2.5 * np.log10(template[1] / template[2]) for template in (cool, sun, hot)]
    assert g_minus_r == pytest.approx([1.33, 0.43, -0.25], abs=0.05)


def test_unknown_bands_weigh_the_same():
    np.testing.assert_array_equal(black_body_templates(["r", "narrow"]), [[1.0, 1.0]])


def test_one_band_needs_one_template():
    assert black_body_templates("r").shape == (1, 1)


def test_own_templates_are_kept():
    np.testing.assert_array_equal(checked_templates([0, 2], "gr"), [[0.0, 2.0]])


@pytest.mark.parametrize("bad", [[1.0], [[1, 2, 3]], [1, -1], [0, 0], [1, np.nan]])
def test_bad_templates(bad):
    with pytest.raises(ImageError, match="templates"):
        checked_templates(bad, "gr")


def test_identical_templates_cost_nothing():
    assert look_elsewhere_threshold(5.0, np.ones((3, 2)), np.ones(2)) == pytest.approx(5.0, abs=1e-6)


def test_independent_templates_cost_their_number():
    """Two templates without a common band: twice the noise peaks, so that each may have half."""
    raised = look_elsewhere_threshold(5.0, np.eye(2), np.ones(2))
    rate = lambda t: t * np.exp(-0.5 * t**2)  # noqa: E731
    assert 2 * rate(raised) == pytest.approx(rate(5.0), rel=1e-6)
