import numpy as np
import pytest

from celestepy.images import Image, ShiftedAstrometry, aligned, isolated_stars
from celestepy.images.alignment import monomials
from celestepy.images.wcs import tangent_offsets

SHAPE = (600, 600)
TRUE_SHIFTS = {
    "g": np.array([[0.10, -0.06], [0.03, 0.0], [0.0, 0.02], [0, 0], [0, 0], [0, 0]]),
    "r": np.array([[-0.10, 0.02], [-0.03, 0.0], [0.0, -0.04], [0, 0], [0, 0], [0, 0]]),
    "i": np.array([[0.0, 0.04], [0.0, 0.0], [0.0, 0.02], [0, 0], [0, 0], [0, 0]]),
}


@pytest.fixture(scope="module")
def skewed():
    """Three bands of one star field, each astrometry wrong in its own way; they average to zero."""
    from celestepy.images import AffineAstrometry, GaussianPSF, PoissonNoise

    rng = np.random.default_rng(9)
    grid = np.arange(40, 580, 60)
    x, y = (axis.ravel() + rng.uniform(-4, 4, axis.size) for axis in np.meshgrid(grid, grid))
    psf, base = GaussianPSF(fwhm=3.3), AffineAstrometry(150.0, 2.0, 300.0, 300.0, [[-2.5, 0.1], [0.1, 2.5]])
    images = []
    for band, shift in TRUE_SHIFTS.items():
        dx, dy = ShiftedAstrometry(base, shift, SHAPE).shift(x, y)
        expected = np.ones(SHAPE)
        for x0, y0, flux in zip(x + dx, y + dy, rng.uniform(100, 400, x.size), strict=True):
            expected += flux * psf.at(0, 0).render(SHAPE, x0, y0)
        pixels = rng.poisson(1000 * expected) / 1000
        images.append(Image(pixels, band=band, psf=psf, wcs=base, noise=PoissonNoise(1000.0), sky=1.0))
    return images, x, y


def test_shifted_astrometry_inverts_and_differentiates():
    from celestepy.images import AffineAstrometry

    base = AffineAstrometry(150.0, 2.0, 20.0, 10.0, [[-2.5, 0], [0, 2.5]])
    coefficients = np.array([[0.3, -0.2], [0.1, 0.0], [0.05, 0.1], [-0.1, 0.05], [0.02, 0.0], [0.0, 0.1]])
    shifted = ShiftedAstrometry(base, coefficients, (1500, 2000))
    x, y = np.random.default_rng(1).uniform(0, 1400, (2, 30))
    ra, dec = shifted.pixel_to_sky(x, y)
    np.testing.assert_allclose(shifted.sky_to_pixel(ra, dec), [x, y], atol=1e-9)
    there = shifted.local_affine(ra, dec)
    np.testing.assert_allclose(there[:2], [x, y], atol=1e-9)
    # the shift changes by 1e-4 per pixel, and so does the Jacobian of 2.5 pixels per arcsec
    np.testing.assert_allclose(there[2], base.local_affine(ra, dec)[2], atol=2e-3)
    assert np.abs(there[2] - base.local_affine(ra, dec)[2]).max() > 1e-5
    dx, dy = shifted.shift(999.5, 749.5)
    np.testing.assert_allclose((dx, dy), (0.3, -0.2))


def test_beyond_the_image_the_shift_is_held():
    np.testing.assert_array_equal(monomials(5000, -300, (1500, 2000)), monomials(1999, 0, (1500, 2000)))


def test_images_are_brought_together(skewed):
    images, x, y = skewed
    better = aligned(images, [isolated_stars(image) for image in images])
    sky = images[0].pixel_to_sky(x, y)
    for image, shift in zip(better, TRUE_SHIFTS.values(), strict=True):
        true = ShiftedAstrometry(image.astrometry.astrometry, shift, SHAPE).sky_to_pixel(*sky)
        # 80 stars at 0.01 to 0.03 pixel and six terms: 0.005 pixel, and the prior pulls by a few per cent
        assert np.abs(np.array(image.sky_to_pixel(*sky)) - true).mean() < 0.01


def test_the_mean_of_the_images_stays(skewed):
    images, x, y = skewed
    better = aligned(images, [isolated_stars(image) for image in images])
    before = np.mean([image.pixel_to_sky(x, y) for image in images], axis=0)
    after = np.mean([image.pixel_to_sky(x, y) for image in better], axis=0)
    assert np.abs(tangent_offsets(*after, *before)).max() < 0.02 * 0.4  # 0.02 pixels in arcsec


def test_without_common_stars_nothing_changes(skewed):
    images, *_ = skewed
    stars = [isolated_stars(image) for image in images]
    assert aligned(images, [stars[0], [], []]) == images
    assert aligned(images[:1], stars[:1]) == images[:1]
    assert aligned(images, [stars[0][:2], stars[1][:0], stars[2][:2]]) == images
