"""Regularisation has one meaning: the fixed points of all methods are the same, however strong it is."""

import numpy as np
import pytest
from reference.noisy_samples import noisy_sample

from celestepy.density.chunks import as_source
from celestepy.density.em import maximization
from celestepy.density.expectation import expectation, gradient
from celestepy.density.extreme_deconvolution import ExtremeDeconvolution
from celestepy.density.minibatch import RunningMoments
from celestepy.density.noisy_rows import NoisyRows
from celestepy.density.objective import Components, CovariancePrior, Kept, Objective
from celestepy.density.sgd import Unconstrained

STRENGTHS = [0.0, 1e-3, 30.0, 1000.0]


@pytest.fixture(scope="module")
def sample():
    return noisy_sample(seed=12, n=1000, k=2, d=2, separation=4.0, full=False)


@pytest.fixture(scope="module")
def rows(sample):
    return NoisyRows.from_input(*sample.rows)


def converged_em(sample, rows, prior):
    components = Components(*sample.truth)
    for _ in range(400):
        components = maximization(components, expectation(rows, *components.arrays), prior, Kept())
    return components


@pytest.mark.parametrize("strength", STRENGTHS)
def test_fixed_points_agree(sample, rows, strength):
    """Where batch EM stops, the gradient of the other objective vanishes and the running moments stand still."""
    prior = CovariancePrior(strength, np.array([1.0, 3.0]))
    objective = Objective(as_source(rows), len(rows), float(len(rows)), float(len(rows)), None, prior)
    fixed = converged_em(sample, rows, prior)

    transform = Unconstrained(fixed, objective)
    vector = transform.pack(fixed)
    weights, means, factors = transform.unpack(vector)
    slope = transform.gradient(vector, gradient(rows, weights, means, factors), weights)
    # 400 passes leave 1e-10 of the way to the maximum of well-separated components
    assert np.abs(slope).max() < 1e-8

    components, moments = fixed, RunningMoments(*fixed.arrays)
    for step in np.full(60, 0.4):
        moments = moments.updated(expectation(rows, *components.arrays), step)
        components = moments.components(objective, components)
    for one, other in zip(components.arrays, fixed.arrays):
        np.testing.assert_allclose(one, other, atol=1e-8)


def test_the_paper_s_penalty_for_sgd_has_other_fixed_points(sample, rows):
    """The slope of ``w / trace(V)`` (appendix B.3) at the maximum of EM with the same w is not zero."""
    prior = CovariancePrior(30.0, np.ones(2))
    fixed = converged_em(sample, rows, prior)
    objective = Objective(as_source(rows), len(rows), float(len(rows)), float(len(rows)), None, prior)
    unpenalised = Objective(objective.source, len(rows), objective.weight, objective.weight, None, NO_PRIOR)
    transform = Unconstrained(fixed, unpenalised)
    vector = transform.pack(fixed)
    weights, means, factors = transform.unpack(vector)
    slope = transform.gradient(vector, gradient(rows, weights, means, factors), weights)
    own = Unconstrained(fixed, objective).gradient(vector, gradient(rows, weights, means, factors), weights)
    assert np.abs(slope).max() > 1e-3 > 1e-8 > np.abs(own).max()


NO_PRIOR = CovariancePrior(0.0, np.ones(2))


@pytest.mark.parametrize(
    ("method", "settings"),
    [("hybrid", {"max_iter": 60}), ("minibatch", {"max_iter": 60}), ("sgd", {"max_iter": 100, "learning_rate": 0.05})],
)
def test_fits_agree_for_a_strong_prior(sample, method, settings):
    def fit(method, **settings):
        return ExtremeDeconvolution(
            2, method=method, regularization=300.0, init=sample.truth, split_merge=0, rng=1, patience=100, **settings
        ).fit(*sample.rows)

    batch = fit("em", tol=1e-12)
    other = fit(method, tol=0.0, batch_size=100, **settings)
    # Means and widths hang together here, so that steps of a percent leave the last few percent of a width of 3.9.
    np.testing.assert_allclose(other.means_, batch.means_, atol=0.15)
    np.testing.assert_allclose(other.covariances_, batch.covariances_, rtol=0.05, atol=0.05)
    # and the prior matters: without it the variances are others
    free = ExtremeDeconvolution(2, method="em", regularization=0.0, init=sample.truth).fit(*sample.rows)
    assert np.abs(free.covariances_ - batch.covariances_).max() > 0.5
