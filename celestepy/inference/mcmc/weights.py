"""Arithmetic of importance weights that are given by their logarithms, unnormalised."""

import math

import numpy as np

from celestepy.inference.mcmc.density import SamplingError, checked_count

__all__ = ["effective_draws", "log_mean_weight", "normalised", "resample"]


def normalised(log_weights):
    """Weights that sum to one.

    Parameters
    ----------
    log_weights : `~numpy.ndarray`
        Logarithms up to a constant, shape (n,); -inf is a weight of zero.

    Returns
    -------
    `~numpy.ndarray`
        Weights, shape (n,); all zero where every weight is.
    """
    largest = np.max(log_weights)
    if largest == -np.inf:
        return np.zeros(len(log_weights))
    weights = np.exp(log_weights - largest)
    return weights / weights.sum()


def log_mean_weight(log_weights):
    """Log of the mean weight, which estimates a log evidence, and its standard error.

    Parameters
    ----------
    log_weights : `~numpy.ndarray`
        Log ratios of target to proposal, shape (n,).

    Returns
    -------
    log_evidence : float
        ``log(mean(w))``; -inf where every weight is zero.
    error : float
        Standard error by the spread of the weights, ``sd(w) / (sqrt(n) mean(w))`` (the delta method); inf for a
        single draw or where every weight is zero. It is too small where a few draws hold most of the weight.
    """
    n, largest = len(log_weights), np.max(log_weights)
    if largest == -np.inf:
        return -math.inf, math.inf
    weights = np.exp(log_weights - largest)
    mean = weights.mean()
    error = weights.std(ddof=1) / (math.sqrt(n) * mean) if n > 1 else math.inf
    return float(largest + math.log(mean)), float(error)


def effective_draws(log_weights):
    """Number of equally weighted draws that are worth as much, ``sum(w)^2 / sum(w^2)`` (Kish).

    Parameters
    ----------
    log_weights : `~numpy.ndarray`
        Logarithms up to a constant, shape (n,).

    Returns
    -------
    float
        Between 1 and n; 0 where every weight is zero.
    """
    squares = np.sum(normalised(log_weights) ** 2)
    return float(1.0 / squares) if squares > 0 else 0.0


def resample(log_weights, n, rng):
    """Choose draws in proportion to their weights, as evenly as whole numbers allow.

    Parameters
    ----------
    log_weights : `~numpy.ndarray`
        Logarithms up to a constant, shape (m,).
    n : int
        Draws wanted.
    rng : `~numpy.random.Generator`
        Source of random numbers.

    Returns
    -------
    `~numpy.ndarray`
        Indices of the chosen draws in random order, shape (n,). A draw of weight w is chosen ``n w`` times on
        average, and never a whole time more or less (systematic resampling).

    Raises
    ------
    SamplingError
        If every weight is zero.
    """
    weights = normalised(log_weights)
    if not weights.any():
        raise SamplingError("every weight is zero: there is nothing to choose from; widen the proposal or reference")
    return rng.permutation(systematic(weights, checked_count("n", n), rng))


def systematic(weights, n, rng):
    """Indices in rising order, of which index i is there ``n weights[i]`` times on average."""
    edges = np.cumsum(weights)
    return np.searchsorted(edges, (rng.random() + np.arange(n)) / n * edges[-1], side="right")
