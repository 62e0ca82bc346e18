"""Quantiles of Gaussian mixtures, many at a time, and of weighted draws."""

import numpy as np
from scipy.special import ndtr, ndtri

__all__ = ["CENTRAL", "half_width", "mixture_quantile", "weighted_quantile"]

CENTRAL = tuple(float(ndtr(z)) for z in (-1.0, 1.0))  # the probabilities that enclose the central 68.3%

_TOLERANCE = 1e-10  # of a quantile, in units of the narrowest component
_MAX_STEPS = 200  # a bisection alone ends in 60; Newton steps seldom need more than eight
_NORMAL = 1 / np.sqrt(2 * np.pi)


def half_width(lower, upper):
    """Half the distance between two quantiles: the error that belongs to a median."""
    return 0.5 * (upper - lower)


def mixture_quantile(probability, weight, mean, sd):
    """Quantile of one-dimensional Gaussian mixtures.

    The quantile of a mixture lies between the smallest and the largest of the quantiles of its components.
    From that bracket Newton steps are taken, and a bisection wherever one would leave it. Each mixture is
    solved by itself, so that the answer does not depend on what else is in the array.

    Parameters
    ----------
    probability : float
        Between 0 and 1.
    weight, mean, sd : (..., M) array_like
        Components; weights sum to one over the last axis and components of weight zero are left out.

    Returns
    -------
    (...) array
        NaN for mixtures without components.

    Examples
    --------
    >>> from celestepy.catalog.quantiles import mixture_quantile
    >>> round(float(mixture_quantile(0.5, [0.5, 0.5], [-1.0, 3.0], [1.0, 1.0])), 6)
    1.0
    """
    weight, mean, sd = (np.array(part, dtype=float) for part in np.broadcast_arrays(weight, mean, sd))
    shape, n_components = weight.shape[:-1], weight.shape[-1]
    weight, mean, sd = (part.reshape(-1, n_components) for part in (weight, mean, sd))
    active = weight > 0
    mean, sd = np.where(active, mean, 0.0), np.where(active, sd, 1.0)
    each = mean + ndtri(probability) * sd
    lower = np.where(active, each, np.inf).min(axis=1)
    upper = np.where(active, each, -np.inf).max(axis=1)
    guess = np.clip((weight * each).sum(axis=1), lower, np.maximum(lower, upper))
    width = _TOLERANCE * np.where(active, sd, np.inf).min(axis=1)
    quantile = np.where(active.any(axis=1), guess, np.nan)
    open_rows = np.flatnonzero(upper - lower > width)
    quantile[open_rows] = _solve(
        probability, *(part[open_rows] for part in (weight, mean, sd, guess, lower, upper, width))
    )
    return quantile.reshape(shape)


def _solve(probability, weight, mean, sd, guess, lower, upper, width):
    """Newton steps within a shrinking bracket; solved rows drop out."""
    result, rows = guess.copy(), np.arange(len(guess))
    for _ in range(_MAX_STEPS):
        if not len(rows):
            break
        standard = (guess[:, None] - mean) / sd
        excess = (weight * ndtr(standard)).sum(axis=1) - probability
        density = (weight / sd * (_NORMAL * np.exp(-0.5 * standard**2))).sum(axis=1)
        lower, upper = np.where(excess < 0, guess, lower), np.where(excess < 0, upper, guess)
        newton = guess - excess / np.maximum(density, np.finfo(float).tiny)
        inside = (newton > lower) & (newton < upper)
        trial = np.where(inside, newton, 0.5 * (lower + upper))
        moving = np.abs(trial - guess) > width
        result[rows] = trial
        rows, guess = rows[moving], trial[moving]
        weight, mean, sd, lower, upper, width = (
            part[moving] for part in (weight, mean, sd, lower, upper, width)
        )
    return result


def weighted_quantile(probabilities, values, weight):
    """Quantiles of weighted draws.

    Half the weight of each draw lies below it: the distribution function is known at the draws, and linear
    between them. With equal weights these are Hazen's quantiles, ``method="hazen"`` of NumPy.

    Parameters
    ----------
    probabilities : (P,) array_like
        Between 0 and 1.
    values : (m, Q) array_like
        Draws of Q quantities.
    weight : (m,) array_like
        Their weights in any normalisation; draws of weight zero are left out.

    Returns
    -------
    (P, Q) array
        NaN where there is no weight.

    Examples
    --------
    >>> from celestepy.catalog.quantiles import weighted_quantile
    >>> weighted_quantile([0.5], [[1.0], [2.0], [4.0]], [1.0, 1.0, 2.0])
    array([[2.66666667]])
    """
    values, weight = np.asarray(values, dtype=float), np.asarray(weight, dtype=float)
    values, weight = values[weight > 0], weight[weight > 0]
    result = np.full((len(probabilities), values.shape[1]), np.nan)
    if not len(values):
        return result
    order = np.argsort(values, axis=0)
    sorted_weight = weight[order]
    below = (np.cumsum(sorted_weight, axis=0) - 0.5 * sorted_weight) / weight.sum()
    for k, at in enumerate(order.T):
        result[:, k] = np.interp(probabilities, below[:, k], values[at, k])
    return result
