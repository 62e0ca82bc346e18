"""Posterior of fluxes under a mixture prior, against brute-force importance sampling from the prior."""

import numpy as np
import pytest
from scipy.special import logsumexp

from celestepy.inference.fluxes import flux_posterior, log_flux_mixture
from celestepy.model.parameters import Bands
from celestepy.model.prior_laws import ColorMixture, Normal
from celestepy.model.priors import StarPrior

BANDS = Bands.of("ugriz")
SIGMA = np.array([0.6, 0.25, 0.3, 0.45, 1.8])  # flux errors of one SDSS exposure, nmgy


@pytest.fixture
def laws():
    colors = ColorMixture([0.5, 0.3, 0.2], [[1.0, 0.5, 0.2, 0.1], [1.8, 1.2, 0.8, 0.5], [0.3, 0.8, 0.4, 0.2]],
                          [np.diag([0.1, 0.03, 0.02, 0.02]), np.diag([0.2, 0.02, 0.1, 0.03]), 0.2 * np.eye(4)],
                          slope=[0.05, 0.02, 0.0, 0.0], pivot=1.0)
    return StarPrior(Normal(0.5, 0.5), colors)


def draw(laws, n, rng):
    log_flux = laws.log_flux.sample(n, rng)
    return np.column_stack([log_flux, laws.colors.sample(log_flux, rng)]) @ BANDS.log_flux_matrix.T


def test_mixture_is_the_prior(laws):
    """With a normal flux law the Gaussian mixture is exact, wherever it is expanded."""
    points = draw(laws, 5, np.random.default_rng(1))
    for at in (-1.0, 2.0):
        log_weights, means, covariances = log_flux_mixture(laws, at, BANDS)
        for point in points:
            offsets = point - means
            quadratic = np.einsum("ja,jab,jb->j", offsets, np.linalg.inv(covariances), offsets)
            logs = log_weights - 0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * covariances)[1])
            theta = np.linalg.solve(BANDS.log_flux_matrix, point)
            expected = laws.log_flux.evaluate(theta[0])[0] + laws.colors.evaluate(theta[1:], theta[0])[0]
            assert logsumexp(logs) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_evidence_and_moments(laws, seed):
    rng = np.random.default_rng(seed)
    information = np.diag(1 / SIGMA**2)
    fluxes = np.exp(draw(laws, 1, rng)[0]) + SIGMA * rng.normal(size=5)
    found = flux_posterior(fluxes, information, log_flux_mixture(laws, 1.0, BANDS))
    points = draw(laws, 400_000, rng)
    log_likelihood = -0.5 * np.sum(((np.exp(points) - fluxes) / SIGMA) ** 2, axis=1)
    weights = np.exp(log_likelihood - log_likelihood.max())
    effective = weights.sum() ** 2 / np.sum(weights**2)
    assert effective > 200  # else the reference itself would be noise
    reference = logsumexp(log_likelihood) - np.log(len(points))
    # Sampling error of the reference, and 0.05 nats for the fixed 64 draws per component of the fast one.
    assert found.log_evidence == pytest.approx(reference, abs=0.05 + 4 / np.sqrt(effective))
    weights /= weights.sum()
    mean = weights @ points
    sd = np.sqrt(weights @ (points - mean) ** 2)
    our_mean = found.weights @ found.means
    our_sd = np.sqrt(found.weights @ (np.diagonal(found.covariances, axis1=1, axis2=2) + (found.means - our_mean) ** 2))
    np.testing.assert_array_less(np.abs(our_mean - mean) / sd, 0.15 + 4 / np.sqrt(effective))
    np.testing.assert_allclose(our_sd, sd, rtol=0.2 + 4 / np.sqrt(effective))


def test_bright_source_recovers_the_measurement(laws):
    fluxes = np.array([50.0, 120.0, 200.0, 240.0, 270.0])
    found = flux_posterior(fluxes, np.diag(1 / SIGMA**2), log_flux_mixture(laws, np.log(200.0), BANDS))
    np.testing.assert_allclose(found.weights @ found.flux_means, fluxes, atol=0.3 * SIGMA.max())


def test_negative_fluxes_are_data(laws):
    """A band measured negative pulls the posterior down but leaves it proper."""
    fluxes = np.array([-1.5, 0.3, 1.5, 1.8, -2.0])
    found = flux_posterior(fluxes, np.diag(1 / SIGMA**2), log_flux_mixture(laws, 0.3, BANDS))
    up = flux_posterior(np.abs(fluxes), np.diag(1 / SIGMA**2), log_flux_mixture(laws, 0.3, BANDS))
    assert np.isfinite(found.log_evidence)
    assert (found.weights @ found.means)[0] < (up.weights @ up.means)[0] - 0.3


def test_unmeasured_band_is_the_prior_given_the_others(laws):
    information = np.diag(np.r_[0.0, 1 / SIGMA[1:] ** 2])
    fluxes = np.exp(np.array([0.5, 1.5, 2.0, 2.2, 2.3]))
    found = flux_posterior(fluxes, information, log_flux_mixture(laws, 2.0, BANDS))
    other = flux_posterior(np.r_[1e3, fluxes[1:]], information, log_flux_mixture(laws, 2.0, BANDS))
    np.testing.assert_allclose(found.weights @ found.means, other.weights @ other.means, atol=1e-6)


def test_repeatable(laws):
    arguments = (np.ones(5), np.diag(1 / SIGMA**2), log_flux_mixture(laws, 0.0, BANDS))
    assert flux_posterior(*arguments).log_evidence == flux_posterior(*arguments).log_evidence
