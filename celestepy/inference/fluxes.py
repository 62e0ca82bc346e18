"""The posterior of a source's fluxes: linear measurements of them, and a mixture prior on their logarithms.

At fixed position and shape an image is linear in the fluxes, so the likelihood is a Gaussian in the fluxes
themselves, negative values included, whereas the prior is a mixture of Gaussians in log flux and colours. The
product is several-peaked for faint sources and skewed wherever a band is hardly detected. One Newton fit per
component of the prior, and importance sampling from skewed normal densities about the fits, give its evidence
and moments without a look at a pixel. Where the posterior reaches down to no flux at all, which no density
about a mode describes, the prior itself is sampled too.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtri
from scipy.stats import chi, qmc

from celestepy.inference import _fluxes
from celestepy.model.prior_laws import LogisticBeta

__all__ = ["FluxPosterior", "LogFluxPrior", "flux_mode", "flux_posterior", "log_flux_mixture"]

# Components with less weight than this say nothing that a catalogue could show.
_LEAST_WEIGHT = 1e-4
# The least precision of an expansion: where the counts are a pure power law it has no width of its own.
_LEAST_PRECISION = 0.02
_EXACT = np.zeros(0)


@dataclass(frozen=True, eq=False)
class LogFluxPrior:
    """Prior of the log fluxes in all bands: a Gaussian mixture, and the exact law of the brightness.

    It can be unpacked like the tuple ``(log_weights, means, covariances)``.

    Attributes
    ----------
    log_weights, means, covariances : `~numpy.ndarray`
        The mixture with the law of the brightness expanded to second order about one log flux, shapes (J,),
        (J, B) and (J, B, B).
    typical_log_weights, typical_means, typical_covariances : `~numpy.ndarray`
        The same with the law expanded about its own mode.
    law : `~numpy.ndarray`
        Empty where the expansion is exact, else reference band, constants of the law, and the expansion.
    """

    log_weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    typical_log_weights: np.ndarray
    typical_means: np.ndarray
    typical_covariances: np.ndarray
    law: np.ndarray

    def __iter__(self):
        return iter((self.log_weights, self.means, self.covariances))

    @classmethod
    def of(cls, prior):
        """`prior` itself, or an exact mixture from a tuple of three arrays."""
        if isinstance(prior, cls):
            return prior
        log_weights, means, covariances = (np.ascontiguousarray(part, dtype=float) for part in prior)
        n_components, n_bands = means.shape
        if log_weights.shape != (n_components,) or covariances.shape != (n_components, n_bands, n_bands):
            raise ValueError(
                f"prior has shapes {log_weights.shape}, {means.shape} and {covariances.shape}; "
                "expected (J,), (J, B) and (J, B, B)"
            )
        return cls(log_weights, means, covariances, log_weights, means, covariances, _EXACT)


@dataclass(frozen=True)
class FluxPosterior:
    """Mixture approximation of a posterior of log fluxes.

    Attributes
    ----------
    log_evidence : float
        Log of the integral of likelihood times prior, the likelihood being 1 at its peak.
    weights : `~numpy.ndarray`
        Weights of the components, shape (K,): one for each component of the prior that counts, and one more
        where the posterior reaches down to no flux.
    means, covariances : `~numpy.ndarray`
        Moments of the log fluxes in each component, shapes (K, B) and (K, B, B).
    flux_means, flux_covariances, cross_covariances : `~numpy.ndarray`
        Moments of the fluxes themselves, shapes (K, B) and (K, B, B), and the covariances of log flux (first
        index) with flux (second), shape (K, B, B).
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
    effective_draws: float


def flux_posterior(fluxes, information, prior, n_draws=64):
    """Posterior of log fluxes from a Gaussian likelihood of the fluxes.

    Parameters
    ----------
    fluxes : array_like
        Peak of the likelihood in nanomaggies, shape (B,); may be negative.
    information : array_like
        Minus the Hessian of the log likelihood in the fluxes, shape (B, B), positive semi-definite.
    prior : LogFluxPrior or tuple of array_like
        The prior of the log fluxes; or log weights (J,), means (J, B) and covariances (J, B, B) of a mixture.
    n_draws : int
        Importance draws per component that matters, half as many for the others; quasi-random and always the
        same, so that results are reproducible.

    Returns
    -------
    FluxPosterior
        Evidence and moments.

    Raises
    ------
    ValueError
        If shapes disagree, there are more bands than the kernel takes, or a covariance is not positive
        definite.
    """
    fluxes, information, prior = _checked(fluxes, information, prior)
    n_bands, most = len(fluxes), 2 * len(prior.log_weights)
    moments = np.empty((most, 1 + 2 * n_bands + 3 * n_bands**2))
    summary = np.full(2, np.nan)
    n_components = _fluxes.integrate(
        fluxes,
        information,
        prior.law,
        prior.log_weights,
        prior.means,
        prior.covariances,
        prior.typical_log_weights,
        prior.typical_means,
        prior.typical_covariances,
        *_normal_points(n_draws, n_bands),
        summary,
        moments,
    )
    if n_components == -1:
        raise MemoryError(f"no memory for {most * n_draws} importance draws")
    if n_components < -1:
        raise ValueError(f"prior: covariance {-2 - n_components} is not positive definite")
    return _posterior(summary, moments[:n_components], n_bands)


def _posterior(summary, moments, n_bands):
    moments = moments[moments[:, 0] > _LEAST_WEIGHT]
    ends = np.cumsum([1, n_bands, n_bands, n_bands**2, n_bands**2])
    weights, means, flux_means, *squares = np.split(moments, ends, axis=1)
    covariances, flux_covariances, cross = (part.reshape(-1, n_bands, n_bands) for part in squares)
    return FluxPosterior(
        float(summary[0]),
        weights[:, 0] / weights.sum(),
        means,
        covariances,
        flux_means,
        flux_covariances,
        cross,
        float(summary[1]),
    )


def flux_mode(fluxes, information, prior):
    """Log fluxes of the highest peak of the posterior over the components of the prior.

    Parameters
    ----------
    fluxes, information, prior
        As in `flux_posterior`.

    Returns
    -------
    `~numpy.ndarray`
        Shape (B,).

    Raises
    ------
    ValueError
        As in `flux_posterior`.
    """
    fluxes, information, prior = _checked(fluxes, information, prior)
    mode = np.empty(len(fluxes))
    if not _fluxes.find_highest(fluxes, information, prior.law, *prior, prior.typical_means, mode):
        raise ValueError("prior: a covariance is not positive definite")
    return mode


def _checked(fluxes, information, prior):
    """The arguments as the kernel takes them."""
    fluxes = np.ascontiguousarray(fluxes, dtype=float)
    information = np.ascontiguousarray(information, dtype=float)
    prior = LogFluxPrior.of(prior)
    n_bands = prior.means.shape[1]
    if not 0 < n_bands <= _fluxes.MAX_N_BANDS:
        raise ValueError(f"prior has {n_bands} bands; expected 1 to {_fluxes.MAX_N_BANDS}")
    if fluxes.shape != (n_bands,) or information.shape != (n_bands, n_bands):
        raise ValueError(
            f"fluxes and information have shapes {fluxes.shape} and {information.shape}; "
            f"expected ({n_bands},) and ({n_bands}, {n_bands}), the bands of the prior"
        )
    return fluxes, information, prior


def log_flux_mixture(laws, log_flux, bands):
    """The prior of the log fluxes, a Gaussian mixture but for the law of the brightness.

    Parameters
    ----------
    laws : `~celestepy.model.priors.StarPrior`
        Laws of one type of source.
    log_flux : float
        Log flux of the reference band about which the law of the brightness is expanded.
    bands : `~celestepy.model.parameters.Bands`
        The bands.

    Returns
    -------
    LogFluxPrior
        The mixture; exact where the law of the brightness is normal.
    """
    law, log_flux = laws.log_flux, float(log_flux)
    value, first, second = law.evaluate(log_flux)
    precision = max(-second, _LEAST_PRECISION)
    mixture = _expand(laws.colors, bands, log_flux, value, first, precision)
    if not isinstance(law, LogisticBeta):
        return LogFluxPrior.of(mixture)
    peak = law.location + law.scale * np.log(law.a / law.b)
    top, _, curvature = law.evaluate(peak)
    excess = np.array([bands.reference_index, *law.constants, log_flux, value, first, precision])
    return LogFluxPrior(*mixture, *_expand(laws.colors, bands, peak, top, 0.0, -curvature), excess)


def _expand(colors, bands, at, value, first, precision):
    """Mixture with the density ``exp(value + first d - precision d^2 / 2)`` of d = log flux - at."""
    n_components, n_bands = len(colors.weights), len(bands)
    mean = at + first / precision
    height = value + 0.5 * first**2 / precision + 0.5 * np.log(2 * np.pi / precision)
    mixture = tuple(
        np.empty(shape) for shape in [(n_components,), (n_components, n_bands), (n_components, n_bands, n_bands)]
    )
    _fluxes.expand(
        np.log(colors.weights),
        colors.means,
        colors.covariances,
        colors.slopes,
        bands.log_flux_matrix,
        mean,
        1 / precision,
        mean - colors.pivot,
        height,
        *mixture,
    )
    return mixture


@lru_cache(maxsize=32)
def _normal_points(n_points, size):
    """Fixed quasi-random standard normal points in two sets, of `n_points` and of half as many."""
    return tuple(_balanced_points(max(n_points // share, 1), size) for share in (2, 4))


def _balanced_points(half, size):
    """Pairs of opposite points whose radii are the quantiles of their law and whose covariance is nearly one.

    The ratio of two normal densities of unlike widths depends on the radius alone: that is what must be
    sampled well.
    """
    points = ndtri(np.clip(qmc.Sobol(size, scramble=True, rng=20190101).random(half), 1e-9, 1 - 1e-9))
    radii = chi(size).ppf((np.argsort(np.argsort(np.linalg.norm(points, axis=1))) + 0.5) / half)
    for _ in range(20 if half > 2 * size else 0):
        points *= (radii / np.linalg.norm(points, axis=1))[:, None]
        points = points @ np.linalg.inv(np.linalg.cholesky(points.T @ points / half)).T
    points *= (radii / np.linalg.norm(points, axis=1))[:, None]
    return np.concatenate([points, -points])
