"""Stochastic gradients: the map to unconstrained parameters, the gradient of likelihood and prior, and the step."""

import numpy as np
import pytest
from reference.noisy_samples import noisy_sample

from celestepy.density.chunks import as_source
from celestepy.density.expectation import gradient, log_densities
from celestepy.density.noisy_rows import NoisyRows
from celestepy.density.objective import Components, CovariancePrior, Kept, Objective
from celestepy.density.sgd import Adam, Unconstrained

SCALES = np.array([0.5, 2.0, 30.0])


def problem(kept, strength=3.0):
    sample = noisy_sample(seed=7, n=60, missing=0.1)
    source = as_source(*sample.rows)
    prior = CovariancePrior(strength, SCALES)
    return Objective(source, 60, 60.0, 60.0, None, prior, kept), Components(*sample.truth), sample


@pytest.mark.parametrize("kept", [Kept(), Kept(1, True), Kept(1, False), Kept(3, False)])
def test_pack_and_unpack_are_inverse(kept):
    objective, components, _ = problem(kept)
    transform = Unconstrained(components, objective)
    again = transform.components(transform.pack(components))
    for one, other in zip(again.arrays, components.arrays):
        np.testing.assert_allclose(one, other, atol=1e-13)


@pytest.mark.parametrize("kept", [Kept(), Kept(1, True), Kept(1, False), Kept(3, False)])
def test_gradient_is_that_of_the_objective(kept):
    objective, components, sample = problem(kept)
    rows = NoisyRows.from_input(*sample.rows)
    transform = Unconstrained(components, objective)
    vector = transform.pack(components) + np.random.default_rng(8).normal(0, 0.1, transform.pack(components).size)

    def value(v):
        mixture = transform.components(v)
        return objective.value(log_densities(rows, *mixture.arrays).sum() / 60, mixture)

    weights, means, factors = transform.unpack(vector)
    found = transform.gradient(vector, gradient(rows, weights, means, factors), weights)
    step = 1e-5
    expected = [(value(vector + e) - value(vector - e)) / (2 * step) for e in step * np.eye(vector.size)]
    # central differences: step^2 / 6 times third derivatives of order ten, and rounding of 1e-15 / step
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_kept_components_do_not_move():
    objective, components, _ = problem(Kept(2, True))
    transform = Unconstrained(components, objective)
    vector = transform.pack(components)
    moved = transform.components(vector + 0.3)
    for one, other in zip(moved.arrays, components.arrays):
        np.testing.assert_array_equal(one[:2], other[:2])
    assert moved.weights.sum() == pytest.approx(1.0, abs=1e-14)


def test_first_adam_steps_are_those_of_the_paper():
    """Two steps worked out by hand from algorithm 1 of Kingma & Ba (2014)."""
    adam = Adam(1)
    first = adam.step(np.array([2.0]), 0.1)
    assert first[0] == pytest.approx(0.1, rel=1e-7)
    second = adam.step(np.array([-1.0]), 0.1)
    m = (0.1 * 0.9 * 2.0 - 0.1) / (1 - 0.9**2)
    v = (0.001 * 0.999 * 4.0 + 0.001) / (1 - 0.999**2)
    assert second[0] == pytest.approx(0.1 * m / np.sqrt(v), rel=1e-7)
