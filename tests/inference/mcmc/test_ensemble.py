"""The adapter of emcee."""

import sys

import numpy as np
import pytest
from reference.densities import Banana

from celestepy.inference.mcmc import EnsembleSampler, SamplingError

BANANA = Banana()
START = np.random.default_rng(0).standard_normal((10, 2))


@pytest.mark.parametrize("burn_in", [0, 4])
def test_shapes_and_counts(burn_in):
    chains = EnsembleSampler(6, burn_in).sample(BANANA.log_density, START, np.random.default_rng(1))
    assert chains.draws.shape == (10, 6, 2)
    assert chains.log_density.shape == (10, 6)
    assert chains.n_evaluations == 10 * (1 + 6 + burn_in)
    np.testing.assert_allclose(chains.log_density.ravel(), BANANA.log_density(chains.pooled))


def test_the_seed_decides():
    def draws(seed):
        return EnsembleSampler(5, 5).sample(BANANA.log_density, START, np.random.default_rng(seed)).draws

    np.testing.assert_array_equal(draws(1), draws(1))
    assert not np.array_equal(draws(1), draws(2))


def test_nan_is_outside():
    chains = EnsembleSampler(50, 0).sample(
        lambda x: np.where(x[:, 0] > 0, -x[:, 0], np.nan), np.abs(START[:, :1]), np.random.default_rng(1)
    )
    assert chains.draws.min() > 0


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (START[:3], "3 walkers for 2 parameters"),
        (np.ones((6, 2)), "linearly dependent"),
        (np.outer(np.arange(6), [1.0, 2.0]), "linearly dependent"),
    ],
)
def test_starts_are_checked(start, message):
    with pytest.raises(SamplingError, match=message):
        EnsembleSampler().sample(BANANA.log_density, start, np.random.default_rng(1))


def test_density_outside_everywhere():
    with pytest.raises(SamplingError, match="10 of 10 starts"):
        EnsembleSampler().sample(lambda x: np.full(len(x), np.nan), START, np.random.default_rng(1))


@pytest.mark.parametrize("settings", [{"n_draws": 0}, {"burn_in": -1}])
def test_settings_are_checked(settings):
    with pytest.raises(SamplingError, match="expected a whole number"):
        EnsembleSampler(**settings)


def test_without_emcee(monkeypatch):
    monkeypatch.setitem(sys.modules, "emcee", None)
    with pytest.raises(ImportError, match="install the extra 'mcmc'"):
        EnsembleSampler().sample(BANANA.log_density, START, np.random.default_rng(1))
