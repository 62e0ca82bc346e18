"""A source as a record, and its plain rendering."""

import numpy as np
import pytest

from celestepy.images import GaussianPSF
from celestepy.model.parameters import Bands
from celestepy.model.rendering import add_image, filter_power, source_mixture
from celestepy.model.source import Source
from celestepy.model.transforms import to_scene

SHAPE = dict(half_light_radius=1.2, axis_ratio=0.5, position_angle=30.0)


def test_catalogue_values_come_back():
    values = dict(flux_g=3.0, flux_r=5.0, dev_fraction=0.3) | SHAPE
    source = Source.from_catalog("galaxy", "gr", ra=1.0, dec=2.0, **values)
    assert {name: source.catalog_values[name] for name in values} == pytest.approx(values)
    assert source.catalog_values["color_gr"] == pytest.approx(2.5 * np.log10(5 / 3))
    assert (source.ra, source.dec, source.bands) == (1.0, 2.0, Bands("gr"))
    np.testing.assert_array_equal(source.scene, to_scene("galaxy", source.theta, "gr")[0])


def test_it_is_immutable():
    theta = np.zeros(3)
    source = Source("star", theta, "r")
    theta[2] = 1.0
    assert source.scene[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        source.theta[0] = 1.0


@pytest.mark.parametrize("theta", [np.zeros(4), [0.0, np.nan, 0.0]])
def test_bad_vectors(theta):
    with pytest.raises(ValueError, match="theta of a star in 1 bands must be 3 finite numbers"):
        Source("star", theta, "r")


@pytest.mark.parametrize("dev_fraction", [0.0, 1.0])
def test_half_of_the_light_is_in_the_half_light_ellipse(dev_fraction):
    """With a PSF narrow beside the galaxy: a = 30 pixels along the position angle, b = 15 across it."""
    source = Source.from_catalog("galaxy", "r", flux_r=1.0, dev_fraction=dev_fraction, **SHAPE)
    scale = 30 / SHAPE["half_light_radius"]
    pixels = np.zeros((1001, 1001))
    jacobian = np.diag([-scale, scale])  # East to the left
    add_image(pixels, 1.0, 500.0, 500.0, *source_mixture(source, GaussianPSF(fwhm=2.4).at(0, 0), jacobian))
    y, x = np.mgrid[:1001, :1001] - 500.0
    angle = np.radians(SHAPE["position_angle"])
    along, across = y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)
    inside = (along / 30) ** 2 + (across / 15) ** 2 < 1
    # The PSF and the pixels on the border of the ellipse; the de Vaucouleurs mixture ends beyond the image.
    assert pixels[inside].sum() == pytest.approx(0.5, abs=0.006)


def test_filter_power_is_the_sum_of_squares():
    source = Source.from_catalog("galaxy", "r", flux_r=1.0, dev_fraction=0.4, **SHAPE)
    mixture = source_mixture(source, GaussianPSF(fwhm=3.0).at(0, 0), np.diag([-2.5, 2.5]))
    pixels = np.zeros((301, 301))
    add_image(pixels, 1.0, 150.3, 149.8, *mixture)
    # The sum over pixels stands for the integral at this sampling; six sigma lose 1e-8.
    assert filter_power(*mixture) == pytest.approx(np.sum(pixels**2), rel=1e-6)
