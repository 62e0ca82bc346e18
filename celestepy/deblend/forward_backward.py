"""Forward-backward splitting with backtracking: a gradient step of all that is smooth, then the constraints' operators.

The fluxes are solved for at every point, so the smooth function depends on morphologies alone (see `problem`). Source k
has the step tau / L_k with the bound L_k on its curvature; tau grows while steps succeed and is halved where the
objective would rise. With exact constraints, and with a prior that has a log density, the objective never rises. A
step begins beyond the last point in the direction of the last move (Beck & Teboulle 2009), unless that would raise the
objective (O'Donoghue & Candes 2015).

The second derivatives of a prior on a logarithmic scale differ by many orders of magnitude between bright and faint
pixels. Where the prior bounds them (see `MorphologyPrior`) and the constraints act on each pixel alone, each pixel has
its own step, tau / (L_k + bound). With a log density, the box of a source is the prior's whole stamp from the
beginning: zeros beyond a smaller one would be edges that no galaxy has, and the objective changes when a box grows.
"""

from dataclasses import dataclass, field

import numpy as np

from celestepy.deblend.constraints import Monotonic, NonNegative, Symmetric
from celestepy.deblend.errors import DeblendError
from celestepy.deblend.growth import padded
from celestepy.deblend.parametric import ParametricSteps
from celestepy.deblend.solver import Solver, Stepper

__all__ = ["ForwardBackward"]

_GROWTH, _SHRINKAGE, _LARGEST_TAU = 1.1, 0.5, 50.0
_MOST_TRIALS = 30
_ROUNDING = 1e-12  # of the objective


@dataclass(frozen=True)
class ForwardBackward(Solver):
    """Settings of forward-backward splitting; see `celestepy.deblend.solver.Solver` for those of all methods.

    Parameters
    ----------
    constraints : tuple
        By default symmetric, monotonic by projection, and non-negative.
    accelerated : bool
        Whether steps begin beyond the last point. Not done for a prior without a log density.
    sigma : float
        Noise level at which the prior's score is taken.
    """

    constraints: tuple = field(default=(Symmetric(), Monotonic(), NonNegative()))
    accelerated: bool = True
    sigma: float = 0.0

    @property
    def freedom(self):
        """What morphologies may be off by: less where a prior's log density decides on them."""
        return 0.6 if hasattr(self.prior, "log_prob") else 3.0

    def __post_init__(self):
        if not (np.isfinite(self.sigma) and self.sigma >= 0):
            raise DeblendError(f"sigma: {self.sigma!r}, expected a number >= 0")

    def _stepper(self, problem, variables, constraints, term):
        return _State(self, problem, variables, constraints, term)


@dataclass(frozen=True, eq=False)
class _Trial:
    """A point that may be gone to: values, records of stars and galaxies, and the objective with its smooth part."""

    values: list
    records: dict
    point: object
    smooth: float
    objective: float


class _State(Stepper):
    """Values, their images and the objective; the same of the point before."""

    def __init__(self, settings, problem, variables, constraints, term):
        super().__init__(settings, problem, variables, constraints, term)
        for k in variables.free:
            values = self._in_box(variables.values[k])
            variables.set_free(k, _unit(constraints.apply(values), values))
        self.tau, self.age = 0.5, 1.0
        self.parametric = ParametricSteps(problem)
        self._start()

    def _in_box(self, values):
        """A morphology in the box that it is fitted in."""
        if self.term is None or not self.term.has_log_prob:
            return values
        halves = zip(self.term.largest_half, values.shape, strict=True)
        return padded(values, tuple(max(half - side // 2, 0) for half, side in halves))

    def _start(self):
        """Evaluate where the variables are, with no direction of the last move."""
        self.point = self.problem.evaluate(self.variables.stack())
        self.objective = self._objective(self.point, self.variables.values)
        self.before = None

    @property
    def seds(self):
        return self.point.seds

    def _smooth(self, evaluation, values):
        """Half chi^2 and, where it has a value, minus the log prior."""
        free = self.variables.free
        if self.term is None or not (self.term.has_log_prob and free):
            return evaluation.half_chi2
        with np.errstate(all="ignore"):  # a morphology without light has no normalisation: not finite, refused
            log_prob = self.term.log_prob([self.term.normalisation.forward(values[k]) for k in free])
        return float(evaluation.half_chi2 - log_prob.sum())

    def _objective(self, evaluation, values):
        """What is smooth, and the constraints' costs."""
        costs = (self.constraints.cost(values[k], evaluation.seds[k].sum()) for k in self.variables.free)
        return self._smooth(evaluation, values) + sum(costs)

    def step(self):
        momentum = self._momentum()
        if not (momentum > 0 and self._advance(momentum)):
            self.age = 1.0
            if not self._advance(0.0):
                self.ended = "no step lowers the objective any more"
        return self.objective

    def _momentum(self):
        promised = self.constraints.exact and (self.term is None or self.term.has_log_prob)
        if self.before is None or not (self.settings.accelerated and promised):
            return 0.0
        return (self.age - 1) / (0.5 + np.sqrt(0.25 + self.age**2))

    def _advance(self, momentum):
        """Try shorter and shorter steps from one origin; whether one was taken."""
        origin, values = (self.point, self.variables.values) if momentum == 0 else self._beyond(momentum)
        gradients = self._gradients(origin, values)
        bounds = self._curvatures(origin, values)
        smooth = self._smooth(origin, values)
        for attempt in range(_MOST_TRIALS):
            moved, records = self._moved(values, gradients, bounds, origin.seds, _SHRINKAGE**attempt)
            trial = self._trial(moved, records)
            if trial.smooth <= smooth + _ROUNDING * abs(smooth) + self._rise(moved, values, gradients[0], bounds):
                return self._taken(trial)
            self.tau *= _SHRINKAGE
        return False

    def _curvatures(self, origin, values):
        """Bounds on second derivatives: of the data a number for each source, of the prior one for each pixel."""
        bounds = list(self.problem.lipschitz(origin.seds))
        if self.term is not None and self.term.has_log_prob and self.constraints.separable:
            for k in self.variables.free:
                bounds[k] = bounds[k] + self.term.curvature(values[k])
        return bounds

    def _beyond(self, momentum):
        """The origin of an accelerated step; images are linear in values."""
        values, images = self.before
        moves = {k: momentum for k in self.variables.free}
        shares = np.array([moves.get(k, 0.0) for k in range(len(self.variables))])[:, None]
        columns = [now + shares * (now - old) for now, old in zip(self.point.columns, images, strict=True)]
        own = self.variables.values
        pairs = enumerate(zip(own, values, strict=True))
        values = [now + moves[k] * (now - old) if k in moves else now for k, (now, old) in pairs]
        return self.problem.evaluate_columns(columns), values

    def _gradients(self, evaluation, values):
        """Derivatives with respect to the pixels of every box: of `_smooth`, and with the prior's score in any case."""
        image = self.problem.gradient(evaluation)
        of_data = [self.variables.cut(own, k) for k, own in enumerate(image)]
        gradients = list(of_data)
        free = self.variables.free
        if self.term is not None and free:
            norm = self.term.normalisation
            scores = self.term.score([norm.forward(values[k]) for k in free], self.settings.sigma)
            for k, score in zip(free, scores, strict=True):
                gradients[k] = gradients[k] - self.finite(k, norm.pull_back(values[k], score))
        has_value = self.term is not None and self.term.has_log_prob
        return (gradients if has_value else of_data), gradients

    def _moved(self, values, gradients, bounds, seds, share):
        """Sources after a step of the present length: values, and records of stars and galaxies."""
        moved, records = list(values), {}
        for k in self.variables.free:
            if np.all(bounds[k] > 0):
                step = self.tau / bounds[k]
                moved[k] = self.constraints.apply(values[k] - step * gradients[1][k], step, seds[k].sum())
        for k in self.variables.parametric:
            records[k] = self.parametric.moved(self.variables, k, gradients[0][k], seds[k], share)
            moved[k] = records[k].morphology
        return moved, records

    def _rise(self, moved, values, gradients, bounds):
        """How much the quadratic bound rises from the origin to the trial point."""
        rise = 0.0
        for k, (new, old) in enumerate(zip(moved, values, strict=True)):
            if new.shape == old.shape:
                move = new - old
                rise += float(np.vdot(gradients[k], move) + 0.5 / self.tau * np.vdot(bounds[k] * move, move))
        return rise

    def _trial(self, moved, records):
        """Everything at a trial point."""
        own = self.variables
        values = [_unit(new, own.values[k]) if k in own.free else new for k, new in enumerate(moved)]
        boxes = [records[k].box if k in records else box for k, box in enumerate(own.boxes)]
        point = self.problem.evaluate(own.stack(values, boxes))
        return _Trial(values, records, point, self._smooth(point, values), self._objective(point, values))

    def _taken(self, trial):
        """Go to the trial point, unless the objective would rise there though the constraints promise it does not."""
        promised = self.constraints.exact and (self.term is None or self.term.has_log_prob)
        if promised and not trial.objective <= self.objective + _ROUNDING * abs(self.objective):
            return False
        self.before = (list(self.variables.values), self.point.columns)
        for k in self.variables.free:
            self.variables.set_free(k, trial.values[k])
        for k, record in trial.records.items():
            self.variables.replace_parametric(k, record)
        self.point, self.objective = trial.point, trial.objective
        self.age = 0.5 + np.sqrt(0.25 + self.age**2)
        self.tau = min(self.tau * _GROWTH, _LARGEST_TAU)
        return True

    def grow(self, pads):
        for k, pad in pads.items():
            self.variables.set_free(k, padded(self.variables.values[k], pad))
        self.age = 1.0
        self._start()

    def finish(self):
        return self.point.seds


def _unit(values, fallback):
    """Values of unit sum; the fallback where there is no light."""
    total = values.sum()
    return values / total if np.isfinite(total) and total > 0 else fallback
