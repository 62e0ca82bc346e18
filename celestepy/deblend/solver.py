"""What all methods share: one interface, one loop, one verdict on every source.

A method is a record of settings with ``fit(scene) -> DeblendResult``. What changes from one iteration to the next is
held by a stepper of its own; the loop asks it for steps, lets boxes grow and tests whether to stop.
"""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from celestepy.deblend.constraints import Constraints
from celestepy.deblend.flux_errors import FREEDOM
from celestepy.deblend.growth import Growth
from celestepy.deblend.priors import PriorTerm
from celestepy.deblend.problem import Problem
from celestepy.deblend.result import DeblendResult
from celestepy.deblend.seds import flux_covariance
from celestepy.deblend.statuses import statuses_of
from celestepy.deblend.stopping import StopRule, StopTest
from celestepy.deblend.variables import Variables

__all__ = ["Solver", "Stepper"]


class Stepper(ABC):
    """State of one fit.

    Parameters
    ----------
    settings : Solver
        The method's settings.
    problem : Problem
        Half chi^2.
    variables : Variables
        What moves.
    constraints : Constraints
        On free morphologies.
    term : PriorTerm or None
        Prior on free morphologies.
    """

    def __init__(self, settings, problem, variables, constraints, term):
        self.settings, self.problem, self.variables = settings, problem, variables
        self.constraints, self.term = constraints, term
        self.troubled = set()
        self.iteration = 0

    seds = None
    ended = None

    @abstractmethod
    def step(self):
        """Take one step.

        Returns
        -------
        float
            Objective before or after it, always the same of the two.
        """

    @abstractmethod
    def grow(self, pads):
        """Let boxes grow.

        Parameters
        ----------
        pads : dict of int to (int, int)
            Rows and columns to add to each side of free sources.
        """

    @abstractmethod
    def finish(self):
        """Leave the variables in their normalisation of the result.

        Returns
        -------
        (K, B) array
            Fluxes of the variables' values.
        """

    def finite(self, k, gradient):
        """Take a source out of the prior's or the data's hands where they give no number.

        Parameters
        ----------
        k : int
            Which active source.
        gradient : (h, w) array
            Its gradient.

        Returns
        -------
        (h, w) array
            The same, or zeros.
        """
        if np.isfinite(gradient).all():
            return gradient
        self.troubled.add(k)
        return np.zeros_like(gradient)


@dataclass(frozen=True)
class Solver(ABC):
    """Settings that all methods have.

    Parameters
    ----------
    constraints : tuple
        Of `celestepy.deblend.constraints`, on free morphologies.
    prior : MorphologyPrior, optional
        On free morphologies.
    stop : StopRule
        When to stop.
    growth : Growth or None
        When boxes grow; None lets them be.
    nonnegative_fluxes : bool
        Whether fluxes must not be negative.
    """

    constraints: tuple = ()
    prior: object = None
    stop: StopRule = StopRule()
    growth: Growth = Growth()
    nonnegative_fluxes: bool = True

    freedom = FREEDOM  # what morphologies may be off by, for errors of fluxes; see `flux_errors`
    beyond_stamps = False  # whether boxes may be larger than the prior's stamp

    @abstractmethod
    def _stepper(self, problem, variables, constraints, term):
        """The state of a new fit."""

    def _prepared(self, scene, term):
        """The scene that the steps begin from."""
        return scene

    def fit(self, scene):
        """Fit morphologies, fluxes and the parameters of stars and galaxies.

        Parameters
        ----------
        scene : Scene
            The start. Sources outside of the frame, without data or twice at the same place are flagged.

        Returns
        -------
        DeblendResult
            The fitted scene with a status for each source.

        Raises
        ------
        DeblendError
            If the prior was not made for such sources.
        """
        began = time.perf_counter()
        constraints = Constraints(self.constraints)
        frame = scene.frame
        term = None if self.prior is None else PriorTerm(self.prior, frame.grid.pixel_scale, frame.model_psf)
        scene = self._prepared(scene, term)
        variables = Variables(scene)
        for k in variables.free if term is not None and not self.beyond_stamps else ():
            term.check(variables.boxes[k].shape, f"source {variables.indices[k]}")
        problem = Problem(frame, nonnegative=self.nonnegative_fluxes, flux_cost=constraints.flux_cost)
        if not len(variables):
            return _result(scene, scene.sources, set(), [], "no source lies in the frame", began, self)
        stepper = self._stepper(problem, variables, constraints, term)
        trace, reason = self._iterate(stepper, _depth(frame), term)
        seds = stepper.finish()
        fitted = dict(zip(variables.indices, variables.fitted(seds), strict=True))
        empty = np.zeros(frame.n_bands)
        sources = [fitted.get(k, source.replace(sed=empty)) for k, source in enumerate(scene.sources)]
        troubled = {variables.indices[k] for k in stepper.troubled}
        return _result(scene, sources, troubled, trace, reason, began, self)

    def _iterate(self, stepper, depth, term):
        """Take steps until there is a reason not to."""
        test, trace = StopTest(self.stop), []
        largest = None if term is None else term.largest_half
        for iteration in range(1, self.stop.max_iterations + 1):
            trace.append(stepper.step())
            if stepper.ended:
                return trace, stepper.ended
            is_time = self.growth is not None and iteration % self.growth.every == 0
            if is_time and self._grow(stepper, depth, largest):
                test.restart()
            elif test.has_converged(trace[-1], stepper.seds):
                return trace, CONVERGED
        return trace, f"{self.stop.max_iterations} iterations; allow more with stop=StopRule(max_iterations=...)"

    def _grow(self, stepper, depth, largest):
        """Let boxes grow; whether any does."""
        variables, pads = stepper.variables, {}
        for k in variables.free:
            size = variables.values[k].sum()
            if size > 0:
                pad = self.growth.padding(variables.values[k] / size, stepper.seds[k] * size, depth, largest)
                if any(pad):
                    pads[k] = pad
        if pads:
            stepper.grow(pads)
        return bool(pads)


CONVERGED = "converged"


def _depth(frame):
    """Median inverse variance of each band, in the best observation, of as much sky as a pixel of the model has."""
    depth = np.zeros(frame.n_bands)
    for observation, bands in zip(frame.observations, frame.band_indices, strict=True):
        larger = observation.grid.pixel_area / frame.grid.pixel_area
        for own, band in zip(observation.weights, bands, strict=True):
            used = own[own > 0]
            if used.size:
                depth[band] = max(depth[band], larger * np.median(used))
    return depth


def _result(scene, sources, troubled, trace, reason, began, method):
    fitted = scene.replace(sources)
    gram, _ = fitted.linear_problem() if len(fitted) else (np.zeros((fitted.frame.n_bands, 0, 0)), None)
    covariance = flux_covariance(gram)
    known = np.isfinite(np.einsum("bkk->kb", covariance))
    statuses, messages = statuses_of(fitted, known, troubled)
    return DeblendResult(
        scene=fitted,
        statuses=statuses,
        messages=messages,
        known=known,
        covariance=covariance,
        trace=np.array(trace),
        converged=reason == CONVERGED,
        reason=reason,
        seconds=time.perf_counter() - began,
        prior=method.prior,
        freedom=method.freedom,
    )
