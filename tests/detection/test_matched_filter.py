"""The maps of one image: unbiased, of unit width, blind to what is masked."""

import numpy as np
import pytest
from detection.gaussian_skies import FWHM, NOISE, Sky, astrometry, draw, observe, point_error
from scipy.ndimage import gaussian_filter

from celestepy.detection.matched_filter import filter_image
from celestepy.images import GaussianNoise, GaussianPSF, PoissonNoise

ONE = Sky.of((0.0, 0.0, 3.0))
EMPTY = Sky.of()


def test_recovers_flux_and_error_of_a_point_source():
    """On the source the filter is exact: the kernel is the PSF itself, cut where 1e-5 of the S/N is left."""
    maps = filter_image(observe(ONE))
    numerator, denominator = maps.numerator[100, 100], maps.denominator[100, 100]
    assert numerator / denominator == pytest.approx(3.0, rel=2e-4)
    assert denominator**-0.5 == pytest.approx(point_error(), rel=2e-4)


def test_is_the_sum_it_claims_to_be(rng):
    """Against the double loop, at a pixel near the corner, with masked pixels and a variance map."""
    variance = NOISE**2 * rng.uniform(0.5, 2.0, (40, 50))
    image = observe(ONE, rng, shape=(40, 50), mask=rng.random((40, 50)) < 0.1)
    image = image.replace(noise=GaussianNoise(variance))
    maps = filter_image(image)
    half = maps.kernel.shape[0] // 2
    expected = 0.0
    for y in range(40):
        for x in range(50):
            if abs(y - 3) <= half and abs(x - 5) <= half and not image.mask[y, x]:
                expected += maps.kernel[y - 3 + half, x - 5 + half] ** 2 / variance[y, x]
    assert maps.denominator[3, 5] == pytest.approx(expected / maps.noise_scale**2, rel=1e-4)  # float32 FFT


def test_flux_is_unbiased_under_a_mask():
    """Half of the core is gone: the error grows, the flux stays."""
    mask = np.zeros((201, 201), bool)
    mask[:, 100:103] = True
    maps = filter_image(observe(ONE, mask=mask))
    assert maps.numerator[100, 100] / maps.denominator[100, 100] == pytest.approx(3.0, rel=1e-3)
    assert maps.denominator[100, 100] ** -0.5 > 1.2 * point_error()


def test_nan_pixels_equal_masked_ones():
    pixels = draw(ONE, astrometry(), (201, 201))
    broken = pixels.copy()
    broken[90:110, 101] = np.nan
    mask = np.isnan(broken)
    image = observe(ONE)
    with_nan = filter_image(image.replace(pixels=broken))
    with_mask = filter_image(image.replace(pixels=pixels, mask=mask))
    np.testing.assert_array_equal(with_nan.numerator, with_mask.numerator)
    np.testing.assert_array_equal(with_nan.denominator, with_mask.denominator)


def test_white_noise_gives_a_map_of_unit_width(rng):
    """300^2 pixels hold 3900 independent PSFs: their width is known to 1.2%. The scale is 1 or more."""
    image = observe(EMPTY, rng, shape=(300, 300))
    maps = filter_image(image)
    signal_to_noise = maps.numerator / np.sqrt(maps.denominator)
    assert np.std(signal_to_noise) == pytest.approx(1.0, abs=0.04)
    assert 1.0 <= maps.noise_scale < 1.04


def test_correlated_noise_is_measured(rng):
    """Noise smoothed over a pixel, of the stated variance per pixel: the filter sees more of it."""
    image = observe(EMPTY, shape=(300, 300))
    noise = gaussian_filter(rng.normal(size=(300, 300)), 0.7)
    maps = filter_image(image.replace(pixels=NOISE * noise / noise.std()))
    assert maps.noise_scale > 1.4
    signal_to_noise = maps.numerator / np.sqrt(maps.denominator)
    assert np.std(signal_to_noise) == pytest.approx(1.0, abs=0.06)  # 1.5%, four sigma


def test_stated_noise_scale_is_a_lower_limit(rng):
    assert filter_image(observe(EMPTY, rng, noise_scale=1.5)).noise_scale == 1.5


@pytest.mark.parametrize("level", [-0.2, 0.5])
def test_wrong_sky_is_taken_out(rng, level):
    """A sky off by 10 sigma per pixel would be an S/N of 60 everywhere."""
    maps = filter_image(observe(EMPTY, rng, shape=(300, 300), level=level))
    assert abs(np.median(maps.numerator / np.sqrt(maps.denominator))) < 0.1


def test_low_counts_do_not_bias_the_sky(rng):
    """Ten photons per pixel: the mode of the pixels lies 0.15 sigma below their mean, S/N 1 in the map."""
    photons, sky = 100.0, 0.1
    pixels = rng.poisson(photons * sky, (300, 300)) / photons
    image = observe(EMPTY, shape=(300, 300)).replace(pixels=pixels, noise=PoissonNoise(photons), sky=sky)
    maps = filter_image(image)
    assert abs(np.mean(maps.numerator / np.sqrt(maps.denominator))) < 0.1


def test_effective_width_of_a_gaussian_psf():
    assert filter_image(observe(ONE)).sigma == pytest.approx(FWHM / 2.3548, rel=0.01)  # cut at 5 sigma


def test_sample_interpolates_the_maps():
    """A cubic spline through a map that varies over 2 pixels errs by 1e-3 of its peak between them."""
    image = observe(Sky.of((0.13, -0.05, 3.0)))
    maps = filter_image(image)
    x, y = image.sky_to_pixel(*Sky.of((0.13, -0.05, 3.0)).radec)
    numerator, denominator = maps.sample(x, y, maps.spline())
    assert numerator[0] / denominator[0] == pytest.approx(3.0, rel=3e-3)
    outside = maps.sample(np.array([-3.0]), np.array([100.0]), maps.spline())
    assert outside[0][0] == outside[1][0] == 0.0


def residual_of_a_star(psf_error, flux=100.0, sky=1.0, photons=400.0):
    """Filtered residual of a star that the model describes exactly, its pixels, and maps of the sky."""
    source = draw(Sky.of((0.0, 0.0, flux)), astrometry(), (201, 201))
    image = observe(EMPTY).replace(
        pixels=sky + source, noise=PoissonNoise(photons), sky=sky, psf_error=psf_error
    )
    plain = filter_image(image.replace(pixels=np.full((201, 201), sky)))
    return filter_image(image, model=sky + source), source, plain


def test_residual_noise_holds_the_photons_of_the_sources():
    maps, source, plain = residual_of_a_star(0.0)
    kernel = GaussianPSF(fwhm=FWHM).stamp(100, 100)
    half = kernel.shape[0] // 2
    box = np.s_[100 - half : 101 + half, 100 - half : 101 + half]
    expected = np.sum(kernel**2 / ((1.0 + source[box]) / 400.0))
    assert maps.denominator[100, 100] == pytest.approx(expected, rel=1e-3)
    assert maps.denominator[20, 20] == pytest.approx(plain.denominator[20, 20], rel=1e-4)
    assert abs(maps.numerator).max() < 1e-2 * np.sqrt(maps.full)


def test_residual_noise_holds_the_error_of_the_psf():
    """At the star: 3% of its flux beside the photon noise; far away nothing."""
    without, _, _ = residual_of_a_star(0.0)
    maps, _, _ = residual_of_a_star(0.03)
    expected = 1 / without.denominator[100, 100] + (0.03 * 100.0) ** 2
    assert 1 / maps.denominator[100, 100] == pytest.approx(expected, rel=1e-3)
    assert maps.denominator[20, 20] == pytest.approx(without.denominator[20, 20], rel=1e-4)
