"""The posterior of log fluxes, slow and obvious: the algorithm of `celestepy.inference.fluxes` in NumPy.

`flux_posterior` does what the kernel does, draw by draw the same; `brute_force` integrates the same density
with many random draws of a broad proposal that knows nothing of modes.
"""

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal


class Target:
    """Log posterior of the log fluxes x: Gaussian likelihood in e^x, mixture prior, law of the brightness."""

    def __init__(self, fluxes, information, prior):
        self.fluxes, self.information = np.asarray(fluxes, float), np.asarray(information, float)
        self.prior, self.n_bands = prior, len(self.fluxes)

    def log_likelihood(self, x):
        residuals = np.exp(x) - self.fluxes
        return -0.5 * np.sum((residuals @ self.information) * residuals, axis=-1)

    def log_component(self, j, x):
        """Component j of the prior."""
        density = multivariate_normal(self.prior.means[j], self.prior.covariances[j])
        return self.prior.log_weights[j] + density.logpdf(x)

    def excess(self, x):
        """Exact law of the brightness less its expansion, with the first two derivatives."""
        if not len(self.prior.law):
            zero = np.zeros(np.shape(x)[:-1])
            return zero, zero, zero
        band, a, b, location, scale, log_normalisation, at, value, first, precision = self.prior.law
        offset = x[..., int(band)] - at
        t = (x[..., int(band)] - location) / scale
        share = 1 / (1 + np.exp(-t))
        exact = log_normalisation + a * t - (a + b) * np.logaddexp(0, t)
        return (exact - value - first * offset + 0.5 * precision * offset**2,
                (a - (a + b) * share) / scale - first + precision * offset,
                precision - (a + b) * share * (1 - share) / scale**2)

    def log_joint(self, j, x):
        return self.log_likelihood(x) + self.log_component(j, x) + self.excess(x)[0]

    def log_density(self, x):
        components = [self.log_component(j, x) for j in range(len(self.prior.means))]
        return self.log_likelihood(x) + logsumexp(components, axis=0) + self.excess(x)[0]

    def derivatives(self, j, x):
        """Gradient and a positive definite curvature."""
        f = np.exp(x)
        slope = f * (self.information @ (self.fluxes - f))
        precision = np.linalg.inv(self.prior.covariances[j])
        gradient = slope - precision @ (x - self.prior.means[j])
        curvature = precision + f[:, None] * self.information * f
        if len(self.prior.law):
            band = int(self.prior.law[0])
            _, first, second = self.excess(x)
            gradient[band] += first
            curvature[band, band] -= second
        exact = curvature - np.diag(slope)
        return gradient, exact if np.linalg.eigvalsh(exact)[0] > 1e-3 else curvature


def start(target, j):
    """The measured flux where it means something, else the prior's colours about the best-measured band."""
    snr = target.fluxes * np.sqrt(np.diagonal(target.information))
    best = int(np.argmax(snr))
    typical = target.prior.typical_means[j]
    if snr[best] <= 2:
        return np.clip(typical, -30, 30)
    measured = np.log(np.maximum(target.fluxes, 1e-3 * max(target.fluxes[best], 1e-3)))
    return np.clip(np.where(snr > 3, measured, typical + measured[best] - typical[best]), -30, 30)


def find_mode(target, j):
    """Mode under component j by damped Newton steps, the value and the curvature there."""
    x = start(target, j)
    value, damping = target.log_joint(j, x), 1e-3
    for _ in range(40):
        gradient, curvature = target.derivatives(j, x)
        step = np.linalg.solve(curvature + damping * np.eye(len(x)), gradient)
        largest = np.abs(step).max()
        trial = np.clip(x + step * min(1.0, 3.0 / largest) if largest > 0 else x, -30, 30)
        gain = target.log_joint(j, trial) - value
        if gain < -1e-9:
            damping = 10 * damping + 1
            continue
        x, value, damping = trial, value + gain, 0.1 * damping
        if gain < 1e-4:
            break
    return x, value, target.derivatives(j, x)[1]


class Proposal:
    """Two-sided normal density about a mean: each axis has one width below and one above."""

    def __init__(self, mean, root, scale, log_weight):
        self.mean, self.root, self.scale, self.log_weight = mean, root, scale, log_weight

    def draw(self, points):
        scaled = np.where(points > 0, self.scale[1], self.scale[0]) * points
        return np.clip(self.mean + scaled @ self.root.T, -30, 30)

    def log_density(self, x):
        y = np.linalg.solve(self.root, (x - self.mean).T).T
        scale = np.where(y >= 0, self.scale[1], self.scale[0])
        norm = np.log(np.abs(np.linalg.det(self.root))) + np.log(np.sqrt(2 * np.pi) * scale).sum(axis=-1)
        return -0.5 * np.sum((y / scale) ** 2, axis=-1) - norm


def ordered_root(covariance, order):
    """Root of a covariance that is lower triangular in the given order of the bands."""
    root = np.zeros_like(covariance)
    root[order] = np.linalg.cholesky(covariance[np.ix_(order, order)])
    return root


def proposals(target):
    """Those about the modes, then those of the prior itself where the posterior reaches zero flux."""
    prior, n_bands = target.prior, target.n_bands
    order = np.argsort(-target.fluxes * np.sqrt(np.diagonal(target.information)), kind="stable")
    fitted, wide = [], []
    for j in range(len(prior.means)):
        mode, value, curvature = find_mode(target, j)
        root = ordered_root(np.linalg.inv(curvature), order)
        axes = np.array([-root.T, root.T])
        scale = np.array([[width(target, j, mode, value, axis) for axis in side] for side in axes])
        volume = np.log(scale.mean(axis=0)).sum() - 0.5 * np.linalg.slogdet(curvature)[1]
        fitted.append(Proposal(mode, root, scale, value + volume + 0.5 * n_bands * np.log(2 * np.pi)))
        if any(target.log_joint(j, mode - fall) > value - 9 for fall in (3.0, 4.5)):
            log_weight = prior.typical_log_weights[j] + target.log_likelihood(np.full(n_bands, -700.0))
            root = ordered_root(prior.typical_covariances[j], order)
            wide.append(Proposal(prior.typical_means[j], root, np.ones((2, n_bands)), log_weight))
    return fitted, wide


def width(target, j, mode, value, axis):
    """Of the normal density that covers the fall of the log joint along an axis."""
    reaches = np.array([1.0, 2.0, 3.5])
    falls = np.array([max(value - target.log_joint(j, mode + reach * axis), 1e-3) for reach in reaches])
    return np.clip(np.max(reaches / np.sqrt(2 * falls)), 0.6, 4.0)


def flux_posterior(fluxes, information, prior, points, few):
    """Evidence, effective draws, weights, and moments of log flux and flux, as the kernel finds them."""
    target = Target(fluxes, information, prior)
    fitted, wide = proposals(target)
    weights = np.array([q.log_weight for q in fitted + wide])
    is_major = np.exp(weights - logsumexp(weights)) > 0.02
    used = [(q, points if major else few) for q, major in zip(fitted + wide, is_major, strict=True)
            if q.log_weight > weights.max() - 10]
    counts = np.array([len(each) for _, each in used])
    x = np.concatenate([q.draw(each) for q, each in used])
    densities = np.array([q.log_density(x) for q, _ in used])
    log_ratio = target.log_density(x) - logsumexp(densities + np.log(counts / len(x))[:, None], axis=0)
    log_evidence = logsumexp(log_ratio) - np.log(len(x))
    ratio = np.exp(log_ratio - logsumexp(log_ratio))
    shares = densities + np.array([q.log_weight for q, _ in used])[:, None]
    shares = np.exp(shares - logsumexp(shares, axis=0)) * ratio
    return log_evidence, 1 / np.sum(ratio**2), *moments(x, shares)


def moments(x, shares):
    """Weights, and means and covariances of log flux and flux, of parts of a weighted sample."""
    weights = shares.sum(axis=1)
    both = np.concatenate([x, np.exp(x)], axis=1)
    keep = weights > 1e-4
    means, covariances = [], []
    for share, weight in zip(shares[keep], weights[keep], strict=True):
        means.append(share @ both / weight)
        covariances.append((share / weight * (both - means[-1]).T) @ (both - means[-1]))
    return weights[keep] / weights[keep].sum(), np.array(means), np.array(covariances)


def brute_force(fluxes, information, prior, n_draws, rng):
    """Log evidence, mean, standard deviation and effective draws of the log fluxes."""
    target = Target(fluxes, information, prior)
    shares = np.exp(prior.typical_log_weights - logsumexp(prior.typical_log_weights))
    snr = target.fluxes * np.sqrt(np.diagonal(target.information))
    best = int(np.argmax(snr))
    components = []  # (share, mean, covariance): the prior, and its colours about the best-measured flux
    for share, mean, covariance in zip(shares, prior.typical_means, prior.typical_covariances, strict=True):
        components.append((0.5 * share, mean, 2 * covariance))
        if snr[best] > 0:
            shift = np.log(target.fluxes[best]) - mean[best]
            gain = covariance[:, best] / covariance[best, best]
            rest = covariance - np.outer(gain, gain) * covariance[best, best]
            components.append((0.5 * share, mean + gain * shift,
                               2 * rest + np.outer(gain, gain) * 2 / max(snr[best], 0.5) ** 2))
    weights = np.array([share for share, _, _ in components]) / sum(share for share, _, _ in components)
    counts = rng.multinomial(n_draws, weights)
    x = np.concatenate([rng.multivariate_normal(mean, covariance, size=count)
                        for (_, mean, covariance), count in zip(components, counts, strict=True)])
    x = x[np.all(x < 30, axis=1)]
    proposal = logsumexp([np.log(weight) + multivariate_normal(mean, covariance).logpdf(x)
                          for weight, (_, mean, covariance) in zip(weights, components, strict=True)], axis=0)
    log_ratio = target.log_density(x) - proposal
    ratio = np.exp(log_ratio - logsumexp(log_ratio))
    mean = ratio @ x
    sd = np.sqrt(ratio @ (x - mean) ** 2)
    return logsumexp(log_ratio) - np.log(n_draws), mean, sd, 1 / np.sum(ratio**2)
