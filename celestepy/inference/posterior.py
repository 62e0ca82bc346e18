"""The log posterior of a group of sources over their images: pixels, chain rule and prior in one place."""

import math
from dataclasses import dataclass

import numpy as np

from celestepy.inference import _posterior
from celestepy.model.parameters import GALAXY, STAR, layout
from celestepy.model.transforms import curvature, to_scene, to_scenes

__all__ = ["GroupPosterior", "SCALES", "position_bound"]

# A natural unit of each free parameter: how far a first Newton step may be trusted.
SCALES = dict(position=0.25, log_flux=0.5, colors=0.5, log_radius=0.5, ellipticity=0.5, logit_dev=1.5)

# Beyond these a trial step is turned down before anything overflows.
_LIMITS = dict(position=30.0, log_flux=25.0, colors=25.0, log_radius=8.0, ellipticity=6.0, logit_dev=30.0)

# A source stays within so many standard deviations of its seed: a Gaussian prior is worth a few nats and gives way to a
# bright star beside the seed, which is worth thousands.
_POSITION_REACH = 5.0
# Bounds are walls of this stiffness (nats per arcsec^2, and per unit of log radius squared): the mode of a source that
# is drawn by 1e6 nats per arcsec lies 0.01 arcsec behind the wall, where everything else is still fitted.
_STIFFNESS = 1e8
# Keeps the length of the ellipticity differentiable at round galaxies.
_ROUND = 1e-3


def position_bound(position_sd):
    """How far from its seed a source may be found.

    Parameters
    ----------
    position_sd : float or array_like
        Standard deviation of the seed's position per coordinate (arcsec).

    Returns
    -------
    float or `~numpy.ndarray`
        Radius in arcsec.
    """
    return _POSITION_REACH * position_sd


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

    Two walls keep sources from running off to where the prior counts for nothing against the pixels: the position stays
    within `position_bound` of the seed, and the half-light major axis of a galaxy within half the side of the largest
    patch, since a larger galaxy is a shift of the sky level there. Inside the walls the posterior is not changed.

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
        self._reach = position_bound(self.position_sd)
        self._largest = np.log(likelihood.extent)
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

    def reach(self, kinds):
        """Standard deviations, shape (D,), to which the prior alone lets parameters reach that pixels may not bound."""
        result = np.zeros(self.blocks(kinds)[1].stop)
        for kind, block in zip(kinds, self.blocks(kinds)[0], strict=True):
            if kind == GALAXY:
                result[block][layout(kind, len(self.bands)).logit_dev] = self.prior.galaxy.dev_fraction.sd
        return result

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
        limit = self._limit(kinds)
        is_galaxy = np.array([kind == GALAXY for kind in kinds])
        components = components or [None] * len(kinds)

        def negative_log_posterior(x):
            if not (np.abs(x) < limit).all():
                return np.inf, None, None
            value, gradient, hessian = self._evaluate(kinds, is_galaxy, components, blocks, sky, x)
            return -value, np.negative(gradient, out=gradient), np.negative(hessian, out=hessian)

        return negative_log_posterior

    def values(self, kinds, x):
        """Log posterior of many parameter vectors at once.

        Parameters
        ----------
        kinds : sequence of str
            Type of each source.
        x : array_like
            Parameter vectors, shape (M, D), laid out as `blocks` says.

        Returns
        -------
        `~numpy.ndarray`
            Minus the values of `objective`, shape (M,); -inf where a vector is not finite or beyond all limits.
        """
        blocks, sky = self.blocks(kinds)
        x = np.ascontiguousarray(x, dtype=float)
        if x.ndim != 2 or x.shape[1] != sky.stop:
            raise ValueError(f"x has shape {x.shape}; expected (M, {sky.stop})")
        usable = (np.abs(x) < self._limit(kinds)).all(axis=1)  # False for NaN too
        result = np.full(len(x), -np.inf)
        if usable.any():
            result[usable] = self._values(kinds, blocks, sky, x[usable])
        return result

    def _values(self, kinds, blocks, sky, x):
        scenes = np.empty((len(x), self.n_sources, self.width))
        total = -0.5 * (x[:, sky] ** 2 @ self._sky_precision) - self._sky_constant
        for k, (kind, block) in enumerate(zip(kinds, blocks, strict=True)):
            own = np.ascontiguousarray(x[:, block])
            scenes[:, k] = to_scenes(kind, own, self.bands)
            total += self.prior.log_densities(kind, own, self.position_sd[k]) + self._wall_values(kind, k, own)
        is_galaxy = np.array([kind == GALAXY for kind in kinds])
        return total + self.likelihood.values(is_galaxy, scenes, x[:, sky])

    def _limit(self, kinds):
        """Beyond these a vector is turned down before anything overflows."""
        return np.concatenate([self._templates[kind].limit for kind in kinds] + [1e3 * self.sky_sd])

    def _wall_values(self, kind, k, vectors):
        """Log density of the bounds of one source's position and size, for many vectors."""
        at = layout(kind, len(self.bands))
        distance = np.hypot(*vectors[:, at.position].T)
        value = -0.5 * _STIFFNESS * np.maximum(distance - self._reach[k], 0.0) ** 2
        if kind == GALAXY:
            elongation = np.sqrt(np.sum(vectors[:, at.ellipticity] ** 2, axis=1) + _ROUND**2)
            excess = vectors[:, at.log_radius] + 0.5 * elongation - self._largest
            value -= 0.5 * _STIFFNESS * np.maximum(excess, 0.0) ** 2
        return value

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
            value += log_prior + self._add_walls(kind, k, x[block], prior_gradient, prior_hessian)
            gradient[block] += prior_gradient
            rows = slice(k * self.width, (k + 1) * self.width)
            prior_hessian += curvature(kind, x[block], scene_gradient[rows], self.bands)
            hessian[block, block] += prior_hessian
        return value + self._add_sky_prior(gradient, hessian, x, sky), gradient, hessian

    def _add_walls(self, kind, k, vector, gradient, hessian):
        """Log density of the bounds of one source's position and size, its derivatives added to the prior's."""
        at, value = layout(kind, len(self.bands)), 0.0
        distance = math.hypot(*vector[at.position])
        if distance > self._reach[k]:
            slope, bend = _length_derivatives(vector[at.position], distance)
            where = np.arange(2)
            value += _add_wall(distance - self._reach[k], where, slope, bend, gradient, hessian)
        if kind == GALAXY:
            elongation = math.hypot(*vector[at.ellipticity], _ROUND)
            excess = vector[at.log_radius] + 0.5 * elongation - self._largest
            if excess > 0:
                slope, bend = np.ones(3), np.zeros((3, 3))
                slope[1:], bend[1:, 1:] = _length_derivatives(vector[at.ellipticity], elongation)
                slope[1:], bend[1:, 1:] = 0.5 * slope[1:], 0.5 * bend[1:, 1:]
                where = np.r_[at.log_radius, at.ellipticity]
                value += _add_wall(excess, where, slope, bend, gradient, hessian)
        return value

    def _add_sky_prior(self, gradient, hessian, x, sky):
        """Log prior of the sky levels, its derivatives added to those of the rest."""
        pull = self._sky_precision * x[sky]
        gradient[sky] -= pull
        hessian.ravel()[sky.start * (len(x) + 1) :: len(x) + 1] -= self._sky_precision
        return -0.5 * float(pull @ x[sky]) - self._sky_constant


def _length_derivatives(vector, length):
    """Gradient and Hessian of the length of a two-vector, ``sqrt(x^2 + y^2)`` and maybe a constant."""
    slope = vector / length
    return slope, (np.eye(2) - np.outer(slope, slope)) / length


def _add_wall(excess, where, slope, bend, gradient, hessian):
    """Log density ``-stiffness excess^2 / 2`` beyond a bound, its derivatives added at some of the parameters.

    ``slope`` and ``bend`` are the gradient and Hessian of the excess.
    """
    gradient[where] -= _STIFFNESS * excess * slope
    hessian[np.ix_(where, where)] -= _STIFFNESS * (np.outer(slope, slope) + excess * bend)
    return -0.5 * _STIFFNESS * excess**2
