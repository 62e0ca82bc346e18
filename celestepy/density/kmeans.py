"""Clusters of points: k-means++ and minibatch k-means."""

import numpy as np

__all__ = ["kmeans", "nearest_centre", "seeds_plus_plus"]

_BATCH_ROWS = 1024


def seeds_plus_plus(points, n, rng):
    """Points far from each other: k-means++ (Arthur & Vassilvitskii 2007), the best of several draws at each step.

    Parameters
    ----------
    points : `~numpy.ndarray`
        Shape (n_points, D).
    n : int
        How many to choose.
    rng : `numpy.random.Generator`
        Of the choice.

    Returns
    -------
    `~numpy.ndarray`
        Centres, shape (n, D); some are the same if there are fewer different points.
    """
    n_tries = 2 + int(np.log(n))
    centres = [points[rng.integers(len(points))]]
    nearest = ((points - centres[0]) ** 2).sum(axis=1)
    while len(centres) < n:
        total = nearest.sum()
        if total == 0:
            centres.append(points[rng.integers(len(points))])
            continue
        tries = np.searchsorted(np.cumsum(nearest), total * rng.random(n_tries)).clip(max=len(points) - 1)
        distances = [np.minimum(nearest, ((points - points[k]) ** 2).sum(axis=1)) for k in tries]
        best = int(np.argmin([distance.sum() for distance in distances]))
        centres.append(points[tries[best]])
        nearest = distances[best]
    return np.array(centres)


def kmeans(points, centres, rng, n_epochs=5):
    """Minibatch k-means (Sculley 2010, WWW '10, 1177): each centre is the running mean of the points nearest to it.

    Parameters
    ----------
    points : `~numpy.ndarray`
        Shape (n, D).
    centres : `~numpy.ndarray`
        The start, shape (K, D).
    rng : `numpy.random.Generator`
        Of the order.
    n_epochs : int
        Passes over the points.

    Returns
    -------
    `~numpy.ndarray`
        Centres, shape (K, D).
    """
    centres, counts = centres.copy(), np.zeros(len(centres))
    for _ in range(n_epochs):
        order = rng.permutation(len(points))
        for first in range(0, len(order), _BATCH_ROWS):
            batch = points[order[first : first + _BATCH_ROWS]]
            labels = nearest_centre(batch, centres)
            here = np.bincount(labels, minlength=len(centres))
            sums = np.stack([np.bincount(labels, column, len(centres)) for column in batch.T], axis=1)
            counts += here
            centres += (sums - here[:, None] * centres) / np.maximum(counts, 1)[:, None]
    return centres


def nearest_centre(points, centres):
    """Number of the centre that each point is nearest to, shape (n,)."""
    labels = np.empty(len(points), dtype=int)
    half_squares = 0.5 * (centres**2).sum(axis=1)
    for first in range(0, len(points), _BATCH_ROWS):
        part = slice(first, first + _BATCH_ROWS)
        labels[part] = np.argmax(points[part] @ centres.T - half_squares, axis=1)
    return labels
