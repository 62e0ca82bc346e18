"""Trust-region Newton minimisation with exact Hessians, for a few to a few dozen parameters.

The subproblem is solved exactly from the eigendecomposition of the (scaled) Hessian, so indefinite Hessians, which
are the rule far from the optimum, need no special treatment (Nocedal & Wright 2006, section 4.3).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, eigh

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
        The iteration stops where the Newton decrement, the improvement still expected, is below this. The objective
        is a negative log posterior, so the unit is nats; a parameter is then within ``sqrt(2 tolerance)`` standard
        deviations of its optimum even before the last step, which is taken without being evaluated.
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
        """
        scale = np.asarray(scale, dtype=float)
        x = np.array(start, dtype=float)
        value, gradient, hessian = objective(x)
        if not np.isfinite(value):
            return Minimum(x, value, gradient, hessian, 1, False, "the objective is not finite at the start")
        radius = self.radius
        for iteration in range(1, self.max_iterations + 1):
            try:
                model = _QuadraticModel(gradient, hessian, scale)
            except (LinAlgError, ValueError):
                return Minimum(x, value, gradient, hessian, iteration, False, "the Hessian is not finite")
            if model.is_convex and model.decrement < self.tolerance:
                x = x + model.newton_step() * scale
                return Minimum(x, value - model.decrement, gradient, hessian, iteration, True, "converged")
            if iteration == self.max_iterations:
                break
            step, on_boundary = model.step(radius)
            trial = objective(x + step * scale)
            expected = model.reduction(step)
            ratio = (value - trial[0]) / expected if np.isfinite(trial[0]) else -1.0
            radius = self._next_radius(radius, ratio, on_boundary, step)
            # A gain below rounding cannot be told from a loss.
            if ratio > 1e-4 or abs(expected) < 1e-12 * abs(value):
                x = x + step * scale
                value, gradient, hessian = trial
            elif radius < 1e-9:
                return Minimum(x, value, gradient, hessian, iteration, False, "the trust region shrank to nothing")
        message = f"stopped after {self.max_iterations} iterations; raise max_iterations"
        return Minimum(x, value, gradient, hessian, self.max_iterations, False, message)

    def _next_radius(self, radius, ratio, on_boundary, step):
        if ratio < 0.25:
            return 0.25 * float(np.linalg.norm(step))
        if ratio > 0.75 and on_boundary:
            return min(2.5 * radius, self.max_radius)
        return radius


class _QuadraticModel:
    """The quadratic model of an objective in scaled coordinates, diagonalised."""

    def __init__(self, gradient, hessian, scale):
        self.gradient = gradient * scale
        self.hessian = hessian * scale[:, None] * scale
        self.values, self.vectors = eigh(self.hessian, driver="evd")
        self.rotated = self.vectors.T @ self.gradient

    @property
    def is_convex(self):
        return self.values[0] > 1e-12 * abs(self.values[-1])

    @property
    def decrement(self):
        return 0.5 * float(np.sum(self.rotated**2 / self.values))

    def newton_step(self):
        return -self.vectors @ (self.rotated / self.values)

    def reduction(self, step):
        return -float(self.gradient @ step + 0.5 * step @ self.hessian @ step)

    def step(self, radius):
        """The minimiser of the model within the radius, and whether it lies on the boundary."""
        if self.is_convex:
            step = self.rotated / self.values
            if step @ step <= radius**2:
                return -self.vectors @ step, False
        shift = self._shift(radius)
        step = -self.rotated / np.maximum(self.values + shift, 1e-300)
        missing = radius**2 - step @ step
        if self.values[0] < 0 and missing > 0.01 * radius**2:
            # The hard case: the gradient has no part along the direction of most negative curvature.
            step[0] += np.copysign(np.sqrt(missing), step[0])
        return self.vectors @ step, True

    def _shift(self, radius):
        """The shift that makes the step as long as the radius (safeguarded Newton on 1/|step|)."""
        low = max(0.0, -self.values[0])
        low += 1e-8 * max(abs(self.values[0]), abs(self.values[-1]), 1e-300)
        shift = max(low, np.linalg.norm(self.rotated) / radius - self.values[-1])
        for _ in range(20):
            shifted = self.values + shift
            step = self.rotated / shifted
            length = np.sqrt(step @ step)
            if abs(length - radius) < 0.05 * radius:
                break
            slope = np.sum(step**2 / shifted)
            if slope == 0:
                break
            shift = max(low, shift + (length - radius) / radius * length**2 / slope)
            if shift == low and length < radius:
                break
        return shift
