import numpy as np
import pytest

from celestepy.images import SDSSAstrometry

PIXEL = 0.00011  # degrees


@pytest.fixture(
    params=[(95.0, 0.0), (286.86, 0.0095), (95.0, 32.5)], ids=["equator", "stripe 82", "inclined"]
)
def astrometry(request):
    """Terms of the size of real ones, on scans of several inclinations."""
    node, inclination = request.param
    return SDSSAstrometry(
        node,
        inclination,
        mu=(node + 49.7, PIXEL, -4e-8),
        nu=(-1.05, -5e-9, PIXEL),
        row_terms=(-0.047, 1.6e-4, -1.0e-7, 1.1e-11),
        column_terms=(-0.26, 1.0e-3, -8.8e-7, 2.2e-10),
    )


def test_pixels_to_sky_and_back(astrometry):
    x, y = np.random.default_rng(7).uniform(0, 2047, (2, 100))
    np.testing.assert_allclose(astrometry.sky_to_pixel(*astrometry.pixel_to_sky(x, y)), [x, y], atol=1e-6)


def test_on_the_equator_mu_and_nu_are_ra_and_dec():
    astrometry = SDSSAstrometry(95.0, 0.0, (120.0, PIXEL, 0.0), (0.5, 0.0, PIXEL), np.zeros(4), np.zeros(4))
    ra, dec = astrometry.pixel_to_sky(100.0, 200.0)
    # SDSS rows and columns have centres at half integers; x runs along declination, y along right ascension
    np.testing.assert_allclose((ra, dec), (120.0 + 200.5 * PIXEL, 0.5 + 100.5 * PIXEL), rtol=1e-12)


def test_the_great_circle_is_tilted_about_its_node():
    astrometry = SDSSAstrometry(95.0, 30.0, (95.0, 1.0, 0.0), (0.0, 0.0, 1.0), np.zeros(4), np.zeros(4))
    ra, dec = astrometry.pixel_to_sky(-0.5, np.array([-0.5, 89.5]))
    np.testing.assert_allclose(ra, [95.0, 185.0], rtol=1e-12)
    np.testing.assert_allclose(dec, [0.0, 30.0], atol=1e-12)


def test_the_jacobian_is_the_derivative(astrometry):
    ra, dec = astrometry.pixel_to_sky(np.array([10.0, 1500.0]), np.array([1400.0, 20.0]))
    x, y, jacobian = astrometry.local_affine(ra, dec)
    step = 1.0 / 3600  # one arcsec
    north = np.transpose(np.array(astrometry.sky_to_pixel(ra, dec + step)) - [x, y])
    # second-order terms over one arcsec: 1e-6 pixel and less
    np.testing.assert_allclose(jacobian[:, :, 1], north, atol=2e-5)
    np.testing.assert_allclose(np.abs(np.linalg.det(jacobian)), 1 / (PIXEL * 3600) ** 2, rtol=0.01)


def test_right_ascension_wraps():
    astrometry = SDSSAstrometry(
        350.0, 0.01, (359.999, PIXEL, 0.0), (0.0, 0.0, PIXEL), np.zeros(4), np.zeros(4)
    )
    ra, dec = astrometry.pixel_to_sky(5.0, np.array([0.0, 500.0]))
    assert ra[0] > 359
    assert ra[1] < 1
    np.testing.assert_allclose(astrometry.sky_to_pixel(ra, dec), [[5, 5], [0, 500]], atol=1e-6)
