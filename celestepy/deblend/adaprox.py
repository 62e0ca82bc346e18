"""The proximal method of the scarlet code: Adam's steps, then the constraints' operators (Melchior et al. 2019).

Morphologies have a largest pixel of one while they are fitted. For parameter x with gradient g

    m <- b1 m + (1 - b1) g,    v <- b2 v + (1 - b2) g^2,    psi = sqrt(max over iterations of v)
    x <- prox(x - alpha m / psi)

with m and v corrected for their start at zero. In the metric psi the operator is found by inner iterations
z <- prox(z - psi / max(psi) (z - x)); with the default of one it is applied as it is. Fluxes take steps of their own,
as in scarlet, or are solved for.
"""

from dataclasses import dataclass, field

import numpy as np

from celestepy.deblend.constraints import SCARLET
from celestepy.deblend.errors import DeblendError
from celestepy.deblend.growth import padded
from celestepy.deblend.parametric import ParametricSteps
from celestepy.deblend.solver import Solver, Stepper

__all__ = ["AdaProx", "Moments"]

_TINY = 1e-10  # of the largest psi of a source: pixels that no data see do not move


class Moments:
    """Adam's memory of one array.

    Parameters
    ----------
    shape : tuple
        Of the array.
    keeps_largest : bool
        Whether psi never falls (AMSGrad), which is safe but slow after a start with steep slopes.
    """

    def __init__(self, shape, keeps_largest):
        self.first, self.second, self.largest = np.zeros((3, *shape))
        self.age, self.keeps_largest = 0, keeps_largest

    def update(self, gradient, b1, b2):
        """Take a gradient in.

        Parameters
        ----------
        gradient : array
            Of the shape.
        b1, b2 : float
            Memories of the gradient and of its square.

        Returns
        -------
        direction, scale : arrays
            m and psi, both corrected for their start at zero.
        """
        self.age += 1
        self.first += (1 - b1) * (gradient - self.first)
        self.second += (1 - b2) * (gradient**2 - self.second)
        if self.keeps_largest:
            np.maximum(self.largest, self.second, out=self.largest)
        square = self.largest if self.keeps_largest else self.second
        scale = np.sqrt(square / (1 - b2**self.age))
        return self.first / (1 - b1**self.age), scale + _TINY * scale.max(initial=0.0) + np.finfo(float).tiny

    def grow(self, pads):
        """Let the array grow by zeros.

        Parameters
        ----------
        pads : (int, int)
            Rows and columns on each side.
        """
        self.first, self.second, self.largest = (padded(m, pads) for m in (self.first, self.second, self.largest))


@dataclass(frozen=True)
class AdaProx(Solver):
    """Settings of the proximal method; see `celestepy.deblend.solver.Solver` for those of all methods.

    Parameters
    ----------
    constraints : tuple
        By default those of scarlet: symmetric, monotonic by the sweep, non-negative.
    step : float
        Of morphologies, in units of their largest pixel.
    sed_step : float
        Of fluxes, relative to the mean over bands of the source's.
    solve_fluxes : bool
        Whether fluxes are solved for at every step, so that their start does not matter, in place of taking steps.
    b1, b2 : float
        Memories of gradients and of their squares.
    prox_iterations : int
        Inner iterations of the operator in the metric of the steps.
    sigma : float
        Noise level at which the prior's score is taken.
    """

    constraints: tuple = field(default=SCARLET)
    step: float = 0.01
    sed_step: float = 0.01
    solve_fluxes: bool = False
    b1: float = 0.9
    b2: float = 0.999
    prox_iterations: int = 1
    sigma: float = 0.0

    freedom = 1.0

    def __post_init__(self):
        for name in ("step", "sed_step"):
            if not getattr(self, name) > 0:
                raise DeblendError(f"{name}: {getattr(self, name)!r}, expected a number > 0")
        for name in ("b1", "b2"):
            if not 0 <= getattr(self, name) < 1:
                raise DeblendError(f"{name}: {getattr(self, name)!r}, expected a number from 0 to below 1")
        if int(self.prox_iterations) != self.prox_iterations or self.prox_iterations < 1:
            raise DeblendError(f"prox_iterations: {self.prox_iterations!r}, expected a whole number >= 1")

    def _stepper(self, problem, variables, constraints, term):
        return _State(self, problem, variables, constraints, term)


class _State(Stepper):
    """Morphologies of unit peak, fluxes to match, and Adam's moments of both."""

    def __init__(self, settings, problem, variables, constraints, term):
        super().__init__(settings, problem, variables, constraints, term)
        seds = [source.sed for source in variables.sources]
        if any(sed is None for sed in seds):
            seds = problem.evaluate(variables.stack()).seds
        self.seds = np.array(seds, dtype=float)
        for k in variables.free:
            self._set(k, constraints.apply(variables.values[k]))
        self.moments = {k: Moments(variables.values[k].shape, True) for k in variables.free}
        self.sed_moments = Moments(self.seds.shape, True)
        self.parametric = ParametricSteps(problem)

    def _set(self, k, values):
        """A new morphology, brought to unit peak; nothing if it has no light."""
        peak = values.max()
        if np.isfinite(peak) and peak > 0:
            self.variables.set_free(k, values / peak)
            self.seds[k] *= peak

    def step(self):
        half_chi2, images, of_fluxes = self._slopes()
        objective, seds = half_chi2 + self._costs(), self.seds
        if of_fluxes is not None:
            self._move_fluxes(of_fluxes + self.problem.flux_cost)
        gradients = self._with_prior([self.variables.cut(image, k) for k, image in enumerate(images)])
        for k in self.variables.free:
            self._move(k, gradients[k])
        for k in self.variables.parametric:
            source = self.parametric.moved(self.variables, k, gradients[k], seds[k])
            self.variables.replace_parametric(k, source)
        return objective

    def _slopes(self):
        """Half chi^2, its derivative with respect to morphologies, and to fluxes if they take steps."""
        stack = self.variables.stack()
        if not self.settings.solve_fluxes:
            return self.problem.slopes(stack, self.seds)
        point = self.problem.evaluate(stack)
        self.seds = point.seds
        return point.half_chi2, self.problem.gradient(point), None

    def _costs(self):
        values, free = self.variables.values, self.variables.free
        costs = sum(self.constraints.cost(values[k], self.seds[k].sum()) for k in free)
        if self.term is not None and self.term.has_log_prob and free:
            costs -= self.term.log_prob([self.term.normalisation.forward(values[k]) for k in free]).sum()
        return float(costs)

    def _with_prior(self, gradients):
        free, values = self.variables.free, self.variables.values
        if self.term is not None and free:
            norm = self.term.normalisation
            scores = self.term.score([norm.forward(values[k]) for k in free], self.settings.sigma)
            for k, score in zip(free, scores, strict=True):
                gradients[k] = gradients[k] - self.finite(k, norm.pull_back(values[k], score))
        return gradients

    def _move_fluxes(self, gradient):
        settings = self.settings
        direction, scale = self.sed_moments.update(gradient, settings.b1, settings.b2)
        length = settings.sed_step * np.abs(self.seds).mean(axis=1, keepdims=True)
        self.seds = self.seds - length * direction / scale
        if settings.nonnegative_fluxes:
            self.seds = np.maximum(self.seds, 0.0)

    def _move(self, k, gradient):
        settings = self.settings
        direction, scale = self.moments[k].update(gradient, settings.b1, settings.b2)
        target = self.variables.values[k] - settings.step * direction / scale
        metric, values = scale / scale.max(), target
        step, flux = settings.step / scale.max(), self.seds[k].sum()
        for _ in range(settings.prox_iterations):
            values = self.constraints.apply(values - metric * (values - target), step, flux)
        self._set(k, values)

    def grow(self, pads):
        for k, pad in pads.items():
            self.variables.set_free(k, padded(self.variables.values[k], pad))
            self.moments[k].grow(pad)

    def finish(self):
        if self.settings.solve_fluxes:
            return self.problem.evaluate(self.variables.stack()).seds
        return self.seds
