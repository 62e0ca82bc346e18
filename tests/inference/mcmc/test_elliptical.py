"""Elliptical slice sampling; that it is exact is tested with the other samplers, in tests/statistical."""

import numpy as np
import pytest
from reference.densities import Banana, Gaussian

from celestepy.inference.importance import StudentMixture
from celestepy.inference.mcmc import EllipticalSliceSampler, SamplingError

BANANA = Banana()
REFERENCE = StudentMixture([0.4, 0.6], [[-1.0, 0.0], [0.5, 0.5]], [np.eye(2), 0.5 * np.eye(2)], 5.0)


def test_shapes_and_counts():
    calls = []

    def density(x):
        calls.append(len(x))
        return BANANA.log_density(x)

    chains = EllipticalSliceSampler(REFERENCE, 7, 3).sample(density, np.zeros((5, 2)), np.random.default_rng(1))
    assert chains.draws.shape == (5, 7, 2)
    assert chains.n_evaluations == sum(calls)
    np.testing.assert_allclose(chains.log_density.ravel(), BANANA.log_density(chains.pooled))


def test_draws_of_the_reference_need_one_evaluation_each():
    """Where the ratio is flat nothing is ever refused, and each draw is nearly independent of the one before."""
    target = Gaussian(size=8, correlation=0.99)
    reference = StudentMixture([1.0], [target.mean], [target.covariance], np.inf)
    start = reference.draw(50, np.random.default_rng(1))
    sampler = EllipticalSliceSampler(reference, 200, 0, jumps=0)
    chains = sampler.sample(target.log_density, start, np.random.default_rng(2))
    assert chains.n_evaluations == 50 * 201
    z = np.linalg.solve(target.factor, (chains.pooled - target.mean).T).reshape(8, 50, 200)
    # The cosine of a uniform angle is 0 on average; 10 000 products of unit variance.
    assert np.abs(np.mean(z[:, :, 1:] * z[:, :, :-1], axis=(1, 2))).max() < 4 / np.sqrt(50 * 199)


def test_the_seed_decides():
    def draws(seed):
        sampler = EllipticalSliceSampler(REFERENCE, 5, 5)
        return sampler.sample(BANANA.log_density, np.zeros((2, 2)), np.random.default_rng(seed)).draws

    np.testing.assert_array_equal(draws(1), draws(1))
    assert not np.array_equal(draws(1), draws(2))


def test_moves_are_ellipses_per_draw():
    """Three moves at a time are every third draw of single moves."""
    one, three = (
        EllipticalSliceSampler(REFERENCE, n, 0, moves, jumps=0).sample(
            BANANA.log_density, np.zeros((4, 2)), np.random.default_rng(3)
        )
        for n, moves in ((9, 1), (3, 3))
    )
    np.testing.assert_array_equal(one.draws[:, 2::3], three.draws)


def test_jumps_lead_between_modes():
    """Modes twenty standard deviations apart, which no ellipse within one component can join."""
    modes = StudentMixture([0.3, 0.7], [[-10.0], [10.0]], [[[1.0]], [[1.0]]], 5.0)
    sampler = EllipticalSliceSampler(modes, 500, 0)
    chains = sampler.sample(modes.log_density, np.full((20, 1), -10.0), np.random.default_rng(3))
    share = np.mean(chains.pooled > 0)
    # A flat ratio accepts every jump: 10 000 independent choices.
    assert abs(share - 0.7) < 4 * 0.46 / np.sqrt(10_000)


def test_states_never_leave_the_support():
    def half(x):
        return np.where(x[:, 0] > 0, BANANA.log_density(x), np.nan)

    chains = EllipticalSliceSampler(REFERENCE, 50, 0).sample(half, np.ones((20, 2)), np.random.default_rng(3))
    assert chains.draws[..., 0].min() > 0


def test_a_noisy_density_ends():
    noise = np.random.default_rng(5)
    chains = EllipticalSliceSampler(REFERENCE, 3, 0).sample(
        lambda x: 10.0 * noise.standard_normal(len(x)), np.zeros((2, 2)), np.random.default_rng(1)
    )
    assert np.isfinite(chains.draws).all()


@pytest.mark.parametrize("settings", [{"n_draws": 0}, {"burn_in": -1}, {"moves": 0}, {"jumps": -1}])
def test_settings_are_checked(settings):
    with pytest.raises(SamplingError, match="expected a whole number"):
        EllipticalSliceSampler(REFERENCE, **settings)


def test_reference_is_checked():
    with pytest.raises(SamplingError, match="reference has no draw"):
        EllipticalSliceSampler(None)


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_start_outside_the_support(bad):
    with pytest.raises(SamplingError, match="at 2 of 2 starts"):
        EllipticalSliceSampler(REFERENCE, 5).sample(
            lambda x: np.full(len(x), bad), np.zeros((2, 2)), np.random.default_rng(1)
        )
