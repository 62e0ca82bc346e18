"""Images of any scale, turn and shift meet on one grid."""

import numpy as np
import pytest
from detection.gaussian_skies import Sky, astrometry, observe, point_error

from celestepy.detection.grid import DetectionGrid
from celestepy.detection.matched_filter import filter_image
from celestepy.images import AffineAstrometry, ImageError

SOURCE = Sky.of((4.3, -7.1, 5.0))
PLACES = [
    {},
    {"angle": 33.0},
    {"angle": 90.0, "scale": 0.3},
    {"flip": False, "scale": 0.55},
    {"shift": (14.3, -8.6)},
]


def on_grid(images):
    filtered = [filter_image(image) for image in images]
    return DetectionGrid.covering(filtered, filtered[0]), filtered


@pytest.mark.parametrize("place", PLACES)
def test_a_source_lands_on_the_same_grid_pixel(place):
    """The peak of the resampled map to a pixel, its S/N to 3%: linear interpolation takes a little off."""
    first = observe(SOURCE)
    second = observe(SOURCE, wcs=astrometry(**place))
    grid, filtered = on_grid([first, second])
    x, y = (values[0] for values in grid.sky_to_pixel(*SOURCE.radec))
    for one in filtered:
        box, numerator, denominator = grid.resample(one)
        signal_to_noise = np.zeros(grid.shape)
        signal_to_noise[box] = numerator / np.sqrt(np.maximum(denominator, 1e-9))
        peak = np.unravel_index(np.argmax(signal_to_noise), grid.shape)
        assert np.hypot(peak[0] - y, peak[1] - x) < 0.75
        assert signal_to_noise.max() == pytest.approx(5.0 / point_error(), rel=0.03)


@pytest.mark.parametrize("place", PLACES)
def test_noise_keeps_its_width(rng, place):
    """Between pixels linear interpolation averages noise: by up to 10% here, if it were not made good."""
    images = [observe(Sky.of()), observe(Sky.of(), rng, wcs=astrometry(shift=(0.5, 0.5)), noise_scale=1.0)]
    images[1] = images[1].replace(wcs=astrometry(**place))
    grid, filtered = on_grid(images)
    _, numerator, denominator = grid.resample(filtered[1])
    inside = denominator > 0.9 * filtered[1].full
    width = np.std(numerator[inside] / np.sqrt(denominator[inside]))
    assert width == pytest.approx(1.0, abs=0.06)  # 1700 independent PSFs: 1.7%


def test_covers_all_images():
    images = [observe(SOURCE, wcs=astrometry(**place)) for place in PLACES]
    grid, filtered = on_grid(images)
    for one in filtered:
        ny, nx = one.image.shape
        corners = one.image.pixel_to_sky(np.array([0, nx - 1, 0, nx - 1]), np.array([0, 0, ny - 1, ny - 1]))
        x, y = grid.sky_to_pixel(*corners)
        assert min(x.min(), y.min()) >= 0
        assert x.max() <= grid.shape[1] - 1
        assert y.max() <= grid.shape[0] - 1


def test_takes_the_pixels_of_the_finest_image():
    grid, _ = on_grid([observe(SOURCE), observe(SOURCE, wcs=astrometry(scale=0.35))])
    assert grid.scale == pytest.approx(0.35, rel=1e-4)


def test_is_no_finer_than_the_psf_needs():
    """An oversampled image does not blow up the grid: four pixels per FWHM are enough."""
    fine = observe(SOURCE, wcs=astrometry(scale=0.1), fwhm=12.0)
    assert on_grid([fine])[0].scale == pytest.approx(0.3, rel=0.02)  # the width of the PSF cut at 5 sigma


@pytest.mark.parametrize(("ra", "dec"), [(153.0, 5.0), (20.0, -30.0), (330.0, -2.0)])
def test_images_far_apart_are_refused(ra, dec):
    """Three degrees off the grid would not fit into memory; on the other side of the sky there is no grid."""
    away = AffineAstrometry(ra, dec, 100.0, 100.0, astrometry().jacobian)
    with pytest.raises(ImageError, match="expected one field"):
        on_grid([observe(SOURCE), observe(SOURCE).replace(wcs=away)])
