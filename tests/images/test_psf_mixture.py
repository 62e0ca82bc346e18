import numpy as np
import pytest

from celestepy.images import ImageError, PSFMixture, fit_mixture
from celestepy.images.psf_mixture import MINIMUM_VARIANCE, _StampFit

BROAD = PSFMixture(
    [0.6, 0.3, 0.1],
    [[0.05, 0.0], [-0.1, 0.1], [0.2, -0.2]],
    [[1.5, 0.1, 1.3], [3.0, 0.2, 3.3], [12.0, 1.0, 14.0]],
)


def sampled(mixture, side, center, oversampling=1):
    """A mixture on a stamp with `oversampling` samples per pixel."""
    x = (np.arange(side) - center[0]) / oversampling
    y = (np.arange(side) - center[1]) / oversampling
    return mixture.density(x, y[:, None]) / oversampling**2


def test_density_is_a_sum_of_normal_densities():
    from scipy.stats import multivariate_normal

    points = np.random.default_rng(1).normal(0, 2, (50, 2))
    expected = sum(
        a * multivariate_normal(m, [[xx, xy], [xy, yy]]).pdf(points)
        for a, m, (xx, xy, yy) in zip(BROAD.amplitudes, BROAD.means, BROAD.covariances, strict=True)
    )
    np.testing.assert_allclose(BROAD.density(*points.T), expected, rtol=1e-12)


def test_slopes_are_derivatives():
    x, y = np.random.default_rng(2).normal(0, 2, (2, 40))
    _, slope_x, slope_y = BROAD.density_and_slopes(x, y)
    h = 1e-5  # central differences: error h^2 times a third derivative, 1e-11
    np.testing.assert_allclose(
        slope_x, (BROAD.density(x + h, y) - BROAD.density(x - h, y)) / (2 * h), atol=1e-9
    )
    np.testing.assert_allclose(
        slope_y, (BROAD.density(x, y + h) - BROAD.density(x, y - h)) / (2 * h), atol=1e-9
    )


def test_rendering_puts_the_centroid_at_x_and_y():
    image = BROAD.render((61, 71), 40.3, 20.6)
    y, x = np.mgrid[:61, :71]
    assert image.sum() == pytest.approx(BROAD.flux, rel=1e-6)  # 1e-7 of the light is outside
    centroid = np.array([(image * x).sum(), (image * y).sum()]) / image.sum()
    np.testing.assert_allclose(centroid, [40.3, 20.6] + BROAD.centroid, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.9, 2.0, 5.0])
def test_fwhm_of_a_gaussian(sigma):
    mixture = PSFMixture([0.8], [[0.3, -0.2]], [[sigma**2, 0.0, sigma**2]])
    assert mixture.fwhm == pytest.approx(2.3548200450309493 * sigma, rel=1e-9)


def test_the_array_has_the_kernels_layout():
    assert BROAD.array.shape == (3, 6)
    assert BROAD.array.flags.c_contiguous
    np.testing.assert_array_equal(BROAD.array[1], [0.3, -0.1, 0.1, 3.0, 0.2, 3.3])
    with pytest.raises(ValueError, match="read-only"):
        BROAD.array[0, 0] = 1


def test_scaling_changes_only_the_flux():
    scaled = BROAD.scaled(0.97)
    assert scaled.flux == pytest.approx(0.97)
    np.testing.assert_array_equal(scaled.array[:, 1:], BROAD.array[:, 1:])


@pytest.mark.parametrize(
    "arguments",
    [
        ([1.0], [[0, 0]], [[1.0, 1.0, 1.0]]),
        ([1.0], [[0, 0]], [[-1.0, 0.0, -1.0]]),
        ([1.0], [[0, np.nan]], [[1.0, 0.0, 1.0]]),
        ([-1.0], [[0, 0]], [[1.0, 0.0, 1.0]]),
        ([1.0, 1.0], [[0, 0]], [[1.0, 0.0, 1.0]]),
        ([1.0], [0, 0], [[1.0, 0.0, 1.0]]),
    ],
)
def test_impossible_mixtures_are_refused(arguments):
    with pytest.raises(ImageError, match="PSF mixture"):
        PSFMixture(*arguments)


def test_the_jacobian_is_the_derivative_of_the_model():
    fit = _StampFit(sampled(BROAD, 25, (12, 12)), (12, 12), 1)
    parameters = next(fit.starts(3))
    rows, _ = fit.jacobian(parameters)
    for i, row in enumerate(rows):
        step = np.zeros(parameters.size)
        step[i] = 1e-5
        step = step.reshape(parameters.shape)
        numerical = (fit.jacobian(parameters + step)[1] - fit.jacobian(parameters - step)[1]) / 2e-5
        np.testing.assert_allclose(row, numerical, atol=1e-9)


@pytest.mark.parametrize("oversampling", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("side", [41, 42])
def test_a_mixture_is_recovered_from_its_stamp(oversampling, side):
    side *= oversampling
    center = ((side - 1) / 2 + 0.3, (side - 1) / 2 - 0.2)
    fit = fit_mixture(sampled(BROAD, side, center, oversampling), center, oversampling=oversampling)
    assert len(fit) == 3
    # the fit stops when the squared residual no longer falls; what is left is far below any real stamp's 1%
    assert fit.residual < 1e-3
    x, y = np.random.default_rng(3).uniform(-4, 4, (2, 100))
    np.testing.assert_allclose(fit.density(x, y), BROAD.density(x, y), atol=2e-3 * BROAD.density(0, 0))
    assert fit.flux == pytest.approx(sampled(BROAD, side, center, oversampling).sum(), rel=1e-12)


def test_a_fourth_component_is_used_where_it_helps():
    x, y = np.mgrid[-20:21, -20:21]
    spider = BROAD.density(x, y) + 0.3 * np.exp(-((x - 3) ** 2 + (y - 1) ** 2) / 2) / (2 * np.pi)
    spider += 0.15 * np.exp(-((x + 4) ** 2 + (y - 3) ** 2) / 3) / (3 * np.pi)
    assert fit_mixture(spider, (20, 20), n_components=3).residual > 0.03
    best = fit_mixture(spider, (20, 20))
    assert len(best) == 4
    assert best.residual < fit_mixture(spider, (20, 20), n_components=3).residual


def test_components_are_positive_and_not_too_narrow():
    stamp = np.zeros((15, 15))
    stamp[7, 7] = 1.0  # a cosmic ray is no PSF, but must not break anything
    fit = fit_mixture(stamp, (7, 7))
    assert (fit.amplitudes > 0).all()
    assert (fit.covariances[:, [0, 2]] >= MINIMUM_VARIANCE).all()
    assert np.isfinite(fit.array).all()


def test_noise_does_not_break_the_fit():
    rng = np.random.default_rng(8)
    stamp = sampled(BROAD, 31, (15, 15)) + rng.normal(0, 1e-3, (31, 31))
    fit = fit_mixture(stamp, (15, 15))
    assert (fit.amplitudes > 0).all()
    # the noise is 1.4% of the peak: the core must come out within a few per cent
    assert fit.density(0, 0) / fit.flux == pytest.approx(BROAD.density(0, 0), rel=0.05)


@pytest.mark.parametrize("stamp", [np.zeros((9, 9)), np.full((9, 9), np.nan), -np.ones((9, 9))])
def test_a_stamp_without_light_is_refused(stamp):
    with pytest.raises(ImageError, match="PSF stamp"):
        fit_mixture(stamp, (4, 4))
