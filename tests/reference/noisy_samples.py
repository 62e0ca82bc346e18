"""Draws from mixtures of Gaussians, made noisy and incomplete, for tests of extreme deconvolution."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class NoisySample:
    """Rows with the mixture that they come from."""

    X: np.ndarray
    covariance: np.ndarray
    noiseless: np.ndarray
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    @property
    def rows(self):
        return self.X, self.covariance

    @property
    def truth(self):
        return self.weights, self.means, self.covariances


def random_covariances(rng, n, d, size=1.0):
    """Well-conditioned covariances whose diagonal is about size^2, shape (n, d, d)."""
    factors = rng.normal(0, size / np.sqrt(2 * d), (n, d, d))
    return factors @ np.swapaxes(factors, 1, 2) + 0.5 * size**2 * np.eye(d)


def noisy_sample(seed=0, n=2000, k=3, d=3, separation=3.0, noise=0.5, missing=0.0, full=True):
    """Rows of a random mixture, components of unit size, `separation` apart per axis, noise of that size per row."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(k, 5.0))
    means, covariances = rng.normal(0, separation, (k, d)), random_covariances(rng, k, d)
    labels = rng.choice(k, size=n, p=weights)
    factors = np.linalg.cholesky(covariances)[labels]
    noiseless = means[labels] + np.einsum("nab,nb->na", factors, rng.normal(size=(n, d)))
    scatter = random_covariances(rng, n, d, noise)
    if not full:
        scatter *= np.eye(d)
    X = noiseless + np.einsum("nab,nb->na", np.linalg.cholesky(scatter), rng.normal(size=(n, d)))
    X[rng.random((n, d)) < missing] = np.nan
    if not full:
        scatter = np.diagonal(scatter, axis1=1, axis2=2).copy()
    return NoisySample(X, scatter, noiseless, weights, means, covariances)
