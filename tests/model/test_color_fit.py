"""Colour mixtures are recovered from noisy colours, whatever the errors, the weights and the missing bands."""

import numpy as np
import pytest
from scipy import stats

from celestepy.model.color_fit import ColorFit, color_errors, color_rows, log_likelihood
from celestepy.model.color_mixture import ColorMixture

TRUTH = ColorMixture([0.6, 0.4], [[0.0, 0.5], [1.5, 0.2]], [0.04 * np.eye(2), [[0.09, 0.05], [0.05, 0.06]]],
                     [[0.2, 0.0], [0.0, -0.1]], pivot=1.0)


def draw(n, seed):
    """Noisy colours of the truth, with errors between a tenth and the double of its widths."""
    rng = np.random.default_rng(seed)
    log_flux = rng.normal(1.5, 1.0, n)
    errors = color_errors(0.3 * rng.uniform(0.1, 1.0, (n, 3)))
    noise = np.einsum("nab,nb->na", np.linalg.cholesky(errors), rng.standard_normal((n, 2)))
    return TRUTH.sample(log_flux, rng) + noise, errors, log_flux


def test_colour_errors_share_a_band():
    errors = color_errors([[0.1, 0.2, 0.3]])[0]
    # Of ln(f2 / f1) and ln(f3 / f2): the middle band enters with opposite signs.
    np.testing.assert_allclose(errors, [[0.05, -0.04], [-0.04, 0.13]])


def test_log_likelihood_is_a_convolution():
    colors, errors, log_flux = draw(5, 1)
    for k in range(5):
        expected = sum(weight * stats.multivariate_normal(mean, covariance + errors[k]).pdf(colors[k])
                       for weight, mean, covariance in zip(TRUTH.weights, TRUTH.centres(log_flux[k:k + 1])[0],
                                                           TRUTH.covariances, strict=True))
        found = log_likelihood(TRUTH, colors[k:k + 1], errors[k:k + 1], log_flux[k:k + 1])
        assert found[0] == pytest.approx(np.log(expected), rel=1e-10)


def test_extreme_deconvolution_recovers_the_true_colours():
    settings = ColorFit(2, slope=1.0, strength=0.1, n_starts=2, n_iterations=100)
    found = settings.fit(*draw(2500, 2), pivot=1.0, rng=np.random.default_rng(3))
    order = np.argsort(found.means[:, 0])
    # 2500 objects: means to 0.01, widths and slopes to a few per cent; errors left in would double variances.
    np.testing.assert_allclose(found.weights[order], TRUTH.weights, atol=0.03)
    np.testing.assert_allclose(found.means[order], TRUTH.means, atol=0.03)
    np.testing.assert_allclose(found.covariances[order], TRUTH.covariances, atol=0.012)
    np.testing.assert_allclose(found.slopes[order], TRUTH.slopes, atol=0.03)


def test_missing_band_carries_no_information():
    colors, errors, log_flux = draw(2000, 4)
    lost = np.arange(2000) % 2 == 0
    errors[lost, 0, 0] += 1e4
    colors[lost, 0] = 50.0
    settings = ColorFit(2, slope=1.0, strength=0.1, n_starts=2, n_iterations=100)
    found = settings.fit(colors, errors, log_flux, pivot=1.0, rng=np.random.default_rng(5))
    assert found.means.max() < 2
    np.testing.assert_allclose(np.sort(found.means[:, 0]), [0.0, 1.5], atol=0.06)


def test_every_step_raises_the_likelihood():
    data = draw(500, 6)
    scores = []
    for n in (1, 3, 10, 30):
        settings = ColorFit(3, strength=1e-9, n_starts=1, n_iterations=n)
        mixture = settings.fit(*data, rng=np.random.default_rng(7))
        scores.append(log_likelihood(mixture, *data).sum())
    # The prior counts of the weights, one each, are part of what is maximised.
    assert np.all(np.diff(scores) > -1e-3)


def test_a_step_is_the_regression_written_out():
    """One step on exact colours, against sums over the rows."""
    colors, _, log_flux = draw(300, 14)
    settings = ColorFit(2, slope=0.5, width=0.1, strength=2.0)
    found, _ = settings.step(TRUTH, color_rows(colors, log_flux - TRUTH.pivot))
    shares, x = TRUTH.responsibilities(colors, log_flux), log_flux - TRUTH.pivot
    for j, share in enumerate(shares.T):
        x_mean, c_mean = np.average(x, weights=share), np.average(colors, axis=0, weights=share)
        precision = np.diag(TRUTH.covariances[j]) / settings.slope**2
        slope = share @ ((x - x_mean)[:, None] * (colors - c_mean)) / (share @ (x - x_mean)**2 + precision)
        rest = colors - c_mean - (x - x_mean)[:, None] * slope
        scatter = (share[:, None] * rest).T @ rest + 2 * 0.1**2 * np.eye(2)
        # The step adds 1e-6 sources to each component.
        np.testing.assert_allclose(found.slopes[j], slope, rtol=1e-6)
        np.testing.assert_allclose(found.means[j], c_mean - slope * x_mean, rtol=1e-6)
        np.testing.assert_allclose(found.covariances[j], scatter / (share.sum() + 2), rtol=1e-5, atol=1e-9)
        assert found.weights[j] == pytest.approx((share.sum() + 1) / 302, rel=1e-9)


def test_weights_count_rows():
    """A row of weight two is two rows, one of weight zero is none."""
    colors, errors, log_flux = draw(400, 15)
    weights = np.arange(400) % 3
    repeated = np.repeat(np.arange(400), weights)
    settings = ColorFit(2, slope=0.5)
    weighed, _ = settings.step(TRUTH, color_rows(colors, log_flux - 1, errors, weights.astype(float)))
    counted, _ = settings.step(TRUTH, color_rows(colors[repeated], log_flux[repeated] - 1, errors[repeated]))
    for name in ("weights", "means", "covariances", "slopes"):
        np.testing.assert_allclose(getattr(weighed, name), getattr(counted, name), rtol=1e-10, atol=1e-12)


def test_outlier_component():
    colors, errors, log_flux = draw(500, 8)
    settings = ColorFit(2, n_starts=1, n_iterations=30, outlier_weight=0.1, outlier_scale=3.0)
    start = settings.start(color_rows(colors, log_flux, errors), 0.0, np.random.default_rng(9))
    found = settings.fit(colors, errors, log_flux, rng=np.random.default_rng(9))
    for mixture in (start, found):  # it is the last, and held fixed
        assert mixture.weights[2] == pytest.approx(0.1, rel=1e-12)
        np.testing.assert_array_equal(mixture.means[2], start.means[2])
        np.testing.assert_array_equal(mixture.covariances[2], start.covariances[2])
    # Three times the width of one Gaussian for the true colours: those drawn here, known to 10%.
    true = TRUTH.sample(log_flux, np.random.default_rng(8))
    np.testing.assert_allclose(np.diag(found.covariances[2]), 9 * true.var(axis=0), rtol=0.2)


def test_same_seed_same_fit():
    data, settings = draw(300, 13), ColorFit(2, n_starts=2, n_iterations=20)
    first, second = (settings.fit(*data, rng=np.random.default_rng(1)) for _ in range(2))
    assert first == second
