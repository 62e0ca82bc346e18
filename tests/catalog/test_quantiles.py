"""Quantiles of Gaussian mixtures against the defining equation."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from celestepy.catalog.quantiles import CENTRAL, mixture_quantile


def random_mixtures(n, m, seed=0):
    rng = np.random.default_rng(seed)
    weight = rng.dirichlet(np.full(m, 0.3), n)
    mean = rng.normal(size=(n, m)) * rng.exponential(5, (n, 1))
    return weight, mean, rng.lognormal(-1, 1.5, (n, m))


def distribution(x, weight, mean, sd):
    return (weight * ndtr((x - mean) / sd)).sum(axis=-1)


@pytest.mark.parametrize("probability", [1e-6, CENTRAL[0], 0.5, CENTRAL[1], 0.999])
def test_solves_the_defining_equation(probability):
    mixture = random_mixtures(2000, 8)
    quantile = mixture_quantile(probability, *mixture)
    # the tolerance of the solver, 1e-10 of the narrowest component, times the density's largest value
    np.testing.assert_allclose(distribution(quantile[:, None], *mixture), probability, atol=1e-9)


def test_agrees_with_a_scalar_root_finder():
    weight, mean, sd = random_mixtures(50, 4, seed=1)
    quantile = mixture_quantile(0.3, weight, mean, sd)
    for i in range(50):
        root = brentq(lambda x: distribution(x, weight[i], mean[i], sd[i]) - 0.3, -1e3, 1e3, xtol=1e-12)  # noqa: B023
        assert quantile[i] == pytest.approx(root, abs=1e-8 * sd[i].min() + 1e-10)


def test_one_component_is_exact():
    assert mixture_quantile(0.84, [1.0], [3.0], [2.0]) == 3.0 + 2.0 * ndtri(0.84)


def test_empty_components_do_not_count():
    expected = mixture_quantile(0.2, [0.4, 0.6], [0.0, 1.0], [1.0, 2.0])
    padded = mixture_quantile(0.2, [0.4, 0.0, 0.6, 0.0], [0.0, np.nan, 1.0, 50.0], [1.0, np.nan, 2.0, 0.0])
    assert padded == expected


def test_mixture_without_components_has_no_quantile():
    assert np.isnan(mixture_quantile(0.5, np.zeros((2, 3)), np.zeros((2, 3)), np.ones((2, 3)))).all()


def test_narrow_component_on_a_broad_one():
    quantile = mixture_quantile(0.5, [0.5, 0.5], [0.0, 0.3], [1e-9, 10.0])
    assert distribution(
        quantile, np.array([0.5, 0.5]), np.array([0.0, 0.3]), np.array([1e-9, 10.0])
    ) == pytest.approx(0.5, abs=1e-7)


def test_far_apart_components():
    # any point of the gap is a median to within round-off; none may be lost to NaN
    assert -1e6 <= mixture_quantile(0.5, [0.5, 0.5], [-1e6, 1e6], [1.0, 1.0]) <= 1e6
    assert mixture_quantile(0.25, [0.5, 0.5], [-1e6, 1e6], [1.0, 1.0]) == pytest.approx(-1e6, abs=1e-6)


def test_answers_do_not_depend_on_company():
    mixture = random_mixtures(500, 5, seed=2)
    together = mixture_quantile(0.1, *mixture)
    alone = [mixture_quantile(0.1, *(part[i] for part in mixture)) for i in range(500)]
    np.testing.assert_array_equal(together, alone)


def test_broadcasts_over_leading_axes():
    weight, mean, sd = random_mixtures(6, 3)
    shifted = mixture_quantile(0.5, weight[:, None], mean[:, None] + np.array([[0.0], [5.0]]), sd[:, None])
    assert shifted.shape == (6, 2)
    np.testing.assert_allclose(shifted[:, 1] - shifted[:, 0], 5.0, rtol=1e-9)
