"""All sources of a scene as stars and galaxies of the catalogue's model at once: the start of the fit with a score.

The parameters theta of all sources have a joint Gauss-Newton step, damped as by Levenberg and Marquardt, on

    half chi^2 (theta, fluxes solved for) + sum ((theta - mean) / deviation)^2 / 2

The fluxes are solved for at every point, and their part is taken out of the second derivatives (Kaufman 1975, BIT 15,
49): with the images t_i of the derivatives and c_k of the sources, t_i w t_j - (t_i w c) (c w c)^-1 (c w t_j).

Galaxies have structure that the model has not. Where a pixel has much light, that is more than its noise, and sources
would be bent to make up for their neighbours' structure; so variances are those of the noise plus the square of a part
of the light.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from celestepy.deblend.observation import Observation
from celestepy.deblend.problem import Problem
from celestepy.deblend.source import FreeSource, GalaxySource

__all__ = ["fit_galaxies"]

# of x, y (pixels, about the given place), log_radius (ln arcsec), eta1, eta2, logit_dev; those of galaxies of 20 to
# 26 mag, wide enough that the data decide wherever they can
_MEAN = np.array([0.0, 0.0, np.log(0.45), 0.0, 0.0, -2.0])
_DEVIATION = np.array([0.25, 0.25, 0.5, 0.6, 0.6, 1.5])
_LARGEST_MOVE = np.array([0.7, 0.7, 0.5, 0.5, 0.5, 1.5])
_FIRST_DAMPING, _LEAST_DAMPING, _MORE, _LESS = 1e-2, 1e-3, 8.0, 5.0
_MOST_TRIALS = 6
_SMOOTHING = 1.5  # pixels: standard deviation of the filter by which the light is told from the noise
_RIDGE = 1e-6  # relative to the diagonal of c w c: sources at the same place


def fit_galaxies(scene, *, structure=0.4, max_steps=12, tolerance=0.5):
    """Fit stars and galaxies in place of all sources, those without a shape beginning as round galaxies of one size.

    Parameters
    ----------
    scene : Scene
        Of free sources only the places matter. The model has to have a PSF.
    structure : float, optional
        Part of a pixel's light by which galaxies differ from the model's.
    max_steps : int, optional
        Steps of all parameters.
    tolerance : float, optional
        The fit ends with a step that lowers the objective by less, in units of half chi^2.

    Returns
    -------
    Scene
        Point and galaxy sources with fluxes; sources outside of the frame are as they were.
    """
    active = np.flatnonzero(scene.active).tolist()
    if not active:
        return scene
    observations = [_with_structure(observation, structure) for observation in scene.frame.observations]
    sources = [_parametric(scene.sources[k], scene.frame) for k in active]
    fit = _JointFit(Problem(scene.frame, observations=observations), sources)
    for _ in range(max_steps):
        before = fit.state.objective
        if not fit.advance() or before - fit.state.objective < tolerance:
            break
    found = dict(zip(active, zip(fit.state.sources, fit.state.point.seds, strict=True), strict=True))
    return scene.replace([
        found[k][0].replace(sed=found[k][1]) if k in found else source for k, source in enumerate(scene.sources)
    ])


def _with_structure(observation, structure):
    """The observation with variances that allow for structure."""
    light = np.maximum(gaussian_filter(observation.images, (0, _SMOOTHING, _SMOOTHING)), 0.0)
    return Observation.from_arrays(
        observation.images,
        observation.weights / (1.0 + observation.weights * (structure * light) ** 2),
        psfs=observation.psfs,
        bands=observation.bands,
        grid=observation.grid,
    )


def _parametric(source, frame):
    if not isinstance(source, FreeSource):
        return source
    shape = np.concatenate([[source.x, source.y], _MEAN[2:]])
    return GalaxySource(shape, frame.model_psf, np.linalg.inv(frame.grid.jacobian))


@dataclass(frozen=True, eq=False)
class _State:
    """A point: the sources, half chi^2 with fluxes, and what is expected of the parameters."""

    sources: list
    point: object
    surprise: np.ndarray
    objective: float


class _JointFit:
    """Where the fit is, and how much its steps are damped."""

    def __init__(self, problem, sources):
        self.problem, self.grid_shape, self.damping = problem, problem.frame.grid.shape, _FIRST_DAMPING
        self.counts = np.array([len(source.parameters) for source in sources])
        cut = [slice(None, count) for count in self.counts]
        self.deviation = np.concatenate([_DEVIATION[part] for part in cut])
        self.limit = np.concatenate([_LARGEST_MOVE[part] for part in cut])
        self.mean = np.concatenate([_MEAN[part] for part in cut])
        first = np.cumsum(self.counts) - self.counts
        for k, source in enumerate(sources):
            self.mean[first[k] : first[k] + 2] = source.parameters[:2]
        self.state = self._at(sources)

    def _stacked(self, boxes, images):
        stack = np.zeros((len(images), *self.grid_shape))
        for target, box, image in zip(stack, boxes, images, strict=True):
            on_grid, in_box = box.overlap(self.grid_shape)
            target[on_grid] = image[in_box]
        return stack

    def _at(self, sources):
        point = self.problem.evaluate(self._stacked([s.box for s in sources], [s.morphology for s in sources]))
        surprise = (np.concatenate([s.parameters for s in sources]) - self.mean) / self.deviation
        return _State(sources, point, surprise, point.half_chi2 + 0.5 * float(surprise @ surprise))

    def advance(self):
        """Take one step of all parameters, damped more and more until it lowers the objective; whether one did."""
        curvature, slope = self._normal_equations()
        diagonal = np.diag(np.diag(curvature))
        for _ in range(_MOST_TRIALS):
            move = np.linalg.solve(curvature + self.damping * diagonal, -slope)
            move = np.split(np.clip(move, -self.limit, self.limit), np.cumsum(self.counts)[:-1])
            moved = [s.replace(parameters=s.parameters + own) for s, own in zip(self.state.sources, move, strict=True)]
            trial = self._at(moved)
            if trial.objective < self.state.objective:
                self.state, self.damping = trial, self.damping / _LESS
                return True
            self.damping = max(self.damping * _MORE, _LEAST_DAMPING)
        return False

    def _normal_equations(self):
        """Second and first derivatives of the objective."""
        sources, point = self.state.sources, self.state.point
        boxes = [s.box for s, count in zip(sources, self.counts, strict=True) for _ in range(count)]
        images = [image for s in sources for image in s.tangent(one_sided=True)]
        tangents = self.problem.frame.columns(self._stacked(boxes, images))
        curvature, slope = np.diag(self.deviation**-2), self.state.surprise / self.deviation
        problem = self.problem
        fluxes = np.repeat(point.seds, self.counts, axis=0)
        bands_of = problem.frame.band_indices
        parts = zip(tangents, point.columns, point.weighted, problem.observations, bands_of, strict=True)
        for own, columns, weighted, observation, bands in parts:
            for k, band in enumerate(bands):
                tangent = own[k] * fluxes[:, band, None]
                lit = columns[k][point.seds[:, band] > 0]
                curvature += _without_fluxes(tangent, lit, observation.weights[k].ravel())
                slope = slope + tangent @ weighted[k]
        return curvature, slope


def _without_fluxes(tangent, columns, weights):
    """Products t w t, less what a change of the fluxes can do."""
    weighted = tangent * weights
    across, own = weighted @ columns.T, (columns * weights) @ columns.T
    own += np.diag(_RIDGE * np.diag(own) + np.finfo(float).tiny)
    return weighted @ tangent.T - across @ np.linalg.solve(own, across.T)
