"""Trust-region Newton minimisation with exact Hessians, for a few to a few dozen parameters.

The subproblem is solved to the boundary of the trust region whatever the signs of the Hessian's eigenvalues,
so indefinite Hessians, which are the rule far from the optimum, need no special treatment (Nocedal & Wright
2006, section 4.3).
"""

import math
from dataclasses import dataclass

import numpy as np

from celestepy.inference._newton import QuadraticModel

__all__ = ["Minimum", "TrustRegion"]


@dataclass(frozen=True)
class Minimum:
    """Where a minimisation ended.

    Attributes
    ----------
    x : `~numpy.ndarray`
        Parameters at the minimum, shape (n,).
    value : float
        Objective there (by the quadratic model, if the last step was too small to be worth evaluating).
    gradient, hessian : `~numpy.ndarray`
        Derivatives at the last evaluated point, shapes (n,) and (n, n).
    n_iterations : int
        Evaluations of the objective.
    converged : bool
        Whether the Newton decrement fell below the tolerance at a positive definite Hessian.
    message : str
        Why the iteration stopped.
    """

    x: np.ndarray
    value: float
    gradient: np.ndarray
    hessian: np.ndarray
    n_iterations: int
    converged: bool
    message: str


@dataclass(frozen=True)
class TrustRegion:
    """Settings of the trust-region Newton iteration.

    Parameters
    ----------
    max_iterations : int
        Evaluations allowed.
    tolerance : float
        The iteration stops where the Newton decrement, the improvement still expected, is below this. The
        objective is a negative log posterior, so the unit is nats; a parameter is then within
        ``sqrt(2 tolerance)`` standard deviations of its optimum even before the last step, which is taken
        without being evaluated.
    radius : float
        First radius, in units of the parameters' ``scale``.
    max_radius : float
        Largest radius.
    """

    max_iterations: int = 50
    tolerance: float = 1e-3
    radius: float = 2.0
    max_radius: float = 20.0

    def __post_init__(self):
        for name in ("max_iterations", "tolerance", "radius", "max_radius"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"{name} = {value!r}: expected a positive number")

    def minimise(self, objective, start, scale):
        """Minimise an objective that returns its value, gradient and Hessian.

        Parameters
        ----------
        objective : callable
            ``objective(x) -> (value, gradient, hessian)``. A value that is not finite rejects the step.
        start : array_like
            First parameters, shape (n,); the objective must be finite there.
        scale : array_like
            A natural unit of each parameter, shape (n,).

        Returns
        -------
        Minimum
            The end point and the verdict.

        Raises
        ------
        ValueError
            If the shapes disagree.
        """
        scale = np.ascontiguousarray(scale, dtype=float)
        x = np.array(start, dtype=float)
        if x.ndim != 1 or scale.shape != x.shape:
            raise ValueError(f"start and scale have shapes {x.shape} and {scale.shape}; expected vectors of one length")
        value, gradient, hessian = objective(x)
        if not math.isfinite(value):
            return Minimum(x, value, gradient, hessian, 1, False, "the objective is not finite at the start")
        radius, model = self.radius, _model(x, gradient, hessian, scale)
        for iteration in range(1, self.max_iterations + 1):
            if not model.is_finite:
                return Minimum(x, value, gradient, hessian, iteration, False, "the Hessian is not finite")
            if model.is_convex and model.decrement < self.tolerance:
                x = x + model.newton_step()
                return Minimum(x, value - model.decrement, gradient, hessian, iteration, True, "converged")
            if iteration == self.max_iterations:
                break
            step, length, is_on_boundary, expected = model.step(radius)
            trial = objective(x + step)
            is_finite = math.isfinite(trial[0])
            ratio = (value - trial[0]) / expected if is_finite and expected > 0 else -1.0
            radius = self._next_radius(radius, ratio, is_on_boundary, length)
            # A gain below rounding cannot be told from a loss.
            if ratio > 1e-4 or (is_finite and expected < 1e-12 * abs(value)):
                x = x + step
                value, gradient, hessian = trial
                model = _model(x, gradient, hessian, scale)
            elif radius < 1e-9:
                message = "the trust region shrank to nothing"
                return Minimum(x, value, gradient, hessian, iteration, False, message)
        message = f"stopped after {self.max_iterations} iterations; raise max_iterations"
        return Minimum(x, value, gradient, hessian, self.max_iterations, False, message)

    def _next_radius(self, radius, ratio, is_on_boundary, length):
        if ratio < 0.25:
            return 0.25 * length
        if ratio > 0.75 and is_on_boundary:
            return min(2.5 * radius, self.max_radius)
        return radius


def _model(x, gradient, hessian, scale):
    """The quadratic model of an objective about x, in scaled coordinates."""
    gradient = np.ascontiguousarray(gradient, dtype=float)
    hessian = np.ascontiguousarray(hessian, dtype=float)
    if gradient.shape != x.shape or hessian.shape != 2 * x.shape:
        raise ValueError(
            f"objective: gradient and Hessian have shapes {gradient.shape} and {hessian.shape}; "
            f"expected {x.shape} and {2 * x.shape}"
        )
    return QuadraticModel(gradient, hessian, scale)
