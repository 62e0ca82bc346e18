"""Slice sampling: the vectorised chains against one chain in loops, and what is refused."""

import numpy as np
import pytest
from reference.densities import Banana, Gaussian
from reference.samplers import slice_sweep

from celestepy.inference.mcmc import SamplingError, SliceSampler

BANANA = Banana()


def one(density):
    """The density of a single point."""
    return lambda x: density.log_density(x[None])[0]


@pytest.mark.parametrize("max_steps", [1, 2, 10])
@pytest.mark.parametrize("widths", [[0.3, 1.0], [5.0, 0.05]])
def test_one_chain_equals_the_loops(max_steps, widths):
    """Both take random numbers in one order, and then differ by rounding alone."""
    sampler = SliceSampler(n_draws=20, burn_in=0, widths=widths, max_steps=max_steps)
    chains = sampler.sample(BANANA.log_density, [[0.5, -0.4]], np.random.default_rng(3))
    rng, x = np.random.default_rng(3), np.array([0.5, -0.4])
    for draw in chains.draws[0]:
        x = slice_sweep(one(BANANA), x, rng, widths, max_steps)
        np.testing.assert_allclose(draw, x, rtol=1e-9, atol=1e-12)


def test_shapes_and_counts():
    calls = []

    def density(x):
        calls.append(len(x))
        return BANANA.log_density(x)

    chains = SliceSampler(n_draws=7, burn_in=3).sample(density, np.zeros((5, 2)), np.random.default_rng(1))
    assert chains.draws.shape == (5, 7, 2)
    assert chains.log_density.shape == (5, 7)
    assert chains.pooled.shape == (35, 2)
    assert chains.n_evaluations == sum(calls)
    np.testing.assert_allclose(chains.log_density.ravel(), BANANA.log_density(chains.pooled))
    np.testing.assert_array_equal(chains.pooled[7:14], chains.draws[1])


def test_chains_share_calls():
    """Thirty chains cost few more calls than one: as many as the slowest of them needs."""

    def calls(n):
        count = []
        sampler = SliceSampler(n_draws=20, burn_in=0)
        sampler.sample(lambda x: count.append(1) or BANANA.log_density(x), np.zeros((n, 2)), np.random.default_rng(2))
        return len(count)

    assert calls(30) < 3.5 * calls(1)


def test_the_seed_decides():
    def draws(seed):
        return SliceSampler(5, 5).sample(BANANA.log_density, np.zeros((2, 2)), np.random.default_rng(seed)).draws

    np.testing.assert_array_equal(draws(1), draws(1))
    assert not np.array_equal(draws(1), draws(2))


def test_start_is_left_alone():
    start = np.zeros((3, 2))
    SliceSampler(3, 0).sample(BANANA.log_density, start, np.random.default_rng(1))
    assert not start.any()


def test_burn_in_finds_widths():
    """Standard deviations of .1 to 3, first widths of 1: the burn-in pays for itself within a few sweeps."""
    target = Gaussian(size=6, correlation=0.0)
    start = target.draw(10, np.random.default_rng(1))

    def cost(scale, burn_in):
        def density(x):
            return target.log_density(x / scale)

        few, many = (
            SliceSampler(n, burn_in, max_steps=100).sample(density, start * scale, np.random.default_rng(2))
            for n in (1, 101)
        )
        return (many.n_evaluations - few.n_evaluations) / (100 * 10 * 6)

    for scale in (0.03, 30.0):
        assert cost(scale, 20) < 6.0 < cost(scale, 0)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_one_chain_finds_any_width(scale):
    """Widths of a single chain begin nine orders of magnitude off."""
    chains = SliceSampler(400, 40).sample(lambda x: -0.5 * (x[:, 0] / scale) ** 2, [[0.0]], np.random.default_rng(6))
    # The standard deviation of 400 draws with a correlation time of about 2 is good to 5 %.
    assert 0.8 < chains.draws.std() / scale < 1.2
    assert chains.n_evaluations < 440 * 15


def test_whitening_makes_correlation_harmless():
    """Successive draws along the axes of a strongly correlated Gaussian are nearly independent.

    What is left, about .1, are the limits of stepping out; the estimate is good to .02.
    """
    target = Gaussian(correlation=0.999)
    start = target.draw(20, np.random.default_rng(1))

    def correlation(**settings):
        chains = SliceSampler(200, 0, **settings).sample(target.log_density, start, np.random.default_rng(2))
        x = chains.draws[:, :, 0] - target.mean[0]
        return np.mean(x[:, 1:] * x[:, :-1]) / np.mean(x**2)

    assert correlation(whitening=np.linalg.cholesky(target.covariance)) < 0.2
    assert correlation() > 0.8


def test_points_of_nan_are_outside():
    def half(x):
        with np.errstate(invalid="ignore"):
            return np.log(x[:, 0]) - x[:, 0]

    chains = SliceSampler(200, 10).sample(half, np.ones((10, 1)), np.random.default_rng(4))
    assert chains.draws.min() > 0
    # Gamma(2): mean 2, variance 2; 2000 draws with a correlation time of about 3.
    assert abs(chains.draws.mean() - 2) < 4 * np.sqrt(2 * 3 / 2000)


def test_a_noisy_density_ends():
    """Rounding that depends on a point's place in the batch cannot hold a chain up for ever."""
    noise = np.random.default_rng(5)
    chains = SliceSampler(3, 0).sample(
        lambda x: 10.0 * noise.standard_normal(len(x)), np.zeros((2, 1)), np.random.default_rng(1)
    )
    assert np.isfinite(chains.draws).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_draws": 0}, "n_draws = 0"),
        ({"n_draws": 2.5}, r"n_draws = 2\.5"),
        ({"n_draws": True}, "n_draws = True"),
        ({"burn_in": -1}, "burn_in = -1"),
        ({"max_steps": 0}, "max_steps = 0"),
        ({"widths": [1.0, 0.0]}, "widths"),
        ({"widths": np.nan}, "widths"),
        ({"whitening": np.ones((2, 2))}, "whitening is singular"),
        ({"whitening": np.diag([1.0, 0.0])}, "whitening is singular"),
        ({"whitening": np.ones((2, 3))}, "whitening has shape"),
        ({"whitening": np.full((2, 2), np.nan)}, "whitening has shape"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(SamplingError, match=message):
        SliceSampler(**settings)


def test_units_may_differ():
    """A whitening of parameters in very different units is not singular."""
    assert SliceSampler(whitening=np.diag([1e-12, 1e12])).whitening.shape == (2, 2)


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_start_outside_the_support(bad):
    def density(x):
        return np.where(x[:, 0] > 0, 0.0, bad)

    with pytest.raises(SamplingError, match="at 1 of 2 starts .* number 1"):
        SliceSampler(5, 0).sample(density, [[1.0], [-1.0]], np.random.default_rng(1))
    with pytest.raises(SamplingError, match="at 2 of 2 starts"):
        SliceSampler(5, 0).sample(lambda x: np.full(len(x), bad), [[1.0], [-1.0]], np.random.default_rng(1))


@pytest.mark.parametrize("start", [[1.0, 2.0], np.empty((0, 2)), np.empty((2, 0)), [[np.nan, 0.0]]])
def test_bad_starts(start):
    with pytest.raises(SamplingError, match="start"):
        SliceSampler(5, 0).sample(BANANA.log_density, start, np.random.default_rng(1))


def test_settings_for_another_number_of_parameters():
    for settings in ({"widths": [1.0, 2.0, 3.0]}, {"whitening": np.eye(3)}):
        with pytest.raises(SamplingError, match="for points with 2 parameters"):
            SliceSampler(5, 0, **settings).sample(BANANA.log_density, np.zeros((1, 2)), np.random.default_rng(1))


def test_density_of_a_wrong_shape():
    with pytest.raises(SamplingError, match=r"returned shape \(3, 1\)"):
        SliceSampler(5, 0).sample(lambda x: x[:, :1], np.zeros((3, 2)), np.random.default_rng(1))


def test_density_with_a_pole():
    with pytest.raises(SamplingError, match="pole"):
        SliceSampler(5, 0).sample(lambda x: np.full(len(x), np.inf), np.zeros((3, 2)), np.random.default_rng(1))
