"""How well a sample agrees with exact draws and a known evidence, in probabilities and standard deviations."""

from dataclasses import dataclass

import numpy as np
from scipy.special import kolmogorov


@dataclass(frozen=True)
class Sample:
    """What any sampler gives: independent draws, with weights and an evidence if it has them."""

    draws: np.ndarray
    log_weights: np.ndarray | None = None
    log_evidence: float | None = None
    log_evidence_err: float | None = None


def smallest_p_value(sample, target, n_exact, rng):
    """Smallest p-value over several views of the points, times the number of views (Bonferroni)."""
    weights = np.ones(len(sample.draws))
    if sample.log_weights is not None:
        weights = np.exp(sample.log_weights - np.max(sample.log_weights))
    seen, expected = (views(target, x) for x in (sample.draws, target.draw(n_exact, rng)))
    return len(seen) * min(ks_p_value(a, weights, b) for a, b in zip(seen, expected))


def views(target, x):
    """Each parameter, sums and differences of scaled neighbours, the radius and the density, (V, n)."""
    z = ((x - target.mean) / np.sqrt(np.diag(target.covariance))).T
    return [*z, *(z[1:] + z[:-1]), *(z[1:] - z[:-1]), np.sum(z**2, axis=0), target.log_density(x)]


def ks_p_value(x, weights, exact):
    """Two-sample Kolmogorov-Smirnov test; weights count by their effective number, which is an approximation."""
    order = np.argsort(x)
    cumulative = np.cumsum(weights[order])
    cumulative /= cumulative[-1]
    expected = np.searchsorted(np.sort(exact), x[order], side="right") / len(exact)
    before = np.concatenate([[0.0], cumulative[:-1]])
    distance = max(np.max(np.abs(cumulative - expected)), np.max(np.abs(before - expected)))
    effective = np.sum(weights) ** 2 / np.sum(weights**2)
    return kolmogorov(distance * np.sqrt(effective * len(exact) / (effective + len(exact))))


def evidence_deviation(sample, target):
    """How many of its own standard errors the evidence is off."""
    return (sample.log_evidence - target.log_evidence) / sample.log_evidence_err
