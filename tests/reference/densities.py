"""Densities of which everything is known: exact draws, and the integral of what samplers are given."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


def log_peak(scale):
    """Log density at the centre of a Gaussian with the given scales, of one or more parameters."""
    return -np.sum(np.log(np.sqrt(2 * np.pi) * np.asarray(scale)))


def normal(x, mean=0.0, scale=1.0):
    """Log density of a normal distribution, without the checks that make scipy's slow."""
    return -0.5 * np.minimum(np.abs(x - mean) / scale, 1e100) ** 2 - np.log(np.sqrt(2 * np.pi) * scale)


@dataclass(frozen=True)
class Gaussian:
    """Correlated, with standard deviations of very different size."""

    size: int = 4
    correlation: float = 0.9
    log_evidence: float = 3.25

    @property
    def mean(self):
        return np.linspace(-1.0, 2.0, self.size)

    @property
    def covariance(self):
        scale = np.geomspace(0.1, 3.0, self.size)
        correlation = np.full((self.size, self.size), self.correlation) + (1 - self.correlation) * np.eye(self.size)
        return correlation * np.outer(scale, scale)

    @cached_property
    def factor(self):
        return np.linalg.cholesky(self.covariance)

    def draw(self, n, rng):
        return self.mean + rng.standard_normal((n, self.size)) @ self.factor.T

    def log_density(self, x):
        z = np.linalg.solve(self.factor, (x - self.mean).T)
        return self.log_evidence - 0.5 * np.sum(z**2, axis=0) + log_peak(np.diag(self.factor))


@dataclass(frozen=True)
class Banana:
    """A Gaussian bent along a parabola: ``y - (x^2 - 1) / 2`` is narrow."""

    size: int = 2
    width: float = 0.4
    log_evidence: float = -40.0
    mean = np.zeros(2)

    @property
    def covariance(self):
        return np.diag([1.0, 0.5 + self.width**2])

    def draw(self, n, rng):
        x, y = rng.standard_normal((2, n))
        return np.column_stack([x, 0.5 * (x**2 - 1) + self.width * y])

    def log_density(self, x):
        ridge = 0.5 * (x[:, 0] ** 2 - 1)
        return self.log_evidence + normal(x[:, 0]) + normal(x[:, 1], ridge, self.width)


@dataclass(frozen=True)
class Funnel:
    """Neal (2003, section 8): the first parameter is the log of the others' variance."""

    size: int = 3
    spread: float = 1.2
    log_evidence: float = 0.0

    @property
    def mean(self):
        return np.zeros(self.size)

    @property
    def covariance(self):
        variances = np.full(self.size, np.exp(self.spread**2 / 2))
        variances[0] = self.spread**2
        return np.diag(variances)

    def draw(self, n, rng):
        v = self.spread * rng.standard_normal((n, 1))
        return np.hstack([v, np.exp(v / 2) * rng.standard_normal((n, self.size - 1))])

    def log_density(self, x):
        v = x[:, :1]
        # Written so that nothing overflows at v = -2000, where proposals with heavy tails come: the density is 0.
        z = x[:, 1:] * np.exp(np.minimum(-v / 2, 300.0))
        others = (normal(z) - v / 2).sum(axis=1)
        return self.log_evidence + normal(v[:, 0], 0.0, self.spread) + others


@dataclass(frozen=True)
class TwoModes:
    """Two Gaussians of unequal weight and width, four standard deviations of the wider one apart."""

    size: int = 2
    share: float = 0.3
    log_evidence: float = 7.0
    mean = np.zeros(2)
    centres = np.array([[-2.0, 0.0], [2.0, 0.5]])
    widths = np.array([0.5, 1.0])

    @property
    def covariance(self):
        return np.diag([4.5, 1.0])

    def draw(self, n, rng):
        second = (rng.random(n) > self.share).astype(int)
        return self.centres[second] + self.widths[second, None] * rng.standard_normal((n, 2))

    def log_density(self, x):
        modes = [
            np.log(share) + normal(x, centre, width).sum(axis=1)
            for share, centre, width in zip((self.share, 1 - self.share), self.centres, self.widths)
        ]
        return self.log_evidence + np.logaddexp(*modes)


DENSITIES = {"gaussian": Gaussian(), "banana": Banana(), "funnel": Funnel(), "two modes": TwoModes()}
