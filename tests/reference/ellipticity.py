"""The posterior of a galaxy under the exact law of its ellipticity, by summation over the plane of (eta1, eta2)."""

import numpy as np
from scipy.special import betainc, betaln

from celestepy.model.parameters import layout


def log_density(law, eta1, eta2):
    """Log density of the law of (eta1, eta2), from its definition."""
    h = np.sqrt(eta1**2 + eta2**2 + law.softening**2)
    normalisation = np.log(2 * np.pi) + betaln(law.a, law.b) + np.log(betainc(law.a, law.b, np.exp(-law.softening)))
    return -law.a * h + (law.b - 1) * np.log(1 - np.exp(-h)) - np.log(h) - normalisation


def posterior(weights, means, covariances, mode, law, density=log_density):
    """Log evidence, mean and covariance of a Gaussian mixture in which an expanded law becomes the law itself.

    The mixture holds the law as its expansion to second order about the ellipticity of `mode`.
    """
    where = layout("galaxy", len(mode) - 6).ellipticity
    centre = mode[where]
    value, gradient, (h11, h12, h22) = law.evaluate(*centre)
    grid = np.linspace(-4.5, 4.5, 301)
    eta = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    step = eta - centre
    expansion = value + step @ gradient + 0.5 * np.einsum("na,ab,nb->n", step, [[h11, h12], [h12, h22]], step)
    change = density(law, *eta.T) - expansion
    total, first, second = 0.0, 0.0, 0.0
    for weight, mean, covariance in zip(weights, means, covariances, strict=True):
        inner = covariance[where, where]
        offset = eta - mean[where]
        density_here = np.exp(change - 0.5 * np.einsum("na,ab,nb->n", offset, np.linalg.inv(inner), offset))
        mass = weight * density_here * (grid[1] - grid[0]) ** 2 / (2 * np.pi * np.sqrt(np.linalg.det(inner)))
        # Given the ellipticity, the rest is Gaussian and follows it linearly.
        slope = covariance[:, where] @ np.linalg.inv(inner)
        rest = covariance - slope @ covariance[where]
        at = mean + offset @ slope.T
        total += mass.sum()
        first += mass @ at
        second += mass.sum() * rest + (at * mass[:, None]).T @ at
    mean = first / total
    return np.log(total), mean, second / total - np.outer(mean, mean)
