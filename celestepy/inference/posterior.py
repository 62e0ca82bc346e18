"""The log posterior of a group of sources over all their images: pixels, chain rule and prior in one place."""

from dataclasses import dataclass

import numpy as np

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

    The parameters are the free vectors of the sources one after the other (their lengths depend on the types) and
    then the shift of the sky level of each patch in nanomaggies per pixel.

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

    def blocks(self, kinds):
        """Slices of the sources' free vectors, and of the sky levels, in the parameter vector."""
        ends = np.cumsum([layout(kind, len(self.bands)).size for kind in kinds])
        starts = [0, *ends]
        return [slice(a, b) for a, b in zip(starts[:-1], ends, strict=True)], slice(starts[-1], starts[-1] + self.n_images)

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
            if not np.all(np.abs(x) < limit):
                return np.inf, None, None
            value, gradient, hessian = self._evaluate(kinds, is_galaxy, components, blocks, sky, x)
            return -value, -gradient, -hessian

        return negative_log_posterior

    def _evaluate(self, kinds, is_galaxy, components, blocks, sky, x):
        scenes = np.empty((self.n_sources, self.width))
        jacobian = np.zeros((self.n_sources * self.width + self.n_images, len(x)))
        for k, (kind, block) in enumerate(zip(kinds, blocks, strict=True)):
            rows = slice(k * self.width, (k + 1) * self.width)
            scenes[k], jacobian[rows, block] = to_scene(kind, x[block], self.bands)
        level = np.arange(self.n_images)
        jacobian[self.n_sources * self.width + level, sky.start + level] = 1.0
        value, scene_gradient, scene_hessian = self.likelihood.evaluate(is_galaxy, scenes, x[sky])
        gradient = scene_gradient @ jacobian
        hessian = jacobian.T @ scene_hessian @ jacobian
        for k, (kind, block) in enumerate(zip(kinds, blocks, strict=True)):
            rows = slice(k * self.width, (k + 1) * self.width)
            log_prior, prior_gradient, prior_hessian = self.prior.log_density(
                kind, x[block], self.position_sd[k], component=components[k])
            value += log_prior
            gradient[block] += prior_gradient
            hessian[block, block] += prior_hessian + curvature(kind, x[block], scene_gradient[rows], self.bands)
        return self._add_sky_prior(value, gradient, hessian, x, sky)

    def _add_sky_prior(self, value, gradient, hessian, x, sky):
        standard = x[sky] / self.sky_sd
        value -= 0.5 * float(standard @ standard) + float(np.log(self.sky_sd).sum()) + 0.5 * self.n_images * np.log(2 * np.pi)
        gradient[sky] -= standard / self.sky_sd
        level = np.arange(sky.start, sky.stop)
        hessian[level, level] -= 1 / self.sky_sd**2
        return value, gradient, hessian
