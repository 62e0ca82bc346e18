"""The posterior of a source's fluxes, given linear measurements of them and a mixture prior on their logarithms.

At fixed position and shape an image is linear in the fluxes, so the likelihood is a Gaussian in the fluxes
themselves, negative values included, whereas the prior is a mixture of Gaussians in log flux and colours. The product
is several-peaked for faint sources and skewed wherever a band is hardly detected. One Newton fit per component of the
prior, and importance sampling from the mixture of the fits, give its evidence and moments without a look at a pixel.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import logsumexp, ndtri
from scipy.stats import qmc

__all__ = ["FluxPosterior", "flux_posterior", "log_flux_mixture"]

# Log fluxes are kept where their exponential is finite; nothing real is near.
_LOG_FLUX_LIMIT = 30.0


@dataclass(frozen=True)
class FluxPosterior:
    """Mixture approximation of a posterior of log fluxes.

    Attributes
    ----------
    log_evidence : float
        Log of the integral of likelihood times prior, the likelihood being 1 at its peak.
    weights : `~numpy.ndarray`
        Weights of the components, shape (J,).
    means, covariances : `~numpy.ndarray`
        Moments of the log fluxes in each component, shapes (J, B) and (J, B, B).
    flux_means, flux_covariances, cross_covariances : `~numpy.ndarray`
        Moments of the fluxes themselves, shapes (J, B) and (J, B, B), and the covariances of log flux (first index)
        with flux (second), shape (J, B, B).
    mode : `~numpy.ndarray`
        Log fluxes of the highest peak, shape (B,).
    effective_draws : float
        Effective number of importance draws.
    """

    log_evidence: float
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    flux_means: np.ndarray
    flux_covariances: np.ndarray
    cross_covariances: np.ndarray
    mode: np.ndarray
    effective_draws: float


def flux_posterior(fluxes, information, prior, n_draws=64):
    """Posterior of log fluxes from a Gaussian likelihood of the fluxes.

    Parameters
    ----------
    fluxes : array_like
        Peak of the likelihood in nanomaggies, shape (B,); may be negative.
    information : array_like
        Minus the Hessian of the log likelihood in the fluxes, shape (B, B), positive semi-definite.
    prior : tuple of array_like
        Log weights (J,), means (J, B) and covariances (J, B, B) of the mixture prior of the log fluxes.
    n_draws : int
        Importance draws per component; quasi-random and always the same, so that results are reproducible.

    Returns
    -------
    FluxPosterior
        Evidence and moments.
    """
    fluxes = np.asarray(fluxes, dtype=float)
    information = np.asarray(information, dtype=float)
    prior = _Mixture(*(np.asarray(part, dtype=float) for part in prior))
    modes, values, covariances = _modes(fluxes, information, prior)
    n_bands = len(fluxes)
    signs, log_determinants = np.linalg.slogdet(covariances)
    laplace = values + 0.5 * (n_bands * np.log(2 * np.pi) + log_determinants)
    log_weights = laplace - logsumexp(laplace)
    keep = log_weights > log_weights.max() - 12
    proposal = _Mixture(log_weights[keep] - logsumexp(log_weights[keep]), modes[keep], 1.2 * covariances[keep])
    return _importance(fluxes, information, prior, proposal, modes[np.argmax(values)], n_draws)


def log_flux_mixture(laws, log_flux, bands):
    """The prior of the log fluxes as a Gaussian mixture, exact in the colours and to second order in the brightness.

    Parameters
    ----------
    laws : `~celestepy.model.priors.StarPrior`
        Laws of one type of source.
    log_flux : float
        Log flux of the reference band about which the flux law is expanded.
    bands : `~celestepy.model.parameters.Bands`
        The bands.

    Returns
    -------
    log_weights, means, covariances : `~numpy.ndarray`
        Of the log fluxes of all bands, shapes (J,), (J, B) and (J, B, B).
    """
    value, first, second = laws.log_flux.evaluate(float(log_flux))
    # Where the counts are a pure power law the expansion has no width of its own.
    precision = max(-second, 0.02)
    mean = log_flux + first / precision
    height = value + 0.5 * first**2 / precision + 0.5 * np.log(2 * np.pi / precision)
    colors = laws.colors
    direction = np.concatenate([[1.0], colors.slope])
    n_components, n_bands = len(colors.weights), len(bands)
    means = np.empty((n_components, n_bands))
    means[:, 0], means[:, 1:] = mean, colors.means + colors.slope * (mean - colors.pivot)
    covariances = np.zeros((n_components, n_bands, n_bands))
    covariances[:, 1:, 1:] = colors.covariances
    covariances += np.outer(direction, direction) / precision
    matrix = bands.log_flux_matrix
    return np.log(colors.weights) + height, means @ matrix.T, matrix @ covariances @ matrix.T


class _Mixture:
    """A mixture of multivariate normal densities, ready to be evaluated at many points."""

    def __init__(self, log_weights, means, covariances):
        self.log_weights, self.means, self.covariances = log_weights, means, covariances
        self.roots = np.linalg.cholesky(covariances)
        self.whiteners = np.linalg.inv(self.roots)
        self.precisions = self.whiteners.transpose(0, 2, 1) @ self.whiteners
        size = means.shape[1]
        log_diagonals = np.log(np.diagonal(self.roots, axis1=1, axis2=2)).sum(1)
        self.log_norms = log_weights - log_diagonals - 0.5 * size * np.log(2 * np.pi)

    def log_densities(self, points):
        """Weighted log density of each component at each point, shape (J, n)."""
        offsets = points[None] - self.means[:, None]
        white = offsets @ self.whiteners.transpose(0, 2, 1)
        return self.log_norms[:, None] - 0.5 * np.einsum("jnb,jnb->jn", white, white)


def _log_likelihood(log_fluxes, fluxes, information):
    residuals = np.exp(log_fluxes) - fluxes
    return -0.5 * np.sum((residuals @ information) * residuals, axis=-1)


def _modes(fluxes, information, prior, max_iterations=25):
    """Peak, height and covariance under each component of the prior, by damped Newton steps for all at once."""
    x = _starts(fluxes, information, prior)
    value = _log_joint(x, fluxes, information, prior)
    damping = np.full(len(x), 1e-3)
    eye = np.eye(x.shape[1])
    for _ in range(max_iterations):
        gradient, curvature = _derivatives(x, fluxes, information, prior)
        step = np.linalg.solve(curvature + damping[:, None, None] * eye, gradient[..., None])[..., 0]
        step *= np.minimum(1.0, 3.0 / np.abs(step).max(axis=1))[:, None]
        trial = np.clip(x + step, -_LOG_FLUX_LIMIT, _LOG_FLUX_LIMIT)
        trial_value = _log_joint(trial, fluxes, information, prior)
        better = trial_value >= value - 1e-9
        gain = np.abs(trial_value - value)
        x = np.where(better[:, None], trial, x)
        value = np.where(better, trial_value, value)
        damping = np.where(better, 0.1 * damping, 10 * damping + 1.0)
        if np.all(better & (gain < 1e-4)):
            break
    _, curvature = _derivatives(x, fluxes, information, prior)
    return x, value, np.linalg.inv(curvature)


def _starts(fluxes, information, prior):
    """The measured flux where it means something, else the prior's colours about the best-measured band."""
    snr = fluxes * np.sqrt(np.maximum(np.diagonal(information), 0))
    best = int(np.argmax(snr))
    measured = np.log(np.maximum(fluxes, 1e-3 * max(fluxes[best], 1e-3)))
    shifted = prior.means + (measured[best] - prior.means[:, best])[:, None]
    trusted = snr > 3
    return np.where(trusted, measured, shifted) if snr[best] > 2 else prior.means.copy()


def _log_joint(x, fluxes, information, prior):
    offsets = x - prior.means
    quadratic = np.einsum("jb,jbc,jc->j", offsets, prior.precisions, offsets)
    return _log_likelihood(x, fluxes, information) + prior.log_norms - 0.5 * quadratic


def _derivatives(x, fluxes, information, prior):
    """Gradient and a positive definite curvature (minus the Hessian where that is positive definite)."""
    f = np.exp(x)
    score = (fluxes - f) @ information
    gradient = f * score - np.einsum("jbc,jc->jb", prior.precisions, x - prior.means)
    curvature = prior.precisions + f[:, :, None] * information * f[:, None, :]
    diagonal = np.arange(x.shape[1])
    exact = curvature.copy()
    exact[:, diagonal, diagonal] -= f * score
    indefinite = np.linalg.eigvalsh(exact)[:, 0] < 1e-3
    exact[indefinite] = curvature[indefinite]
    return gradient, exact


@lru_cache(maxsize=16)
def _normal_points(n_points, size):
    """Fixed quasi-random standard normal points, with mean exactly zero by antithetic pairs."""
    half = qmc.Sobol(size, scramble=True, rng=20190101).random(max(n_points // 2, 1))
    points = ndtri(np.clip(half, 1e-9, 1 - 1e-9))
    return np.concatenate([points, -points])


def _importance(fluxes, information, prior, proposal, mode, n_draws):
    n_bands = len(fluxes)
    normal = _normal_points(n_draws, n_bands)
    n_components = len(proposal.means)
    points = proposal.means[:, None] + normal @ proposal.roots.transpose(0, 2, 1)
    points = np.clip(points.reshape(-1, n_bands), -_LOG_FLUX_LIMIT, _LOG_FLUX_LIMIT)
    # Each component is drawn from equally often; the mixture of them all is the proposal density of every draw.
    proposed = proposal.log_densities(points) - proposal.log_weights[:, None]
    log_proposal = logsumexp(proposed, axis=0) - np.log(n_components)
    target = _log_likelihood(points, fluxes, information) + logsumexp(prior.log_densities(points), axis=0)
    log_ratio = target - log_proposal
    top = log_ratio.max()
    ratio = np.exp(log_ratio - top)
    total = ratio.sum()
    weights = ratio / total
    # A draw belongs to the fitted components that could have made it.
    shares = np.exp(proposed + proposal.log_weights[:, None]
                    - logsumexp(proposed + proposal.log_weights[:, None], axis=0)) * weights
    moments = _component_moments(points, shares)
    return FluxPosterior(top + np.log(total / len(points)), *moments, mode, 1.0 / np.sum(weights**2))


def _component_moments(points, shares):
    weights = shares.sum(axis=1)
    keep = weights > 1e-4
    weights, shares = weights[keep], shares[keep]
    shares = shares / weights[:, None]
    f = np.exp(points)
    means, flux_means = shares @ points, shares @ f
    d, df = points[None] - means[:, None], f[None] - flux_means[:, None]
    scaled = shares[:, :, None] * d
    covariances = scaled.transpose(0, 2, 1) @ d
    cross = scaled.transpose(0, 2, 1) @ df
    flux_covariances = (shares[:, :, None] * df).transpose(0, 2, 1) @ df
    return weights / weights.sum(), means, covariances, flux_means, flux_covariances, cross
