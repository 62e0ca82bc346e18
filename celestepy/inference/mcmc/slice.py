"""Slice sampling along one axis after another, many chains at a time (Neal 2003, Annals of Statistics 31, 705).

A point under the graph of the density is drawn in two alternating steps: a height, uniform between zero and the
density at the present state, and a state, uniform on the part of a line through the present one on which the
density is above that height (the slice). The slice is found by stepping out (figure 3 of the paper) and drawn from
by shrinkage (figure 5). Nothing is ever rejected and there is no scale that has to be right: a width that is far
off costs evaluations and leaves the distribution as it is.
"""

from dataclasses import dataclass

import numpy as np

from celestepy.inference.mcmc.chains import Chains
from celestepy.inference.mcmc.density import CheckedDensity, SamplingError, checked_count, checked_starts

__all__ = ["SliceSampler"]

# Brackets shrink to less than half on average, so that after so many steps nothing is left of one.
_MOST_SHRINKAGES = 200
# Mean step of a uniform draw from the slices of a Gaussian, to the width that costs fewest evaluations there.
_WIDTH_PER_STEP = 3.0


@dataclass(frozen=True, eq=False)
class SliceSampler:
    """Settings of slice sampling.

    Parameters
    ----------
    n_draws : int
        Sweeps over all axes after the burn-in, each of which gives one draw per chain.
    burn_in : int
        Sweeps before that.
    widths : array_like, optional
        First width of the bracket along each axis, shape (D,) or a scalar: about three standard deviations is best.
        Without it, widths start at 1 along parameters, or at 3 along whitened axes, and follow the size of the
        steps during the burn-in, after which they are fixed, as they must be.
    whitening : array_like, optional
        Matrix L, shape (D, D), whose columns are the axes: slices are along ``x + t L[:, j]``. With the Cholesky
        factor of a covariance this is coordinate sampling of z in ``x = start + L z``. No Jacobian comes in, as L is
        constant. Without it the axes are the parameters.
    max_steps : int
        Widths that a bracket may be long in the end, `m` in figure 3 of Neal (2003). With 1 the ends of the bracket
        are never evaluated, which is cheapest where widths are known to be long enough.

    Raises
    ------
    SamplingError
        If a setting is out of its range, or `whitening` is singular.
    """

    n_draws: int = 1000
    burn_in: int = 100
    widths: np.ndarray | float | None = None
    whitening: np.ndarray | None = None
    max_steps: int = 10

    def __post_init__(self):
        checked_count("n_draws", self.n_draws)
        checked_count("burn_in", self.burn_in, least=0)
        checked_count("max_steps", self.max_steps)
        if self.widths is not None:
            object.__setattr__(self, "widths", _checked_widths(self.widths))
        if self.whitening is not None:
            object.__setattr__(self, "whitening", _checked_whitening(self.whitening))

    def sample(self, log_density, start, rng):
        """Run chains.

        Parameters
        ----------
        log_density : callable
            Points, shape (n, D), to log densities, shape (n,).
        start : array_like
            One point of positive density per chain, shape (C, D).
        rng : `~numpy.random.Generator`
            Source of random numbers.

        Returns
        -------
        Chains
            ``n_draws`` states of each chain.

        Raises
        ------
        SamplingError
            If a start lies outside the support, shapes disagree, or the density is infinite.
        """
        density = CheckedDensity(log_density)
        x, values = checked_starts(density, start)
        axes, widths = self._axes(x.shape[1])
        distance = np.zeros(len(widths))
        for sweep in range(self.burn_in):
            x, values, steps = self._sweep(density, x, values, widths[:, None] * axes, rng)
            if self.widths is None:
                distance += widths * steps
                widths = np.where(distance > 0, _WIDTH_PER_STEP * distance / (sweep + 1), widths)
        draws = np.empty((len(x), self.n_draws, x.shape[1]))
        log_densities = np.empty((len(x), self.n_draws))
        for draw in range(self.n_draws):
            x, values, _ = self._sweep(density, x, values, widths[:, None] * axes, rng)
            draws[:, draw], log_densities[:, draw] = x, values
        return Chains(draws, log_densities, density.n_evaluations)

    def sweep(self, density, x, values, rng):
        """Move every chain once along each axis: a transition that leaves the density as it is.

        Parameters
        ----------
        density : CheckedDensity
            The density, or any function that returns no NaN.
        x : `~numpy.ndarray`
            States, shape (C, D), all of positive density.
        values : `~numpy.ndarray`
            Their log densities, shape (C,).
        rng : `~numpy.random.Generator`
            Source of random numbers.

        Returns
        -------
        x : `~numpy.ndarray`
            New states, shape (C, D).
        values : `~numpy.ndarray`
            Their log densities, shape (C,).

        Raises
        ------
        SamplingError
            If `widths` or `whitening` are for another number of parameters.
        """
        axes, widths = self._axes(x.shape[1])
        return self._sweep(density, x, values, widths[:, None] * axes, rng)[:2]

    def _axes(self, size):
        """One axis per row, shape (D, D), and the first width along each, shape (D,)."""
        axes = np.eye(size) if self.whitening is None else self.whitening.T
        first = (1.0 if self.whitening is None else 3.0) if self.widths is None else self.widths
        if axes.shape != (size, size) or np.shape(first) not in ((), (size,)):
            raise SamplingError(
                f"widths and whitening have shapes {np.shape(first)} and {axes.shape}; expected ({size},) and"
                f" ({size}, {size}) for points with {size} parameters"
            )
        return axes, np.full(size, first)

    def _sweep(self, density, x, values, axes, rng):
        """States after a move along each axis, their densities, and the mean length of the moves, in widths."""
        lengths = np.empty(len(axes))
        for j, axis in enumerate(axes):
            level = self._level(values, rng)
            left, right = self._step_out(density, x, level, axis, rng)
            x, values, steps = self._shrink(density, x, values, level, axis, left, right, rng)
            lengths[j] = np.mean(np.abs(steps))
        return x, values, lengths

    def _level(self, values, rng):
        """Log heights of the slices: the log of a uniform variate below the density."""
        return values - rng.standard_exponential(len(values))

    def _step_out(self, density, x, level, axis, rng):
        """Ends of the brackets, in units of the axis, which reach from the state beyond the slice if they may."""
        n = len(x)
        left = -rng.random(n)
        ends = np.concatenate([left, left + 1.0])
        if self.max_steps == 1:
            return ends[:n], ends[n:]
        outward = np.repeat([-1.0, 1.0], n)
        # The steps allowed are shared out between the ends beforehand, without which long slices would be favoured.
        share = rng.integers(self.max_steps, size=n)
        allowed = np.concatenate([share, self.max_steps - 1 - share])
        moving = np.flatnonzero(allowed)
        while moving.size:
            points = x[moving % n] + ends[moving, None] * axis
            moving = moving[density(points) > level[moving % n]]
            ends[moving] += outward[moving]
            allowed[moving] -= 1
            moving = moving[allowed[moving] > 0]
        return ends[:n], ends[n:]

    def _shrink(self, density, x, values, level, axis, left, right, rng):
        """States drawn from the slices within the brackets; each failure becomes an end of its bracket."""
        x, values, steps = x.copy(), values.copy(), np.zeros(len(x))
        moving = np.arange(len(x))
        for _ in range(_MOST_SHRINKAGES):
            step = left[moving] + (right[moving] - left[moving]) * rng.random(moving.size)
            points = x[moving] + step[:, None] * axis
            trial = density(points)
            inside = trial >= level[moving]
            done = moving[inside]
            x[done], values[done], steps[done] = points[inside], trial[inside], step[inside]
            moving, step = moving[~inside], step[~inside]
            if not moving.size:
                break
            left[moving] = np.where(step < 0, step, left[moving])
            right[moving] = np.where(step < 0, right[moving], step)
        # A density that differs in the last digits between calls may have no slice left: that chain stays.
        return x, values, steps


def _checked_widths(widths):
    widths = np.array(widths, dtype=float)
    if widths.ndim > 1 or not (np.isfinite(widths) & (widths > 0)).all():
        raise SamplingError(f"widths = {widths!r}: expected positive numbers, one or one for each parameter")
    return widths


def _checked_whitening(whitening):
    whitening = np.array(whitening, dtype=float)
    if whitening.ndim != 2 or whitening.shape[0] != whitening.shape[1] or not np.isfinite(whitening).all():
        raise SamplingError(f"whitening has shape {whitening.shape}; expected a finite square matrix, shape (D, D)")
    lengths = np.linalg.norm(whitening, axis=0)
    # Columns are scaled first: parameters in very different units are no reason to refuse.
    if not (lengths > 0).all() or np.linalg.matrix_rank(whitening / lengths) < len(whitening):
        raise SamplingError("whitening is singular: its columns must span all parameters; add a small diagonal")
    return whitening
