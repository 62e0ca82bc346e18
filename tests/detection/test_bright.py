"""Bright sources are cleared away without taking their neighbours along."""

import numpy as np
import pytest
from detection.gaussian_skies import FWHM

from celestepy.detection.bright import clear_bright, log_parabola, peak_offset, spikes

SIGMA = FWHM / 2.3548
WIDTH = np.sqrt(2) * SIGMA  # of a point source in an S/N map
ROWS, COLUMNS = np.mgrid[:161, :161]


def star(height, x=80.0, y=80.0, halo=0.02):
    """A point source with a shallow halo, in an S/N map."""
    distance2 = (COLUMNS - x) ** 2 + (ROWS - y) ** 2
    return height * (np.exp(-0.5 * distance2 / WIDTH**2) + halo / (1 + distance2 / 15.0**2) ** 2)


def cleared(signal_to_noise, *peaks):
    x, y = np.array(peaks).T
    return clear_bright(signal_to_noise.astype(np.float32), x, y, SIGMA, 30.0, 5.0)


def test_log_parabola_is_exact_for_a_gaussian():
    gauss = [np.exp(-0.5 * (x - 0.31) ** 2 / 1.7**2) for x in (-1.0, 0.0, 1.0)]
    assert log_parabola(*gauss) == pytest.approx(0.31, abs=1e-12)


@pytest.mark.parametrize("values", [(-1.0, 1.0, 0.5), (1.0, 1.0, 1.0), (2.0, 1.0, 2.0), (1.0, np.nan, 1.0)])
def test_log_parabola_without_a_peak_stays(values):
    assert log_parabola(*values) == 0.0


def test_peak_offset_at_the_rim():
    assert np.isfinite(peak_offset(star(50.0, 0.0, 0.0), np.array([0]), np.array([0]))).all()


def test_a_round_source_leaves_nothing():
    """The median over rings of 1.5 pixels leaves the slope within a ring: a few percent of the height."""
    left = cleared(star(1000.0), (80, 80))
    assert left.significance.max() < 5.0
    assert left.cleared[80, 80] == 0.0


def test_a_neighbour_in_the_wings_is_left():
    """S/N 40 where the star still has 19, to 15%: the slope within the ring, and its share in the median."""
    left = cleared(star(1000.0) + star(40.0, 93.0, 80.0, halo=0.0), (80, 80))
    assert left.cleared[80, 93] == pytest.approx(40.0, rel=0.15)
    assert left.significance[80, 93] > 5.0


def test_structure_in_a_ring_raises_the_noise(rng):
    """Ripples of 30 around a star are its own; without a star they would be sources."""
    angle = np.arctan2(ROWS - 80.0, COLUMNS - 80.0)
    distance = np.hypot(ROWS - 80.0, COLUMNS - 80.0)
    ripples = 30 * np.cos(4 * angle) * np.exp(-0.5 * ((distance - 14) / 4) ** 2)
    left = cleared(star(2000.0) + ripples, (80, 80))
    assert left.cleared.max() > 20.0
    assert left.significance.max() < 5.0


def test_a_bump_on_a_spike_is_no_source():
    """A ridge through the star, 12 high, with a bump of 8; the same bump beside the ridge is a source."""
    ridge = 12.0 * np.exp(-0.5 * ((ROWS - 80.0) / WIDTH) ** 2)
    bumps = star(8.0, 120.0, 80.0, halo=0.0) + star(8.0, 80.0, 118.0, halo=0.0)
    left = cleared(star(2000.0) + ridge + bumps, (80, 80))
    found = spikes(left, np.array([120, 80]), np.array([80, 118]), SIGMA)
    np.testing.assert_array_equal(found, [True, False])


def test_a_fainter_bright_source_is_cleared_too():
    left = cleared(star(1000.0) + star(200.0, 110.0, 80.0), (80, 80), (110, 80))
    np.testing.assert_array_equal(left.x, [80, 110])
    assert left.significance[:, 100:].max() < 5.0


def test_a_bump_in_the_wings_is_not_cleared_as_a_source():
    """What a brighter source leaves below the level is judged with the faint peaks."""
    left = cleared(star(1000.0) + star(10.0, 95.0, 80.0, halo=0.0), (80, 80), (95, 80))
    np.testing.assert_array_equal(left.x, [80])


def test_original_is_kept():
    before = star(1000.0).astype(np.float32)
    left = cleared(before.copy(), (80, 80))
    np.testing.assert_array_equal(left.original, before)
    np.testing.assert_allclose(left.excess + left.cleared, before, atol=1e-3)
