"""Fits of a group of sources under given types: the joint mode, its covariance, and the evidence.

The mode is found by trust-region Newton over all parameters of the group at once; the evidence and the moments start
from Laplace's approximation there. The fluxes are then treated better than that: at fixed position and shape the
likelihood is Gaussian in the fluxes themselves, so their posterior under the full mixture prior is integrated by
importance sampling of that Gaussian alone (`celestepy.inference.fluxes`), everything else following linearly. So are
the profile of a galaxy (`celestepy.inference.profile`) and its ellipticity (`celestepy.inference.ellipticity`).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from celestepy.inference.ellipticity import refine_ellipticity
from celestepy.inference.fluxes import flux_posterior, log_flux_mixture
from celestepy.inference.newton import Minimum, TrustRegion
from celestepy.inference.profile import refine_profile
from celestepy.inference.sources import SourcePosterior
from celestepy.model.parameters import GALAXY, layout

__all__ = ["Hypothesis", "fit_hypothesis"]

# Posteriors whose mean position or shape lies more than this many standard deviations from the mode are not the ones
# that were expanded about it.
_MOST_SHIFT = 2.0


@dataclass(frozen=True)
class Hypothesis:
    """A group fitted under one assignment of types.

    Attributes
    ----------
    kinds : tuple of str
        Type of each source.
    minimum : Minimum
        The joint mode.
    log_evidence : float
        Log evidence, the prior probabilities of the types not included.
    sources : tuple of SourcePosterior
        Marginal posterior of each source.
    vectors : tuple of `~numpy.ndarray`
        Free vector of each source at the mode.
    sky : `~numpy.ndarray`
        Sky levels at the mode.
    """

    kinds: tuple
    minimum: Minimum
    log_evidence: float
    sources: tuple
    vectors: tuple
    sky: np.ndarray


def fit_hypothesis(posterior, kinds, vectors, settings=None, sky=None, refine=True):
    """Fit a group under one assignment of types.

    Parameters
    ----------
    posterior : `~celestepy.inference.posterior.GroupPosterior`
        Log posterior of the group.
    kinds : sequence of str
        Types.
    vectors : sequence of array_like
        Free vectors to start from.
    settings : TrustRegion, optional
        Of the iteration.
    sky : array_like, optional
        Sky levels to start from, zero by default.
    refine : bool
        Whether to integrate over the fluxes beyond Laplace's approximation.

    Returns
    -------
    Hypothesis
        The fit.
    """
    kinds = tuple(kinds)
    settings = settings or TrustRegion()
    sky = np.zeros(posterior.n_images) if sky is None else sky
    minimum = settings.minimise(posterior.objective(kinds), np.concatenate([*vectors, sky]), posterior.scale(kinds))
    blocks, sky_block = posterior.blocks(kinds)
    at_mode = tuple(minimum.x[block] for block in blocks)
    covariance = _covariance(minimum.hessian)
    if covariance is None:
        broken = tuple(
            SourcePosterior(kind, np.ones(1), vector[None], np.diag(posterior.scale(kinds)[block] ** 2)[None])
            for kind, vector, block in zip(kinds, at_mode, blocks, strict=True)
        )
        return Hypothesis(kinds, minimum, -np.inf, broken, at_mode, minimum.x[sky_block])
    covariance, log_determinant = covariance
    log_evidence = -minimum.value + 0.5 * len(minimum.x) * np.log(2 * np.pi) - 0.5 * log_determinant
    sources = []
    for kind, block in zip(kinds, blocks, strict=True):
        source = SourcePosterior(kind, np.ones(1), minimum.x[block][None], covariance[block, block][None])
        if refine:
            source, correction = _refined(source, posterior, block, minimum, covariance)
            log_evidence += correction
        sources.append(source)
    return Hypothesis(kinds, minimum, float(log_evidence), tuple(sources), at_mode, minimum.x[sky_block])


def _refined(gaussian, posterior, block, minimum, covariance):
    """The posterior of one source beyond its Gaussian, where that can be had, and the change of the log evidence."""
    kind, mode = gaussian.kind, minimum.x[block]
    source, correction = _Reduction(posterior, kind, block, minimum, covariance).refine()
    source = source or gaussian
    if kind == GALAXY:
        laws = posterior.prior.galaxy
        for refine, law in ((refine_profile, laws.dev_fraction), (refine_ellipticity, laws.axis_ratio)):
            source, more = refine(source, mode, law)
            correction += more
    if _is_near(source, mode, covariance[block, block], posterior.scale((kind,))):
        return source, correction
    return gaussian, 0.0


def _is_near(source, mode, covariance, scale):
    """Whether a refined posterior stays where the fit found the source; linear reductions can lead anywhere."""
    reach = 4 * (np.sqrt(np.diagonal(covariance)) + scale[: mode.size])
    spread = np.sqrt(np.diagonal(source.covariances, axis1=1, axis2=2))
    return bool(np.all(np.abs(source.means - mode) < reach) and np.all(spread < 2 * reach))


def _covariance(hessian):
    """Inverse and log determinant of a positive definite matrix, None if it is not one."""
    if hessian is None or not np.all(np.isfinite(hessian)):
        return None
    scale = 1 / np.sqrt(np.maximum(np.diagonal(hessian), 1e-300))
    try:
        factor = cho_factor(hessian * scale[:, None] * scale, lower=True)
    except np.linalg.LinAlgError:
        return None
    inverse = cho_solve(factor, np.eye(len(hessian))) * scale[:, None] * scale
    return inverse, 2 * float(np.sum(np.log(np.diagonal(factor[0])) - np.log(scale)))


class _Reduction:
    """The posterior of one source's fluxes, all else integrated out as a Gaussian that depends on them linearly.

    With H the Hessian of the negative log posterior at the mode, o everything but the log fluxes l of the source and
    P the Hessian of their own prior, the covariance C = H^-1 gives the reduced likelihood's information in l,
    ``inv(C_ll) - P``, and the regression ``C_ol inv(C_ll)`` of o on l; both are carried over to the fluxes f = exp(l).
    """

    def __init__(self, posterior, kind, block, minimum, covariance):
        self.kind, self.block, self.minimum, self.covariance = kind, block, minimum, covariance
        self.bands, self.laws = posterior.bands, getattr(posterior.prior, kind)
        self.at = layout(kind, len(self.bands))
        self.vector = minimum.x[block]
        self.rest = np.r_[np.arange(self.at.log_flux), np.arange(self.at.colors.stop, self.at.size)]
        self.log_fluxes = self.bands.log_flux_matrix @ self.vector[self.at.log_fluxes]

    def refine(self):
        """The marginal posterior of the source and the correction to the group's log evidence."""
        start = self.block.start + self.at.log_flux
        where = slice(start, start + len(self.bands))
        matrix = self.bands.log_flux_matrix
        inverse = np.linalg.inv(matrix)
        mixture = log_flux_mixture(self.laws, self.vector[self.at.log_flux], self.bands)
        log_prior, gradient, prior_hessian = _mixture_derivatives(mixture, self.log_fluxes)
        covariance = matrix @ self.covariance[where, where] @ matrix.T
        # Score and information of the likelihood in log flux; its gradient at the mode is minus the prior's.
        information = np.linalg.inv(covariance) + prior_hessian
        f = np.exp(self.log_fluxes)
        score = -gradient / f
        information = information / np.outer(f, f) + np.diag(score / f)
        information, peak = _peak(information, score, f)
        if peak is None:
            return None, 0.0
        fluxes = flux_posterior(peak, information, mixture)
        laplace = self._laplace(peak, information, log_prior, covariance)
        if not np.isfinite(fluxes.log_evidence) or fluxes.effective_draws < 10:
            return None, 0.0
        source = self._assemble(fluxes, f, where, inverse, matrix, covariance)
        return (source, fluxes.log_evidence - laplace) if self._holds(source) else (None, 0.0)

    def _holds(self, source):
        """Whether the fluxes leave position and shape where the fit found them: there the reduction was made."""
        shift = np.abs(source.weights @ source.means - self.vector)
        near = shift < _MOST_SHIFT * np.sqrt(np.diagonal(self.covariance)[self.block])
        return bool(near[self.rest].all())

    def _laplace(self, peak, information, log_prior, covariance):
        """Laplace's approximation of what `flux_posterior` integrates."""
        residual = np.exp(self.log_fluxes) - peak
        _, log_determinant = np.linalg.slogdet(covariance)
        return (
            -0.5 * residual @ information @ residual
            + log_prior
            + 0.5 * (len(peak) * np.log(2 * np.pi) + log_determinant)
        )

    def _assemble(self, fluxes, f, where, inverse, matrix, covariance):
        """Moments of the whole free vector: the rest is linear in the fluxes about the mode."""
        rest = self.rest
        rows = self.block.start + rest
        # d rest / d flux, from the regression on the log fluxes.
        slope = self.covariance[rows, where] @ matrix.T @ np.linalg.inv(covariance) / f
        conditional = self.covariance[np.ix_(rows, rows)] - slope * f @ covariance @ (slope * f).T
        n_components = len(fluxes.weights)
        means = np.empty((n_components, self.at.size))
        covariances = np.empty((n_components, self.at.size, self.at.size))
        log_block = np.arange(self.at.log_flux, self.at.colors.stop)
        means[:, log_block] = fluxes.means @ inverse.T
        means[:, rest] = self.vector[rest] + (fluxes.flux_means - f) @ slope.T
        cross = inverse @ fluxes.cross_covariances @ slope.T
        covariances[:, log_block[:, None], log_block] = inverse @ fluxes.covariances @ inverse.T
        covariances[:, log_block[:, None], rest] = cross
        covariances[:, rest[:, None], log_block] = cross.transpose(0, 2, 1)
        covariances[:, rest[:, None], rest] = conditional + slope @ fluxes.flux_covariances @ slope.T
        return SourcePosterior(self.kind, fluxes.weights, means, covariances)


def _peak(information, score, f):
    """The reduced likelihood's information and peak in flux; None for the peak where it is no Gaussian.

    Directions that the pixels say nothing about keep a width of several e-folds; where the likelihood curves the wrong
    way instead, or its peak lies far off, the linear reduction does not describe it.
    """
    values, vectors = np.linalg.eigh(information * np.outer(f, f))
    if not np.all(np.isfinite(values)) or values[-1] <= 0 or values[0] < -0.3:
        return information, None
    values = np.maximum(values, 0.02)
    information = (vectors * values) @ vectors.T / np.outer(f, f)
    standard = (vectors.T @ (score * f)) / np.sqrt(values)
    if np.any(np.abs(standard) > 8):
        return information, None
    return information, f + f * (vectors @ (standard / np.sqrt(values)))


def _mixture_derivatives(mixture, point):
    """Log density of a Gaussian mixture, its gradient and its Hessian."""
    log_weights, means, covariances = mixture
    offsets = point - means
    precisions = np.linalg.inv(covariances)
    pulls = np.einsum("jbc,jc->jb", precisions, offsets)
    _, log_determinants = np.linalg.slogdet(covariances)
    logs = (
        log_weights
        - 0.5 * np.einsum("jb,jb->j", offsets, pulls)
        - 0.5 * (log_determinants + len(point) * np.log(2 * np.pi))
    )
    value = np.logaddexp.reduce(logs)
    shares = np.exp(logs - value)
    gradient = -(shares @ pulls)
    hessian = np.einsum("j,ja,jb->ab", shares, pulls, pulls) - np.outer(gradient, gradient)
    return float(value), gradient, hessian - np.einsum("j,jab->ab", shares, precisions)
