"""The posterior of the profile against a sum over logit_dev, evidence included."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit
from scipy.stats import beta, norm

from celestepy.inference.profile import refine_profile
from celestepy.inference.sources import SourcePosterior
from celestepy.model.parameters import GALAXY, layout
from celestepy.model.prior_laws import LogisticBeta
from celestepy.model.priors import Prior

LAW = Prior.default().galaxy.dev_fraction
AT = layout(GALAXY, 2)
X, REST = AT.logit_dev, np.delete(np.arange(AT.size), AT.logit_dev)


class Galaxy:
    """A likelihood that is Gaussian in dev_fraction and all other parameters, and its exact posterior."""

    def __init__(self, peak, sd, law=LAW, seed=1):
        rng = np.random.default_rng(seed)
        root = np.eye(AT.size) + 0.3 * rng.normal(size=(AT.size, AT.size))
        root[X] *= sd / np.linalg.norm(root[X])
        self.precision = np.linalg.inv(root @ root.T)
        self.law, self.peak, self.centre = law, peak, rng.normal(size=AT.size - 1)
        within = self.precision[np.ix_(REST, REST)]
        self.spread = np.linalg.inv(within)
        self.slope = -self.spread @ self.precision[REST, X]
        self.curvature = self.precision[X, X] + self.precision[X, REST] @ self.slope

    def log_density(self, x):
        """Likelihood times prior at logit_dev, all else at its best."""
        return -0.5 * self.curvature * (expit(x) - self.peak) ** 2 + self.law.evaluate(x)[0]

    def fit(self):
        """Mode, and the inverse of the Hessian there."""
        x = minimize_scalar(lambda x: -self.log_density(x), bounds=(-40, 40), method="bounded",
                            options={"xatol": 1e-12}).x
        d, rate = expit(x), expit(x) * expit(-x)
        mode = np.empty(AT.size)
        mode[X], mode[REST] = x, self.centre + self.slope * (d - self.peak)
        hessian = self.precision.copy()
        hessian[X] *= rate
        hessian[:, X] *= rate
        hessian[X, X] += self.curvature * (d - self.peak) * rate * (1 - 2 * d) - self.law.evaluate(x)[2]
        return mode, np.linalg.inv(hessian)

    def exact(self):
        """Log evidence, mean and covariance; of logit_dev the middle and half width of the central 68.3%."""
        x = np.linspace(self.law.mean - 14 * self.law.sd, self.law.mean + 14 * self.law.sd, 12001)
        logs = np.array([self.log_density(value) for value in x])
        weights = np.exp(logs - logs.max())
        total = weights.sum() * (x[1] - x[0])
        log_evidence, weights = logs.max() + np.log(total), weights / weights.sum()
        parts = np.stack([x, expit(x)])
        mean = parts @ weights
        (var_x, cross), (_, var_d) = (parts - mean[:, None]) * weights @ (parts - mean[:, None]).T
        low, high = np.interp(norm.cdf([-1, 1]), np.cumsum(weights) - 0.5 * weights, x)
        width = (high - low) / 2
        result, covariance = np.empty(AT.size), np.empty((AT.size, AT.size))
        result[X], result[REST] = (low + high) / 2, self.centre + self.slope * (mean[1] - self.peak)
        covariance[X] = covariance[:, X] = np.insert(self.slope * cross * width / np.sqrt(var_x), X, width**2)
        covariance[np.ix_(REST, REST)] = self.spread + np.outer(self.slope, self.slope) * var_d
        return log_evidence, result, covariance


GALAXIES = {"middle": (0.5, 0.03), "middling": (0.5, 0.3), "disk": (-0.02, 0.05), "certain disk": (0.002, 0.004),
            "elliptical": (1.1, 0.1), "anything": (0.3, 4.0)}


@pytest.mark.parametrize("name", GALAXIES)
@pytest.mark.parametrize("law", [LAW, LogisticBeta(2.0, 2.0), LogisticBeta(0.5, 3.0, location=0.3, scale=0.7)])
def test_agrees_with_the_sum(name, law):
    """The likelihood is what the refinement takes it for: only the 129 nodes are approximate, to better than 1e-3."""
    galaxy = Galaxy(*GALAXIES[name], law)
    mode, covariance = galaxy.fit()
    source = SourcePosterior(GALAXY, np.ones(1), mode[None], covariance[None])
    found, correction = refine_profile(source, mode, law)
    log_evidence, mean, exact = galaxy.exact()
    laplace = galaxy.log_density(mode[X]) + 0.5 * np.log(2 * np.pi * covariance[X, X])
    assert laplace + correction == pytest.approx(log_evidence, abs=2e-3)
    sd = np.sqrt(np.diagonal(exact))
    np.testing.assert_allclose((found.means[0] - mean) / sd, 0, atol=5e-3)
    np.testing.assert_allclose(found.covariances[0] / np.outer(sd, sd), exact / np.outer(sd, sd), atol=1e-2)
    np.testing.assert_allclose(found.weights, 1)


@pytest.mark.parametrize("name", ["disk", "elliptical", "anything"])
def test_the_gaussian_alone_is_not_good_enough(name):
    """What the refinement is for: errors in the logit that are far too small."""
    galaxy = Galaxy(*GALAXIES[name])
    mode, covariance = galaxy.fit()
    assert np.sqrt(covariance[X, X] / galaxy.exact()[2][X, X]) < 0.7


def test_nothing_known_gives_the_prior():
    galaxy = Galaxy(0.5, 1e3)
    mode, covariance = galaxy.fit()
    found, _ = refine_profile(SourcePosterior(GALAXY, np.ones(1), mode[None], covariance[None]), mode, LAW)
    low, high = (found.means[0, X] + sign * np.sqrt(found.covariances[0, X, X]) for sign in (-1, 1))
    assert expit(low) == pytest.approx(beta(LAW.a, LAW.b).ppf(norm.cdf(-1)), rel=0.02)
    assert expit(-high) == pytest.approx(beta(LAW.b, LAW.a).ppf(norm.cdf(-1)), rel=0.02)


def test_components_are_weighed_against_each_other():
    """Of two components, the one whose profile the prior prefers gains; the evidences add up."""
    galaxy = Galaxy(0.4, 0.1)
    mode, covariance = galaxy.fit()
    means = np.stack([mode, mode])
    means[1, X] += 0.5 * np.sqrt(covariance[X, X])
    source = SourcePosterior(GALAXY, np.array([0.3, 0.7]), means, np.stack([covariance] * 2))
    both, total = refine_profile(source, mode, LAW)
    corrections = [refine_profile(SourcePosterior(GALAXY, np.ones(1), mean[None], covariance[None]), mode, LAW)[1]
                   for mean in means]
    logs = np.log([0.3, 0.7]) + corrections
    assert total == pytest.approx(np.logaddexp.reduce(logs))
    np.testing.assert_allclose(both.weights, np.exp(logs - total))


def test_covariances_stay_proper():
    for name, (peak, sd) in GALAXIES.items():
        mode, covariance = Galaxy(peak, sd).fit()
        found, _ = refine_profile(SourcePosterior(GALAXY, np.ones(1), mode[None], covariance[None]), mode, LAW)
        scale = np.sqrt(np.diagonal(found.covariances[0]))
        assert np.linalg.eigvalsh(found.covariances[0] / np.outer(scale, scale))[0] > 1e-9, name


def test_law_is_the_beta_law():
    """The reference's prior is a Beta law of the fraction."""
    x = 0.7
    expected = beta(LAW.a, LAW.b).logpdf(expit(x)) + np.log(expit(x) * expit(-x))
    assert LAW.evaluate(x)[0] == pytest.approx(expected)
