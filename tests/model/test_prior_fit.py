"""Fits of prior laws recover the laws that data were drawn from, in spite of their errors."""

import numpy as np
import pytest
from scipy import stats

from celestepy.model.color_mixture import ColorMixture
from celestepy.model.prior_fit import (
    ColorFit,
    color_errors,
    fit_axis_ratio,
    fit_dev_fraction,
    fit_radius,
    log_likelihood,
)
from celestepy.model.prior_laws import AxisRatioLaw, LogisticBeta, RadiusLaw

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


def test_outlier_component():
    data = draw(500, 8)
    found = ColorFit(2, n_starts=1, n_iterations=30, outlier_weight=0.1, outlier_scale=3.0).fit(
        *data, rng=np.random.default_rng(9))
    bulk = ColorMixture(found.weights[:2], found.means[:2], found.covariances[:2])
    assert found.weights[2] == pytest.approx(0.1)
    np.testing.assert_allclose(found.means[2], bulk.mean)
    np.testing.assert_allclose(found.covariances[2], 9 * bulk.covariance)


def test_radius_law_is_deconvolved():
    rng, truth = np.random.default_rng(10), RadiusLaw(-0.7, 0.4, 0.3, 1.0)
    log_flux = rng.normal(1.5, 1.0, 3000)
    errors = rng.uniform(0.1, 0.5, 3000)
    law = fit_radius(truth.sample(log_flux, rng) + errors * rng.standard_normal(3000), log_flux, 1.0, errors)
    # 3000 objects: means to 0.01, the width to 0.01; errors left in would make it 0.5.
    assert (law.mean, law.slope, law.sd) == pytest.approx((-0.7, 0.3, 0.4), abs=0.03)


@pytest.mark.parametrize("lowest", [0.0, 0.3])
def test_axis_ratio_law_is_recovered(lowest):
    truth = AxisRatioLaw(2.0, 1.5, 0.2)
    ratio = np.exp(-np.hypot(*truth.sample(4000, np.random.default_rng(11)).T))
    law = fit_axis_ratio(ratio, 0.2, lowest)
    # The exponents of a Beta law are known to 5% from 4000 draws, to 10% with a part of them censored.
    assert (law.a, law.b) == pytest.approx((2.0, 1.5), rel=0.15)


def test_dev_fraction_law_is_recovered_from_clipped_fractions():
    draws = stats.beta(0.4, 0.7).rvs(4000, random_state=np.random.default_rng(12))
    clipped = np.where(draws < 0.08, 0.0, np.where(draws > 0.95, 1.0, draws))
    law = fit_dev_fraction(clipped, margin=0.1)
    assert isinstance(law, LogisticBeta)
    assert (law.a, law.b) == pytest.approx((0.4, 0.7), rel=0.1)


def test_same_seed_same_fit():
    data, settings = draw(300, 13), ColorFit(2, n_starts=2, n_iterations=20)
    first, second = (settings.fit(*data, rng=np.random.default_rng(1)) for _ in range(2))
    assert first == second
