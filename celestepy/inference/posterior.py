"""The log posterior of a group of sources over their images: pixels, chain rule and prior in one place."""

from dataclasses import dataclass

import numpy as np

from celestepy.inference import _posterior
from celestepy.model.parameters import GALAXY, STAR, layout
from celestepy.model.transforms import curvature, to_scene

__all__ = ["GroupPosterior", "SCALES"]

# A natural unit of each free parameter: how far a first Newton step may be trusted.
SCALES = dict(position=0.25, log_flux=0.5, colors=0.5, log_radius=0.5, ellipticity=0.5, logit_dev=1.5)

# Beyond these a trial step is turned down before anything overflows.
_LIMITS = dict(position=30.0, log_flux=25.0, colors=25.0, log_radius=8.0, ellipticity=6.0, logit_dev=30.0)


@dataclass(frozen=True)
class _Template:
    """Scales and limits of the free vector of one type."""

    scale: np.ndarray
    limit: np.ndarray

    @classmethod
    def of(cls, kind, n_bands):
        at = layout(kind, n_bands)
        scale, limit = np.ones(at.size), np.ones(at.size)
        for name in SCALES:
            where = getattr(at, name)
            if where is not None:
                scale[where], limit[where] = SCALES[name], _LIMITS[name]
        return cls(scale, limit)


class GroupPosterior:
    """Log posterior of K sources and the sky levels of their N patches.

    The parameters are the free vectors of the sources one after the other (their lengths depend on the types)
    and then the shift of the sky level of each patch in nanomaggies per pixel.

    Parameters
    ----------
    likelihood : `~celestepy.model.pixel_rate.SceneLikelihood`
        Of the patches, K sources in N patches.
    prior : `~celestepy.model.priors.Prior`
        Prior of one source, for the same bands.
    bands : `~celestepy.model.parameters.Bands`
        Bands of the fit.
    position_sd : array_like
        Standard deviation of each source's position about its seed in arcsec, shape (K,).
    sky_sd : array_like
        Standard deviation of the sky level of each patch in nanomaggies per pixel, shape (N,).
    """

    def __init__(self, likelihood, prior, bands, position_sd, sky_sd):
        self.likelihood, self.prior, self.bands = likelihood, prior, bands
        self.position_sd = np.asarray(position_sd, dtype=float)
        self.sky_sd = np.asarray(sky_sd, dtype=float)
        self.n_sources, self.n_images = likelihood.n_sources, likelihood.n_images
        self.width = len(bands) + 6
        self._templates = {kind: _Template.of(kind, len(bands)) for kind in (STAR, GALAXY)}
        self._sky_precision = 1 / self.sky_sd**2
        self._sky_constant = float(np.log(self.sky_sd).sum()) + 0.5 * self.n_images * np.log(2 * np.pi)

    def blocks(self, kinds):
        """Slices of the sources' free vectors, and of the sky levels, in the parameter vector."""
        ends = np.cumsum([layout(kind, len(self.bands)).size for kind in kinds])
        starts = [0, *ends]
        blocks = [slice(a, b) for a, b in zip(starts[:-1], ends, strict=True)]
        return blocks, slice(starts[-1], starts[-1] + self.n_images)

    def scale(self, kinds):
        """Natural unit of each parameter."""
        return np.concatenate([self._templates[kind].scale for kind in kinds] + [self.sky_sd])

    def scenes(self, kinds, x):
        """Scene vectors (K, B + 6) and sky levels (N,) of a parameter vector."""
        blocks, sky = self.blocks(kinds)
        scenes = [to_scene(kind, x[block], self.bands)[0] for kind, block in zip(kinds, blocks, strict=True)]
        return np.array(scenes).reshape(self.n_sources, self.width), x[sky]

    def objective(self, kinds, components=None):
        """The negative log posterior as a function of the parameters, for `TrustRegion.minimise`.

        Parameters
        ----------
        kinds : sequence of str
            Type of each source.
        components : sequence of int or None, optional
            For each source the one component of the colour prior to use; None for all of them.

        Returns
        -------
        callable
            ``x -> (value, gradient, hessian)``.
        """
        blocks, sky = self.blocks(kinds)
        limit = np.concatenate([self._templates[kind].limit for kind in kinds] + [1e3 * self.sky_sd])
        is_galaxy = np.array([kind == GALAXY for kind in kinds])
        components = components or [None] * len(kinds)

        def negative_log_posterior(x):
            if not (np.abs(x) < limit).all():
                return np.inf, None, None
            value, gradient, hessian = self._evaluate(kinds, is_galaxy, components, blocks, sky, x)
            return -value, np.negative(gradient, out=gradient), np.negative(hessian, out=hessian)

        return negative_log_posterior

    def _evaluate(self, kinds, is_galaxy, components, blocks, sky, x):
        scenes, jacobians = np.empty((self.n_sources, self.width)), []
        for k, (kind, block) in enumerate(zip(kinds, blocks, strict=True)):
            scenes[k], jacobian = to_scene(kind, x[block], self.bands)
            jacobians.append(jacobian)
        value, scene_gradient, scene_hessian = self.likelihood.evaluate(is_galaxy, scenes, x[sky])
        gradient, hessian = np.zeros(len(x)), np.zeros((len(x), len(x)))
        _posterior.pull_back(jacobians, scene_gradient, scene_hessian, gradient, hessian)
        for k, (kind, block) in enumerate(zip(kinds, blocks, strict=True)):
            log_prior, prior_gradient, prior_hessian = self.prior.log_density(
                kind, x[block], self.position_sd[k], component=components[k]
            )
            value += log_prior
            gradient[block] += prior_gradient
            rows = slice(k * self.width, (k + 1) * self.width)
            prior_hessian += curvature(kind, x[block], scene_gradient[rows], self.bands)
            hessian[block, block] += prior_hessian
        return value + self._add_sky_prior(gradient, hessian, x, sky), gradient, hessian

    def _add_sky_prior(self, gradient, hessian, x, sky):
        """Log prior of the sky levels, its derivatives added to those of the rest."""
        pull = self._sky_precision * x[sky]
        gradient[sky] -= pull
        hessian.ravel()[sky.start * (len(x) + 1) :: len(x) + 1] -= self._sky_precision
        return -0.5 * float(pull @ x[sky]) - self._sky_constant
