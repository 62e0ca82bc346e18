"""Galaxies of the catalogue's model first, then every pixel free: descent with a learned score.

The fit begins as stars and galaxies of the catalogue's model, which only the places of the sources decide (see
`galaxy_fit`). They tell how the light of a blend is shared. From there u = asinh(S / s) of each free source goes down

    half chi^2 + sum ((u - u_galaxy) / (d tanh u_galaxy))^2 / 2 - log p(u)

with the fluxes solved for at every point, and the score of the density blurred by noise ``sigma`` in place of the
gradient of log p. As dS / S = du / tanh u, d is the part by which the light of a pixel may differ from the galaxy's. A
learned score hardly sees smooth changes of a galaxy as a whole (at sigma = 0.1 a step of denoising takes back 4% of a
blob of a neighbour's light), which is what the second term is for; noise and rough shapes it sees well.

Each pixel has a step of its own, the inverse of a bound on its curvature: those of the two priors and, for the data,
the sum over the pixels of all sources of the second derivatives, with the sign lost (De Pierro 1995, IEEE Trans. Med.
Imaging 14, 132). Steps begin beyond the last point (Nesterov) until that leads up (O'Donoghue & Candes 2015).
"""

from dataclasses import dataclass, field

import numpy as np

from celestepy.deblend.constraints import NonNegative
from celestepy.deblend.errors import DeblendError
from celestepy.deblend.galaxy_fit import fit_galaxies
from celestepy.deblend.growth import padded
from celestepy.deblend.parametric import ParametricSteps
from celestepy.deblend.solver import Solver, Stepper
from celestepy.deblend.source import FreeSource
from celestepy.deblend.stopping import StopRule

__all__ = ["ScoreDescent"]

_SOFTENING = 0.02  # s without a prior, which has its own
_FIRST_HALF = 16  # half side of a box without a prior's stamp, which has to be filled
_LARGEST_MOVE = 0.3  # of u in one step
_LARGEST_U = 6.0  # beyond a few times the peak of the galaxy
_FAINTEST = 0.02  # share of the deviation that a pixel without light keeps
_BOUND_KEPT, _FIRST_BOUNDS = 10, 3  # steps for which the bound on the curvature is used, after the first ones


@dataclass(frozen=True)
class ScoreDescent(Solver):
    """Settings of the descent with a score; see `celestepy.deblend.solver.Solver` for those of all methods.

    Parameters
    ----------
    constraints : tuple
        By default non-negative.
    stop : StopRule
        By default at most 60 iterations.
    growth : None
        Boxes have the size of the galaxies and do not grow.
    sigma : float
        Noise level at which the prior's score is taken.
    deviation : float
        d: standard deviation of a pixel's light about that of the fitted galaxy, as a part of it.
    score_every : int
        Steps for which a score is used: it takes longer than the data and changes slowly.
    galaxies_first : bool
        Whether free sources begin as fitted galaxies, at the place that the start gives them and whatever shape it
        gives them. Otherwise, and for models without a PSF, they begin as they are and deviate from that.
    structure : float
        Part of a pixel's light by which galaxies differ from the model's, in the fit of these.
    galaxy_steps : int
        Steps of the parameters of galaxies at most.

    Notes
    -----
    Pixels outside of the prior's stamp keep the light of the galaxy, so sources larger than the stamp are no error.
    """

    constraints: tuple = field(default=(NonNegative(),))
    stop: StopRule = StopRule(60)
    growth: object = None
    sigma: float = 0.3
    deviation: float = 0.3
    score_every: int = 8
    galaxies_first: bool = True
    structure: float = 0.4
    galaxy_steps: int = 12

    freedom = 0.2
    beyond_stamps = True

    def __post_init__(self):
        if self.growth is not None:
            raise DeblendError(f"growth: {self.growth!r}, expected None: boxes have the size of the fitted galaxies")
        for name in ("sigma", "deviation"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise DeblendError(f"{name}: {getattr(self, name)!r}, expected a finite number > 0")
        if not (np.isfinite(self.structure) and self.structure >= 0):
            raise DeblendError(f"structure: {self.structure!r}, expected a number >= 0")
        for name in ("score_every", "galaxy_steps"):
            value = getattr(self, name)
            if int(value) != value or value < 1:
                raise DeblendError(f"{name}: {value!r}, expected a whole number >= 1")

    def _prepared(self, scene, term):
        if not self.galaxies_first or scene.frame.model_psf is None:
            return scene
        fitted = fit_galaxies(scene, structure=self.structure, max_steps=self.galaxy_steps)
        smallest = (_FIRST_HALF,) * 2 if term is None else tuple(side // 2 for side in term.shape)
        pairs = zip(scene.sources, fitted.sources, strict=True)
        return scene.replace([_freed(old, new, smallest) if old is not new else old for old, new in pairs])

    def _stepper(self, problem, variables, constraints, term):
        return _State(self, problem, variables, constraints, term)


def _freed(source, galaxy, smallest):
    """A free source with the galaxy's light, about its own pixel; stars and galaxies as they were fitted."""
    if not isinstance(source, FreeSource):
        return galaxy
    box = galaxy.box
    middles = (box.y0 + box.height // 2, box.x0 + box.width // 2)
    drift = [new - old for new, old in zip(middles, (source.y, source.x), strict=True)]
    pads = [max(least - side // 2, 0) + abs(d) for least, side, d in zip(smallest, box.shape, drift, strict=True)]
    morphology = np.roll(padded(galaxy.morphology, pads), drift, axis=(0, 1))
    usable = np.isfinite(morphology).all() and morphology.sum() > 0
    return source.replace(morphology=morphology, sed=galaxy.sed) if usable else source


class _State(Stepper):
    """u of each free source where it may move, now and before."""

    def __init__(self, settings, problem, variables, constraints, term):
        super().__init__(settings, problem, variables, constraints, term)
        own = term is not None and term.normalisation.softening is not None and term.normalisation.reference == "peak"
        self.softening = term.normalisation.softening if own else _SOFTENING
        for k in variables.free:
            variables.set_free(k, _of_unit_peak(constraints.apply(variables.values[k])))
        self.seds = problem.evaluate(variables.stack()).seds
        self.parametric = ParametricSteps(problem)
        everything = (slice(None),) * 2
        galaxies = {k: np.arcsinh(variables.values[k] / self.softening) for k in variables.free}
        self.moving = {k: everything if term is None else term.inside(u.shape) for k, u in galaxies.items()}
        self.galaxy = {k: u[self.moving[k]] for k, u in galaxies.items()}
        widths = {k: settings.deviation * np.maximum(np.tanh(u), _FAINTEST) for k, u in self.galaxy.items()}
        self.pull = {k: width**-2 for k, width in widths.items()}
        self.u, self.before, self.age = dict(self.galaxy), dict(self.galaxy), 1.0
        self.sizes = {} if term is None else {k: term.normalisation.size(variables.values[k]) for k in galaxies}
        self.scores, self.stiffness, self.bounds = None, None, None

    def step(self):
        age = 0.5 + np.sqrt(0.25 + self.age**2)
        momentum = (self.age - 1) / age
        beyond = {k: np.clip(u + momentum * (u - self.before[k]), 0.0, _LARGEST_U) for k, u in self.u.items()}
        values = list(self.variables.values)
        for k, u in beyond.items():
            values[k] = values[k].copy()
            values[k][self.moving[k]] = self.softening * np.sinh(u)
        point = self.problem.evaluate(self.variables.stack(values))
        self.seds = point.seds
        images = self.problem.gradient(point)
        if self.scores is None or self.iteration % self.settings.score_every == 0:
            self._take_scores(values)
        if self.bounds is None or self.iteration % _BOUND_KEPT == 0 or self.iteration < _FIRST_BOUNDS:
            self.bounds = self._bounds(values)
        leads_up = sum(self._move(k, beyond[k], values[k], images[k]) for k in self.variables.free) > 0
        self.age = 1.0 if leads_up else age
        for k in self.variables.parametric:
            source = self.parametric.moved(self.variables, k, self.variables.cut(images[k], k), point.seds[k])
            self.variables.replace_parametric(k, source)
        self.iteration += 1
        pull = sum(float((self.pull[k] * (u - self.galaxy[k]) ** 2).sum()) for k, u in beyond.items())
        return point.half_chi2 + 0.5 * pull

    def _move(self, k, u, values, image):
        """Take one source's step; how much the objective would rise along the whole last move."""
        own, s = self.moving[k], self.softening
        growth = np.sqrt(values[own] ** 2 + s**2)  # d S / d u
        of_data = self.finite(k, self.variables.cut(image, k)[own] * growth)
        slope = of_data + self.pull[k] * (u - self.galaxy[k]) - self.scores[k]
        length = 1.0 / (self.bounds[k] * growth + self.pull[k] + self.stiffness[k])
        new = u - np.clip(length * slope, -_LARGEST_MOVE, _LARGEST_MOVE)
        values[own] = s * np.sinh(np.minimum(new, _LARGEST_U))
        values = self.constraints.apply(values)
        self.before[k], self.u[k] = self.u[k], np.arcsinh(values[own] / s)
        self.variables.set_free(k, values)
        return float((slope * (self.u[k] - self.before[k])).sum())

    def _take_scores(self, values):
        """Score of each free source in u, by the chain rule where the prior's scale is another one.

        A source keeps the size of its galaxy, so that no scale is free.
        """
        free = self.variables.free
        self.scores, self.stiffness = dict.fromkeys(free, 0.0), dict.fromkeys(free, 0.0)
        if self.term is None or not free:
            return
        softening = self.term.normalisation.softening
        scaled = {k: values[k] / self.sizes[k] for k in free}
        xs = [scaled[k] if softening is None else np.arcsinh(scaled[k] / softening) for k in free]
        for k, score in zip(free, self.term.score(xs, self.settings.sigma), strict=True):
            own = scaled[k][self.moving[k]]
            stretch = np.sqrt(own**2 + (self.softening / self.sizes[k]) ** 2)  # d x / d u
            if softening is not None:
                stretch /= np.sqrt(own**2 + softening**2)
            self.scores[k] = self.finite(k, score)[self.moving[k]] * stretch
            self.stiffness[k] = (stretch / self.settings.sigma) ** 2

    def _bounds(self, values):
        """De Pierro's bounds, to be multiplied by d S / d u: sum_b A_kb P' |w P sum_j A_jb d S_j / d u_j|."""
        variables, frame = self.variables, self.problem.frame
        growths = [np.sqrt(own**2 + self.softening**2) if k in self.u else own for k, own in enumerate(values)]
        cube = np.tensordot(self.seds.T, variables.stack(growths), 1)
        weighted = [o.weights * np.abs(image) for o, image in zip(frame.observations, frame.render(cube), strict=True)]
        images = np.tensordot(self.seds, np.maximum(frame.adjoint(weighted), 0.0), 1)
        return {k: variables.cut(images[k], k)[self.moving[k]] for k in variables.free}

    def grow(self, pads):
        """Never asked for: see the settings."""

    def finish(self):
        return self.problem.evaluate(self.variables.stack()).seds


def _of_unit_peak(values):
    peak = values.max()
    return values / peak if np.isfinite(peak) and peak > 0 else values
