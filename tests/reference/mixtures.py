"""Small mixtures, and noisy rows of every kind around them."""

from types import SimpleNamespace

import numpy as np


def random_covariances(rng, n, dim, scale=1.0):
    """Well-conditioned random covariance matrices, shape (n, dim, dim)."""
    factors = rng.normal(size=(n, dim, dim)) * 0.4 + np.eye(dim)
    return scale**2 * factors @ np.swapaxes(factors, -1, -2)


def make_mixture(rng, k, dim):
    """Weights, means and covariances of overlapping components."""
    return SimpleNamespace(
        weights=rng.dirichlet(np.full(k, 5.0)),
        means=2 * rng.normal(size=(k, dim)),
        covariances=random_covariances(rng, k, dim),
    )


def make_noise(rng, kind, n, d):
    """Noise of n rows: none, variances or matrices."""
    if kind == "none":
        return None
    if kind == "diagonal":
        return rng.uniform(0.05, 2.0, size=(n, d))
    return random_covariances(rng, n, d, scale=rng.uniform(0.2, 1.5))


def make_case(*, noise="full", missing=False, projected=False, k=11, dim=3, d=None, n=40, seed=0):
    """A mixture and rows drawn broadly around it: ``x, noise, projection, mixture``."""
    rng = np.random.default_rng(seed)
    d = dim if d is None else d
    mixture = make_mixture(rng, k, dim)
    x = 2.5 * rng.normal(size=(n, d))
    projection = rng.normal(size=(n, d, dim)) if projected else None
    covariance = make_noise(rng, noise, n, d)
    if missing:
        x[rng.random(x.shape) < 0.35] = np.nan
        x[0] = np.nan
    return SimpleNamespace(
        x=x,
        noise=covariance,
        projection=projection,
        row_weights=rng.uniform(0.2, 3.0, size=n),
        mixture=(mixture.weights, mixture.means, mixture.covariances),
    )


CASES = {
    "full noise": {},
    "variances": {"noise": "diagonal"},
    "no noise": {"noise": "none"},
    "missing": {"missing": True},
    "missing, variances": {"missing": True, "noise": "diagonal"},
    "missing, no noise": {"missing": True, "noise": "none"},
    "projected": {"projected": True},
    "projected, missing": {"projected": True, "missing": True, "noise": "diagonal"},
    "fewer columns": {"projected": True, "dim": 4, "d": 2, "noise": "none"},
    "more columns": {"projected": True, "dim": 2, "d": 4, "missing": True},
    "one component": {"k": 1, "missing": True},
    "a whole group": {"k": 16},
    "one dimension": {"dim": 1, "noise": "diagonal", "missing": True},
    "seven dimensions": {"dim": 7, "n": 20},
    "seven, missing": {"dim": 7, "n": 20, "missing": True},
    "nine dimensions": {"dim": 9, "n": 12, "k": 5},
    "fifteen, missing": {"dim": 15, "n": 12, "k": 5, "missing": True},
    "fifteen, projected": {"dim": 15, "d": 12, "n": 12, "k": 5, "projected": True},
}
