"""Adam on u = asinh(S / s), fluxes solved exactly inside each step, the prior's noise level lowered as it goes.

The scale of u is linear for faint pixels and logarithmic for bright ones, so that steps of one length suit both. A
learned score may be taken in u itself, which is the normalisation of its stamps: the maximum is that of the density in
u (no Jacobian). The noise level falls geometrically from ``sigma_start`` to ``sigma_end`` over the iterations.
"""

from dataclasses import dataclass, field

import numpy as np

from celestepy.deblend.adaprox import Moments
from celestepy.deblend.constraints import NonNegative
from celestepy.deblend.errors import DeblendError
from celestepy.deblend.growth import padded
from celestepy.deblend.parametric import ParametricSteps
from celestepy.deblend.priors import Normalisation
from celestepy.deblend.solver import Solver, Stepper

__all__ = ["AsinhAdam"]

_STEP_AT_THE_END = 0.1  # of the first step


@dataclass(frozen=True)
class AsinhAdam(Solver):
    """Settings of Adam in asinh scale; see `celestepy.deblend.solver.Solver` for those of all methods.

    Parameters
    ----------
    constraints : tuple
        By default non-negative.
    softening : float
        s in units of the largest pixel; a prior with a softening of its own brings that and its unit.
    step : float
        First step of u; it falls to a tenth over the iterations.
    sigma_start, sigma_end : float
        Noise level at which the prior's score is taken, first and last.
    score_every : int
        Steps for which a score is used; more than one saves time where the score takes longer than the data.
    b1, b2 : float
        Memories of gradients and of their squares.
    """

    constraints: tuple = field(default=(NonNegative(),))
    softening: float = 0.01
    step: float = 0.1
    sigma_start: float = 0.1
    sigma_end: float = 0.02
    score_every: int = 1
    b1: float = 0.9
    b2: float = 0.99

    def __post_init__(self):
        for name in ("softening", "step", "sigma_start", "sigma_end"):
            if not getattr(self, name) > 0:
                raise DeblendError(f"{name}: {getattr(self, name)!r}, expected a number > 0")
        if int(self.score_every) != self.score_every or self.score_every < 1:
            raise DeblendError(f"score_every: {self.score_every!r}, expected a whole number >= 1")
        for name in ("b1", "b2"):
            if not 0 <= getattr(self, name) < 1:
                raise DeblendError(f"{name}: {getattr(self, name)!r}, expected a number from 0 to below 1")

    def sigma(self, progress):
        """Noise level of the prior.

        Parameters
        ----------
        progress : float
            Share of the iterations that are done, 0 to 1.

        Returns
        -------
        float
            Between ``sigma_start`` and ``sigma_end``.
        """
        return self.sigma_start * (self.sigma_end / self.sigma_start) ** progress

    def _stepper(self, problem, variables, constraints, term):
        return _State(self, problem, variables, constraints, term)


class _State(Stepper):
    """u of each free source, and Adam's moments."""

    def __init__(self, settings, problem, variables, constraints, term):
        super().__init__(settings, problem, variables, constraints, term)
        own = term is not None and term.normalisation.softening is not None
        self.scale = term.normalisation if own else Normalisation("peak", settings.softening)
        for k in variables.free:
            self._set(k, variables.values[k])
        self.moments = {k: Moments(variables.values[k].shape, False) for k in variables.free}
        self.seds = problem.evaluate(variables.stack()).seds
        self.parametric = ParametricSteps(problem)
        self.scores = None

    def _set(self, k, values):
        """A new morphology, constrained and brought to unit size; nothing if it has no light."""
        values = self.constraints.apply(values)
        size = self.scale.size(values)
        if np.isfinite(size) and size > 0:
            self.variables.set_free(k, values / size)

    def step(self):
        progress = self.iteration / max(self.settings.stop.max_iterations - 1, 1)
        self.iteration += 1
        point = self.problem.evaluate(self.variables.stack())
        self.seds = point.seds
        objective = point.half_chi2 + self._costs()
        images = self.problem.gradient(point)
        if self.scores is None or (self.iteration - 1) % self.settings.score_every == 0:
            self.scores = self._scores(self.settings.sigma(progress))
        length = self.settings.step * _STEP_AT_THE_END**progress
        for k in self.variables.free:
            self._move(k, self.variables.cut(images[k], k), self.scores[k], length)
        for k in self.variables.parametric:
            gradient = self.variables.cut(images[k], k)
            source = self.parametric.moved(self.variables, k, gradient, point.seds[k])
            self.variables.replace_parametric(k, source)
        return objective

    def _costs(self):
        values, free = self.variables.values, self.variables.free
        if self.term is None or not (self.term.has_log_prob and free):
            return 0.0
        return -float(self.term.log_prob([self.term.normalisation.forward(values[k]) for k in free]).sum())

    def _scores(self, sigma):
        """Score of each free source in u: the prior's own, or by the chain rule where it is not of u."""
        values, free = self.variables.values, self.variables.free
        if self.term is None or not free:
            return dict.fromkeys(free, 0.0)
        norm = self.term.normalisation
        scores = self.term.score([norm.forward(values[k]) for k in free], sigma)
        if norm is not self.scale:
            scores = [
                norm.pull_back(values[k], score) * np.sqrt(values[k] ** 2 + self.scale.softening**2)
                for k, score in zip(free, scores, strict=True)
            ]
        return {k: self.finite(k, score) for k, score in zip(free, scores, strict=True)}

    def _move(self, k, gradient, score, length):
        values, softening = self.variables.values[k], self.scale.softening
        slope = gradient * np.sqrt(values**2 + softening**2) - score
        direction, scale = self.moments[k].update(slope, self.settings.b1, self.settings.b2)
        u = np.arcsinh(values / softening) - length * direction / scale
        self._set(k, softening * np.sinh(u))

    def grow(self, pads):
        for k, pad in pads.items():
            self.variables.set_free(k, padded(self.variables.values[k], pad))
            self.moments[k].grow(pad)
        self.scores = None  # of the smaller boxes

    def finish(self):
        return self.problem.evaluate(self.variables.stack()).seds
