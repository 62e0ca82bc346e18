"""The scatter of an image's sky level about what it is said to be."""

import numpy as np
import pytest
from astropy.wcs import WCS

from celestepy.images import GaussianNoise, GaussianPSF, Image
from celestepy.images.sky_level import measure_sky_error

NOISE = 0.03


def image(pixels, mask=None):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt = ("RA---TAN", "DEC--TAN"), (-1e-4, 1e-4)
    wcs.wcs.crval, wcs.wcs.crpix = (10.0, 0.0), (1, 1)
    return Image(pixels, band="r", psf=GaussianPSF(fwhm=3.0), wcs=wcs, noise=GaussianNoise(NOISE**2), mask=mask)


@pytest.fixture
def blank():
    return np.random.default_rng(3).normal(0, NOISE, (512, 512))


def test_a_perfect_sky_is_at_the_floor(blank):
    # 64 boxes: the scatter less its statistical part is zero within .02 of the noise.
    assert measure_sky_error(image(blank)) < 0.02 * NOISE


def test_scatter_of_the_level_is_measured(blank):
    steps = np.random.default_rng(4).normal(0, 0.1 * NOISE, (8, 8))
    # The median absolute deviation of 64 levels is uncertain by about 15%.
    assert measure_sky_error(image(blank + np.kron(steps, np.ones((64, 64))))) == pytest.approx(0.1 * NOISE, rel=0.35)


def test_a_common_offset_counts(blank):
    assert measure_sky_error(image(blank + 0.2 * NOISE)) == pytest.approx(1.4826 * 0.2 * NOISE, rel=0.1)


def test_sources_and_masks_are_left_out(blank):
    rng = np.random.default_rng(5)
    for y, x in rng.integers(5, 507, (60, 2)):
        blank[y - 2 : y + 3, x - 2 : x + 3] += 30 * NOISE
    mask = np.zeros(blank.shape, bool)
    mask[:, :64] = True
    blank[:, :64] = 1e3
    assert measure_sky_error(image(blank, mask)) < 0.03 * NOISE


def test_digitised_pixels(blank):
    """Pixels in steps of the noise itself, as u-band counts are, do not pass for an uncertain sky."""
    steps = np.round(blank / NOISE) * NOISE
    assert measure_sky_error(image(steps)) < 0.03 * NOISE


def test_a_tiny_image_has_an_answer():
    assert measure_sky_error(image(np.zeros((5, 5)))) > 0
