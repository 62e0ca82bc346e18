"""Annealed importance sampling: the runs against one run in loops, schedules, and what is refused."""

import numpy as np
import pytest
from reference.densities import Banana, Gaussian
from reference.samplers import annealed_run

from celestepy.inference.importance import StudentMixture
from celestepy.inference.mcmc import AnnealedImportanceSampler, SamplingError, SliceSampler

BANANA = Banana()
REFERENCE = StudentMixture([1.0], [[0.3, 0.2]], [[[2.0, 0.3], [0.3, 1.0]]], np.inf)


def test_one_run_equals_the_loops():
    """The same end state and weight, although the sampler never evaluates the target twice at one state."""
    sampler = AnnealedImportanceSampler(20, 1, "power", SliceSampler(1, 0, widths=[2.0, 0.5]))
    draws = sampler.sample(BANANA.log_density, REFERENCE, np.random.default_rng(8))
    rng = np.random.default_rng(8)
    start = REFERENCE.draw(1, rng)[0]
    x, log_weight = annealed_run(
        lambda x: BANANA.log_density(x[None])[0],
        lambda x: REFERENCE.log_density(x[None])[0],
        start,
        sampler.temperatures,
        rng,
        [2.0, 0.5],
        10,
    )
    np.testing.assert_allclose(draws.draws[0], x, rtol=1e-8)
    np.testing.assert_allclose(draws.log_weights[0], log_weight, rtol=1e-8)
    assert draws.log_evidence == pytest.approx(log_weight)
    assert draws.log_evidence_err == np.inf


def test_one_temperature_is_importance_sampling():
    """The weights are then those of the reference's own draws, whatever the transition does."""
    draws = AnnealedImportanceSampler(1, 50).sample(BANANA.log_density, REFERENCE, np.random.default_rng(3))
    start = REFERENCE.draw(50, np.random.default_rng(3))
    np.testing.assert_allclose(draws.log_weights, BANANA.log_density(start) - REFERENCE.log_density(start))
    assert not np.allclose(draws.draws, start)


def test_any_transition_serves():
    """Ellipses and whitened slices agree on the evidence, and ellipses need a fraction of the evaluations."""
    slices = SliceSampler(whitening=np.linalg.cholesky(REFERENCE.covariance))
    ellipses, other = (
        AnnealedImportanceSampler(20, 400, transition=transition).sample(
            BANANA.log_density, REFERENCE, np.random.default_rng(4)
        )
        for transition in (None, slices)
    )
    for draws in (ellipses, other):
        assert abs(draws.log_evidence - BANANA.log_evidence) < 4 * draws.log_evidence_err
    assert 2 * ellipses.n_evaluations < other.n_evaluations


def test_counts_evaluations():
    count = []

    def density(x):
        count.append(len(x))
        return BANANA.log_density(x)

    draws = AnnealedImportanceSampler(5, 10).sample(density, REFERENCE, np.random.default_rng(1))
    assert draws.n_evaluations == sum(count)
    assert draws.draws.shape == (10, 2)
    assert draws.log_weights.shape == (10,)


@pytest.mark.parametrize("name", ["linear", "power", "sigmoid"])
def test_schedules_rise_from_0_to_1(name):
    temperatures = AnnealedImportanceSampler(200, schedule=name).temperatures
    assert temperatures.shape == (201,)
    assert temperatures[[0, -1]].tolist() == [0.0, 1.0]
    assert (np.diff(temperatures) > 0).all()


def test_given_temperatures():
    sampler = AnnealedImportanceSampler(2, schedule=[0.0, 0.1, 1.0])
    assert sampler.temperatures.tolist() == [0.0, 0.1, 1.0]


def test_runs_outside_the_support_weigh_nothing():
    """Half of the reference is outside; the evidence is that of the other half, and no error."""

    def half(x):
        return np.where(x[:, 0] > 0.3, REFERENCE.log_density(x), np.nan)

    draws = AnnealedImportanceSampler(4, 400).sample(half, REFERENCE, np.random.default_rng(5))
    dead = draws.log_weights == -np.inf
    assert 0.4 < dead.mean() < 0.6
    assert (draws.draws[~dead, 0] > 0.3).all()
    np.testing.assert_allclose(draws.log_weights[~dead], 0.0, atol=1e-12)
    assert draws.effective_draws == pytest.approx((~dead).sum())
    assert abs(draws.log_evidence - np.log(0.5)) < 4 * draws.log_evidence_err
    assert (draws.resample(1000, np.random.default_rng(1))[:, 0] > 0.3).all()


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_nothing_inside_is_flagged(bad):
    """One hopeless source does not end the run of a field."""
    draws = AnnealedImportanceSampler(4, 5).sample(
        lambda x: np.full(len(x), bad), REFERENCE, np.random.default_rng(5)
    )
    assert draws.log_evidence == -np.inf
    assert draws.log_evidence_err == np.inf
    assert draws.effective_draws == 0
    with pytest.raises(SamplingError, match="every weight is zero"):
        draws.resample(5, np.random.default_rng(1))


def test_a_reference_of_bounded_support():
    """A flat prior on a square, as the paper's references are: states never leave it."""

    class Square:
        def draw(self, n, rng):
            return rng.uniform(-2, 2, (n, 2))

        def log_density(self, x):
            return np.where(np.abs(x).max(axis=1) < 2, -np.log(16.0), -np.inf)

    target = Gaussian(size=2)
    sampler = AnnealedImportanceSampler(20, 50, "power", SliceSampler())
    draws = sampler.sample(target.log_density, Square(), np.random.default_rng(2))
    assert np.abs(draws.draws).max() < 2
    inside = np.mean(np.abs(target.draw(100_000, np.random.default_rng(1))).max(axis=1) < 2)
    assert abs(draws.log_evidence - target.log_evidence - np.log(inside)) < 4 * draws.log_evidence_err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_temperatures": 0}, "n_temperatures = 0"),
        ({"n_runs": 0}, "n_runs = 0"),
        ({"schedule": "geometric"}, "schedule = 'geometric'"),
        ({"n_temperatures": 2, "schedule": [0.0, 1.0]}, "schedule has shape"),
        ({"n_temperatures": 2, "schedule": [0.0, 0.0, 1.0]}, "that rise from 0 to 1"),
        ({"n_temperatures": 2, "schedule": [0.1, 0.5, 1.0]}, "that rise from 0 to 1"),
        ({"n_temperatures": 2, "schedule": [0.0, 0.5, 0.9]}, "that rise from 0 to 1"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(SamplingError, match=message):
        AnnealedImportanceSampler(**settings)


def test_a_reference_without_companions_needs_a_transition():
    class Bare:
        pass

    with pytest.raises(SamplingError, match="no companions"):
        AnnealedImportanceSampler().sample(BANANA.log_density, Bare(), np.random.default_rng(1))
