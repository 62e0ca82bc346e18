"""When to stop: what has happened over a window of iterations, never one step alone."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from celestepy.deblend.errors import DeblendError

__all__ = ["StopRule", "StopTest"]


@dataclass(frozen=True)
class StopRule:
    """Settings of the stop test.

    Parameters
    ----------
    max_iterations : int
        Iterations allowed.
    window : int
        Iterations over which the changes are taken.
    tolerance : float
        Largest change of the objective within the window, relative to its size, for convergence.
    flux_tolerance : float
        Largest relative change of any source's total flux within the window.
    """

    max_iterations: int = 200
    window: int = 10
    tolerance: float = 1e-4
    flux_tolerance: float = 2e-3

    def __post_init__(self):
        for name, smallest in (("max_iterations", 1), ("window", 2)):
            value = getattr(self, name)
            if int(value) != value or value < smallest:
                raise DeblendError(f"{name}: {value!r}, expected a whole number >= {smallest}")
        for name in ("tolerance", "flux_tolerance"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise DeblendError(f"{name}: {value!r}, expected a number >= 0; 0 never stops early")


class StopTest:
    """State of the test during one fit.

    Parameters
    ----------
    rule : StopRule
        Its settings.
    """

    def __init__(self, rule):
        self.rule = rule
        self._values = deque(maxlen=rule.window + 1)
        self._fluxes = deque(maxlen=rule.window + 1)

    def restart(self):
        """Forget what was recorded, for instance because the problem has changed."""
        self._values.clear()
        self._fluxes.clear()

    def has_converged(self, value, seds):
        """Record one iteration.

        Parameters
        ----------
        value : float
            Objective.
        seds : (K, B) array
            Fluxes.

        Returns
        -------
        bool
            Whether neither has changed by more than the tolerances within the whole window.
        """
        self._values.append(value)
        self._fluxes.append(seds.sum(axis=1))
        if len(self._values) < self._values.maxlen:
            return False
        values, fluxes = np.array(self._values), np.array(self._fluxes)
        still = np.ptp(values) <= self.rule.tolerance * np.abs(values).max()
        size = np.abs(fluxes).max(axis=0)
        return bool(still and np.all(np.ptp(fluxes, axis=0) <= self.rule.flux_tolerance * size))
