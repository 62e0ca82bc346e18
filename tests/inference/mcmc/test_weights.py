"""Arithmetic of importance weights."""

import numpy as np
import pytest

from celestepy.inference.mcmc import SamplingError, effective_draws, log_mean_weight, resample


def test_log_mean_weight():
    """The delta method on log-normal weights; far from zero, so that exponentials overflow."""
    log_weights = 1e4 + 0.5 * np.random.default_rng(1).standard_normal(2000)
    value, error = log_mean_weight(log_weights)
    weights = np.exp(log_weights - 1e4)
    assert value == pytest.approx(1e4 + np.log(weights.mean()))
    assert error == pytest.approx(np.std(weights, ddof=1) / np.sqrt(2000) / weights.mean())


def test_error_is_honest():
    rng = np.random.default_rng(2)
    results = np.array([log_mean_weight(0.7 * rng.standard_normal(500)) for _ in range(500)])
    assert np.std((results[:, 0] - 0.245) / results[:, 1]) == pytest.approx(1.0, abs=0.15)


def test_single_and_zero_weights():
    assert log_mean_weight(np.array([2.0])) == (2.0, np.inf)
    assert log_mean_weight(np.full(5, -np.inf)) == (-np.inf, np.inf)
    assert log_mean_weight(np.array([0.0, -np.inf]))[0] == pytest.approx(np.log(0.5))


def test_effective_draws():
    assert effective_draws(np.full(7, -3e5)) == pytest.approx(7)
    assert effective_draws(np.array([0.0, -np.inf, -1e4])) == pytest.approx(1)
    assert effective_draws(np.full(7, -np.inf)) == 0


def test_resample_is_as_even_as_can_be():
    weights = np.array([0.5, 0.25, 0.15, 0.1, 0.0])
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights)
    rng = np.random.default_rng(3)
    counts = np.array([np.bincount(resample(log_weights, 13, rng), minlength=5) for _ in range(4000)])
    assert (np.abs(counts - 13 * weights) < 1).all()
    # Unbiased: the standard deviation of a count is at most one half.
    np.testing.assert_allclose(counts.mean(axis=0), 13 * weights, atol=4 * 0.5 / np.sqrt(4000))


def test_resample_comes_in_random_order():
    order = resample(np.zeros(1000), 1000, np.random.default_rng(4))
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.15


@pytest.mark.parametrize(("log_weights", "n"), [(np.full(3, -np.inf), 5), (np.zeros(3), 0)])
def test_resample_refuses(log_weights, n):
    with pytest.raises(SamplingError, match="every weight is zero|n = 0"):
        resample(log_weights, n, np.random.default_rng(1))
