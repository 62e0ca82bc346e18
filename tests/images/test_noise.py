import astropy.units as u
import numpy as np
import pytest

from celestepy.images import GaussianNoise, ImageError, PoissonNoise


def test_poisson_variance_is_that_of_drawn_counts():
    rng = np.random.default_rng(3)
    photons, read, sky = 400.0, 5.0, 0.25
    electrons = rng.poisson(photons * sky, 200_000) + rng.normal(0, read, 200_000)
    stated = PoissonNoise(photons, read**2).fit_to((1, 1)).variance_of(np.full((1, 1), sky))
    # the variance of 200000 draws is known to sqrt(2 / 200000) = 0.3%; four of those
    np.testing.assert_allclose((electrons / photons).var(), stated[0, 0], rtol=0.013)


def test_photons_may_differ_by_column():
    photons = np.array([100.0, 200.0, 400.0])
    noise = PoissonNoise(photons, 10.0).fit_to((2, 3))
    sky = np.ones((2, 3))
    np.testing.assert_allclose(
        noise.variance_of(sky), np.tile(1 / photons + 10 / photons**2, (2, 1)), rtol=1e-14
    )
    box = (slice(0, 1), slice(1, 3))
    np.testing.assert_allclose(noise.variance_of(sky[box], box), noise.variance_of(sky)[box], rtol=1e-14)


def test_read_variance_may_differ_by_column():
    noise = PoissonNoise(100.0, [4.0, 9.0, 16.0]).fit_to((2, 3))
    np.testing.assert_allclose(noise.variance_of(np.ones((2, 3)))[1], 0.01 + np.array([4, 9, 16]) / 1e4)
    np.testing.assert_allclose(noise.shift(slice(1, 3)), [0.09, 0.16])
    with pytest.raises(ImageError, match="variance: 3 values, expected 5, one for each image column"):
        PoissonNoise(100.0, [4.0, 9.0, 16.0]).fit_to((2, 5))


def test_rescaling_multiplies_the_variance():
    noise, sky = PoissonNoise(200.0, 30.0).fit_to((2, 3)), np.full((2, 3), 0.7)
    factor = np.array([0.8, 1.0, 1.3])
    expected = factor * noise.variance_of(sky)
    np.testing.assert_allclose(noise.rescaled(factor).variance_of(sky), expected, rtol=1e-14)


@pytest.mark.parametrize("photons", [0.0, -3.0, np.nan, np.inf, [1.0, 0.0], [[1.0]]])
def test_bad_photon_numbers_are_refused(photons):
    with pytest.raises(ImageError, match="photons_per_nanomaggy"):
        PoissonNoise(photons)


@pytest.mark.parametrize("variance", [-1.0, np.nan, np.inf, [1.0, -2.0], [[1.0]]])
def test_bad_read_variances_are_refused(variance):
    with pytest.raises(ImageError, match="variance"):
        PoissonNoise(1.0, variance)


@pytest.mark.parametrize("variance", [0.0, -1.0, np.inf, np.full((2, 2), np.nan), np.ma.masked_all((2, 2))])
def test_a_variance_map_without_a_usable_entry_is_refused(variance):
    with pytest.raises(ImageError, match="no entry is finite and > 0"):
        GaussianNoise(variance)


def test_the_variance_map_is_copied():
    variance = np.ones((2, 2))
    noise = GaussianNoise(variance)
    variance[:] = 5
    np.testing.assert_array_equal(noise.fit_to((2, 2)).variance_of(None), np.ones((2, 2)))


def test_a_variance_with_its_unit_is_converted():
    noise = GaussianNoise(np.full((2, 2), 3.0) * (1e-3 * u.nmgy) ** 2)
    np.testing.assert_allclose(noise.variance, 3e-6)
    with pytest.raises(ImageError, match="variance: unit nmgy"):
        GaussianNoise(np.ones((2, 2)) * u.nmgy)
