"""Batch EM: each pass raises the penalised likelihood, and its parts do what they say."""

import numpy as np
import pytest
from reference.noisy_samples import noisy_sample

from celestepy.density.em import maximization
from celestepy.density.expectation import expectation, log_densities
from celestepy.density.noisy_rows import NoisyRows
from celestepy.density.objective import Components, CovariancePrior, Kept

NO_PRIOR = CovariancePrior(0.0, np.ones(3))
NONE_KEPT = Kept()


def passes(rows, components, n, prior=NO_PRIOR, kept=NONE_KEPT):
    """Mixtures of n passes, the start first."""
    mixtures = [components]
    for _ in range(n):
        statistics = expectation(rows, *mixtures[-1].arrays)
        mixtures.append(maximization(mixtures[-1], statistics, prior, kept))
    return mixtures


@pytest.fixture(scope="module")
def sample():
    return noisy_sample(seed=9, n=800, missing=0.1)


@pytest.fixture(scope="module")
def rows(sample):
    return NoisyRows.from_input(*sample.rows)


@pytest.fixture
def start():
    rng = np.random.default_rng(10)
    return Components(np.full(4, 0.25), rng.normal(0, 3, (4, 3)), np.tile(4.0 * np.eye(3), (4, 1, 1)))


@pytest.mark.parametrize("strength", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("kept", [Kept(), Kept(2, True), Kept(2, False)])
def test_every_pass_raises_the_penalised_likelihood(rows, start, strength, kept):
    prior = CovariancePrior(strength, np.array([1.0, 2.0, 0.5]))
    values = [
        log_densities(rows, *mixture.arrays).sum() + prior.log_density(mixture.covariances[kept.n :])
        for mixture in passes(rows, start, 25, prior, kept)
    ]
    # sums of 800 numbers of order ten: rounding of 1e-11
    assert (np.diff(values) > -1e-10).all()
    assert values[-1] > values[0] + 10


@pytest.mark.parametrize("weights", [True, False])
def test_kept_components_stay(rows, start, weights):
    last = passes(rows, start, 5, kept=Kept(2, weights))[-1]
    np.testing.assert_array_equal(last.means[:2], start.means[:2])
    np.testing.assert_array_equal(last.covariances[:2], start.covariances[:2])
    assert (np.abs(last.means[2:] - start.means[2:]) > 1e-3).any()
    assert np.array_equal(last.weights[:2], start.weights[:2]) == weights
    assert last.weights.sum() == pytest.approx(1.0, abs=1e-14)


class TestRegularisation:
    def test_pseudo_rows_are_what_they_are_said_to_be(self, sample):
        """One component without noise: w more rows of unit covariance at the mean."""
        X = sample.noiseless
        scales = np.array([1.0, 2.0, 5.0])
        start = Components(np.ones(1), X.mean(axis=0)[None], np.eye(3)[None])
        statistics = expectation(NoisyRows.from_input(X), *start.arrays)
        fitted = maximization(start, statistics, CovariancePrior(40.0, scales), Kept())
        scatter = len(X) * np.cov(X.T, bias=True) + 40 * np.diag(scales**2)
        np.testing.assert_allclose(fitted.covariances[0], scatter / (len(X) + 40), atol=1e-12)

    def test_none_is_maximum_likelihood(self, sample):
        start = Components(np.ones(1), np.zeros((1, 3)), np.eye(3)[None])
        fitted = passes(NoisyRows.from_input(sample.noiseless), start, 1)[-1]
        np.testing.assert_allclose(fitted.covariances[0], np.cov(sample.noiseless.T, bias=True), atol=1e-12)

    def test_very_strong_makes_all_covariances_those_of_the_scales(self, rows, start):
        prior = CovariancePrior(1e9, np.array([1.0, 2.0, 0.5]))
        last = passes(rows, start, 3, prior)[-1]
        # 800 rows beside 1e9 change 1e-6 of it
        np.testing.assert_allclose(last.covariances, np.tile(np.diag([1.0, 4.0, 0.25]), (4, 1, 1)), atol=1e-4)

    def test_estimate_maximises_the_density(self):
        """The M-step's covariance beats its neighbours in the expected log likelihood with the prior."""
        rng = np.random.default_rng(11)
        prior, count = CovariancePrior(7.0, np.array([1.0, 3.0])), 20.0
        scatter = np.array([[30.0, 5.0], [5.0, 60.0]])
        best = prior.estimate(scatter[None], np.array([count]), np.eye(2)[None])[0]

        def value(V):
            fit = -0.5 * (count * np.linalg.slogdet(V)[1] + np.trace(np.linalg.solve(V, scatter)))
            return fit + prior.log_density(V[None])

        for _ in range(20):
            change = rng.normal(0, 0.05, (2, 2))
            assert value(best + change + change.T) < value(best)


def test_far_from_the_origin_nothing_is_lost(sample, start):
    """Columns that are a million widths from zero give the same fit: Gaia's right ascensions of a compact cluster."""
    shift = 1e6
    near = passes(NoisyRows.from_input(sample.X, sample.covariance), start, 10)[-1]
    moved = Components(start.weights, start.means + shift, start.covariances)
    far = passes(NoisyRows.from_input(sample.X + shift, sample.covariance), moved, 10)[-1]
    # the data themselves are rounded to 1e-10
    np.testing.assert_allclose(far.covariances, near.covariances, atol=1e-8)
    np.testing.assert_allclose(far.means - shift, near.means, atol=1e-8)
