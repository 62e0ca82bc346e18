"""The evidence lower bound of mean-field inference, slow and obvious: pixels in NumPy, laws from SciPy.

A source is described by the vector that `celestepy.inference.vi` uses: logit of P(star), u, v, that of log_radius in
its box, eta1, eta2, that of dev_fraction in its box, then means and log variances of (log flux, colours) as a star,
then as a galaxy.
"""

from dataclasses import dataclass

import numpy as np
from reference.pixel_rate import log_likelihood, profile
from scipy.special import betaln, expit
from scipy.stats import beta, multivariate_normal, norm

from celestepy.model.prior_laws import Normal


@dataclass
class Factors:
    """The vector of one source taken apart."""

    star: float
    position: np.ndarray
    log_radius: float
    eta: np.ndarray
    dev_fraction: float
    mean: dict
    variance: dict

    @classmethod
    def of(cls, x):
        """Of a vector of 7 + 4 B entries."""
        means_star, logs_star, means_galaxy, logs_galaxy = np.split(np.asarray(x[7:]), 4)
        return cls(
            star=expit(x[0]),
            position=np.array(x[1:3]),
            log_radius=np.log(0.04) + np.log(28 / 0.04) * expit(x[3]),
            eta=np.array(x[4:6]),
            dev_fraction=0.01 + 0.98 * expit(x[6]),
            mean={"star": means_star, "galaxy": means_galaxy},
            variance={"star": np.exp(logs_star), "galaxy": np.exp(logs_galaxy)},
        )

    @property
    def probability(self):
        """Of each type."""
        return {"star": self.star, "galaxy": 1 - self.star}

    @property
    def entries(self):
        """u, v, dev_fraction, Suu, Suv, Svv."""
        ratio, angle = np.exp(-np.hypot(*self.eta)), np.arctan2(self.eta[1], self.eta[0]) / 2
        major = np.array([np.sin(angle), np.cos(angle)])
        minor = np.array([np.cos(angle), -np.sin(angle)])
        shape = np.exp(2 * self.log_radius) * (np.outer(major, major) / ratio + np.outer(minor, minor) * ratio)
        return np.array([*self.position, self.dev_fraction, shape[0, 0], shape[0, 1], shape[1, 1]])

    def flux_moments(self, kind, row):
        """E[l] and E[l^2] in a band whose log flux is `row` times (log flux, colours)."""
        mean, variance = row @ self.mean[kind], row**2 @ self.variance[kind]
        return np.exp(mean + variance / 2), np.exp(2 * mean + 2 * variance)


def light(factors, scene, n, k, matrix):
    """Mean and variance of the light of source k in patch n."""
    patch, row = scene.patches[n], matrix[scene.bands[n]]
    mean = second = 0.0
    for kind, probability in factors.probability.items():
        shape = profile(patch, scene.psfs[n][k], scene.positions[n, k], scene.jacobians[n, k], kind == "galaxy",
                        factors.entries)
        first_moment, second_moment = factors.flux_moments(kind, row)
        mean = mean + probability * first_moment * shape
        second = second + probability * second_moment * shape**2
    return mean, second - mean**2


def expected_log_likelihood(sources, scene, matrix):
    """Delta method, equations 31 to 38, over all patches; sources are vectors."""
    factors = [Factors.of(x) for x in sources]
    total = 0.0
    for n, patch in enumerate(scene.patches):
        parts = [light(each, scene, n, k, matrix) for k, each in enumerate(factors)]
        mean = patch.background + sum(part[0] for part in parts)
        variance = sum(part[1] for part in parts)
        curvature = patch.data / mean**2 if patch.poisson else 1.0
        total += log_likelihood(patch, mean) - np.sum(patch.weight * curvature * variance) / 2
    return total


def flux_divergence(law, mean, variance):
    """KL of a normal law of the log flux from its prior: equation 49, or its integral."""
    if isinstance(law, Normal):
        return 0.5 * (np.log(law.sd**2 / variance) + (variance + (mean - law.mean) ** 2) / law.sd**2 - 1)
    # sums over an even grid are exact to rounding for a smooth integrand that vanishes at both ends
    x, step = np.linspace(mean - 10 * np.sqrt(variance), mean + 10 * np.sqrt(variance), 2001, retstep=True)
    log_q = norm.logpdf(x, mean, np.sqrt(variance))
    return step * np.sum(np.exp(log_q) * (log_q - log_flux_density(law, x)))


def log_flux_density(law, x):
    """Log density of a scaled logit of a Beta variable."""
    t = (x - law.location) / law.scale
    return law.a * np.log(expit(t)) + law.b * np.log(expit(-t)) - betaln(law.a, law.b) - np.log(law.scale)


def color_divergence(mixture, mean, variance):
    """Equations 41 and 42 with the weights xi written out; mean and variance of (log flux, colours)."""
    expected = []
    for center, covariance, slope in zip(mixture.means, mixture.covariances, mixture.slopes, strict=True):
        at_mean = multivariate_normal(center + slope * (mean[0] - mixture.pivot), covariance).logpdf(mean[1:])
        spread = np.diag(variance[1:]) + variance[0] * np.outer(slope, slope)
        expected.append(at_mean - 0.5 * np.trace(np.linalg.solve(covariance, spread)))
    entropy = 0.5 * np.sum(np.log(2 * np.pi * np.e * variance[1:]))
    divergences = -entropy - np.array(expected)
    xi = mixture.weights * np.exp(divergences.min() - divergences)
    xi /= xi.sum()
    used = xi > 0
    return np.sum(xi[used] * (np.log(xi[used] / mixture.weights[used]) + divergences[used]))


def shape_divergence(factors, galaxy):
    """Equations 45, 47 and 48: minus the log densities at the point masses, but for the radius."""
    law = galaxy.axis_ratio
    # the law is that of exp(-h), a Beta law cut off at exp(-softening), and of a uniform angle in degrees
    ratio = np.exp(-np.sqrt(factors.eta @ factors.eta + law.softening**2))
    cut = beta.cdf(np.exp(-law.softening), law.a, law.b)
    axis = beta.logpdf(ratio, law.a, law.b) - np.log(cut) - np.log(180)
    law = galaxy.dev_fraction
    assert (law.location, law.scale) == (0.0, 1.0)
    return -axis - beta.logpdf(factors.dev_fraction, law.a, law.b)


def radius_divergence(factors, kind, law):
    """Equation 46, about a mean that may depend on the flux."""
    mean = law.mean + law.slope * (factors.mean[kind][0] - law.pivot)
    spread = law.slope**2 * factors.variance[kind][0] / (2 * law.sd**2)
    return factors.log_radius - norm.logpdf(factors.log_radius, mean, law.sd) + spread


def divergence(x, prior, position_sd):
    """All the Kullback-Leibler terms of one source."""
    factors = Factors.of(x)
    total = shape_divergence(factors, prior.galaxy) - np.sum(norm.logpdf(factors.position, 0, position_sd))
    shares = {"star": prior.star_fraction, "galaxy": 1 - prior.star_fraction}
    for kind, probability in factors.probability.items():
        laws, mean, variance = getattr(prior, kind), factors.mean[kind], factors.variance[kind]
        inner = flux_divergence(laws.log_flux, mean[0], variance[0]) + color_divergence(laws.colors, mean, variance)
        inner += radius_divergence(factors, kind, prior.galaxy.log_radius)
        total += probability * (np.log(probability / shares[kind]) + inner)
    return total


def lower_bound(sources, scene, prior, position_sds):
    """The evidence lower bound of all sources together, in the patches of a scene."""
    pixels = expected_log_likelihood(sources, scene, prior.bands.log_flux_matrix)
    return pixels - sum(divergence(x, prior, sd) for x, sd in zip(sources, position_sds, strict=True))
