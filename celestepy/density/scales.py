"""Scales of the columns, and points for k-means: what one Gaussian fitted to the rows tells."""

import warnings

import numpy as np

from celestepy.density.em import maximization
from celestepy.density.expectation import expectation, posterior
from celestepy.density.noisy_rows import DensityError
from celestepy.density.objective import Components, CovariancePrior, Kept

__all__ = ["column_scales", "filled_points", "single_gaussian", "warn_of_far_row"]

# Passes for one Gaussian: rows that miss little need five, and a start need not be exact.
_PASSES = 20
# Scales beyond which one row spoils the arithmetic of those that share a component with it: the square has 12 digits.
_FAR = 1e6


def column_scales(rows):
    """Centre and scale of the noiseless quantities.

    Parameters
    ----------
    rows : `~celestepy.density.NoisyRows`
        A sample.

    Returns
    -------
    centre, scales : `~numpy.ndarray`
        Shape (D,): median and 1.4826 times the median absolute deviation of each column, weighted, noise included, or,
        where more than half of the values are the same, the standard deviation, or the rms noise. With projections,
        mean and standard deviation of a single Gaussian.

    Raises
    ------
    DensityError
        If a column is constant, or never observed.
    """
    if rows.projection is not None:
        fitted = single_gaussian(rows)
        return fitted.means[0], np.sqrt(np.diagonal(fitted.covariances[0]))
    pairs = [_centre_and_scale(rows, column) for column in range(rows.dim)]
    return tuple(np.array(values) for values in zip(*pairs))


def _centre_and_scale(rows, column):
    values, weights, seen = rows.values[:, column], rows.weights, slice(None)
    if rows.observed is not None:
        seen = np.flatnonzero(rows.observed[:, column])
        values, weights = values[seen], None if weights is None else weights[seen]
    if not values.size:
        raise DensityError(f"column {column} of X has no observed value in the sample; leave it out")
    centre = _median(values, weights)
    spread = np.sqrt(np.average((values - np.average(values, weights=weights)) ** 2, weights=weights))
    for scale in (1.4826 * _median(np.abs(values - centre), weights), spread, _rms_noise(rows, column, seen)):
        if scale > 1e-14 * abs(centre):
            return centre, scale
    raise DensityError(
        f"column {column} of X is {centre:g} in every row and has no noise: its density has no bound; leave it out"
    )


def _median(values, weights):
    """The median, a value of weight two counting as two values."""
    if weights is None:
        return np.median(values)
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    middle = np.searchsorted(below, 0.5 * below[-1], side="left"), np.searchsorted(below, 0.5 * below[-1], side="right")
    return values[order[np.minimum(middle, len(values) - 1)]].mean()


def _rms_noise(rows, column, seen):
    if rows.noise is None:
        return 0.0
    variances = rows.noise[seen, column] if rows.noise.ndim == 2 else rows.noise[seen, column, column]
    return float(np.sqrt(np.mean(variances)))


def warn_of_far_row(rows, centre, scales, *, stacklevel):
    """Warn of a row that is so far away that numbers of both kinds hardly go together.

    Parameters
    ----------
    rows : `~celestepy.density.NoisyRows`
        A sample; with projections, nothing is said.
    centre, scales : `~numpy.ndarray`
        Of the columns, shape (D,).
    stacklevel : int
        As for `warnings.warn`, from here.
    """
    if rows.projection is not None:
        return
    distances = np.abs(rows.values - centre) / scales
    if rows.observed is not None:
        distances = np.where(rows.observed, distances, 0.0)
    row, column = np.unravel_index(np.argmax(distances), distances.shape)
    if distances[row, column] > _FAR:
        warnings.warn(
            f"the row {rows.values[row].tolist()} is {distances[row, column]:.2g} scales from the median of column"
            f" {column}: mask values that are flags and leave out rows that are wrong, or the density of the others"
            " suffers",
            stacklevel=stacklevel,
        )


def single_gaussian(rows):
    """One Gaussian fitted to noisy rows.

    Parameters
    ----------
    rows : `~celestepy.density.NoisyRows`
        A sample.

    Returns
    -------
    Components
        With K = 1.

    Raises
    ------
    DensityError
        If the rows do not tell its mean, because their projections leave out a direction.
    """
    mean, variance = _least_squares(rows)
    one = Components(np.ones(1), mean[None], variance * np.eye(rows.dim)[None])
    none = CovariancePrior(1e-3, np.full(rows.dim, np.sqrt(variance)))
    if rows.projection is None:
        one = Components(one.weights, one.means, _moments(rows, mean)[None])
        none = CovariancePrior(1e-3, np.sqrt(np.diagonal(one.covariances[0])))
    for _ in range(_PASSES):
        one = maximization(one, expectation(rows, *one.arrays), none, Kept())
    return one


def _moments(rows, mean):
    """Diagonal covariance of observed values, where those are the noiseless quantities."""
    observed = np.ones(rows.values.shape) if rows.observed is None else rows.observed
    square = (observed * (rows.values - mean) ** 2).sum(axis=0) / np.maximum(observed.sum(axis=0), 1)
    noise = [_rms_noise(rows, k, np.flatnonzero(observed[:, k])) for k in range(rows.dim)]
    return np.diag(np.where(square > 0, square, np.maximum(noise, 1e-12) ** 2))


def _least_squares(rows):
    """Mean that fits all observed values best, and the mean square of what is left."""
    n, d = rows.values.shape
    observed = np.ones((n, d)) if rows.observed is None else rows.observed.astype(float)
    if rows.projection is None:
        counts = np.maximum(observed.sum(axis=0), 1)
        mean = (observed * rows.values).sum(axis=0) / counts
        left = observed * (rows.values - mean)
    else:
        design = rows.projection * observed[:, :, None]
        normal, right = np.einsum("nab,nac->bc", design, design), np.einsum("nab,na->b", design, rows.values)
        if np.linalg.matrix_rank(normal) < rows.dim:
            raise DensityError("projection leaves a direction out in every row: its density cannot be known")
        mean = np.linalg.solve(normal, right)
        left = observed * (rows.values - np.einsum("nab,b->na", design, mean))
    return mean, max(float((left**2).sum() / observed.sum()), np.finfo(float).tiny)


def filled_points(rows):
    """Points in the space of the noiseless quantities, one for each row.

    Parameters
    ----------
    rows : `~celestepy.density.NoisyRows`
        A sample.

    Returns
    -------
    points : `~numpy.ndarray`
        Observed values, and for those missing the expectation given the others under one Gaussian, shape (n, D); with
        projections, the expectation of everything.
    unknown : `~numpy.ndarray`
        Covariance of what was filled in, summed over the rows of each kind, shape (n, D): variances alone.
    """
    if rows.projection is None and rows.observed is None:
        return rows.values.copy(), np.zeros(rows.values.shape)
    _, means, covariances = posterior(rows, *single_gaussian(rows).arrays)
    points, unknown = means[:, 0].copy(), np.diagonal(covariances[:, 0], axis1=1, axis2=2).copy()
    if rows.projection is None:
        points[rows.observed], unknown[rows.observed] = rows.values[rows.observed], 0.0
    return points, unknown
