"""Generalised elliptical slice sampling (Nishihara, Murray & Adams 2014, JMLR 15, 2087), many chains at a time.

A fitted distribution stands in for the prior of elliptical slice sampling (Murray, Adams & MacKay 2010): with
``target = reference x ratio``, a Gaussian of the reference's scale mixture is drawn that the state may have come
from, a second point is drawn from it, and the new state is sought on the ellipse through both, where the Gaussian
does not change: only the ratio has to be above its slice. Where the reference fits, the ratio is nearly flat and
the first angle tried is taken: one evaluation moves all parameters at once, and the old state is forgotten.

Ellipses of a mixture stay near one of its components. From one to another lead jumps, to a fresh draw of the
reference that is accepted by the ratio of ratios (independence Metropolis; Tierney 1994, Annals of Statistics 22,
1701): where the reference fits they alone would do, and where it does not the ellipses still move.
"""

from dataclasses import dataclass

import numpy as np

from celestepy.inference.mcmc.chains import Chains
from celestepy.inference.mcmc.density import CheckedDensity, SamplingError, checked_count, checked_starts

__all__ = ["EllipticalSliceSampler"]

# Brackets shrink to less than half on average, so that after so many steps nothing is left of one.
_MOST_SHRINKAGES = 200


@dataclass(frozen=True, eq=False)
class EllipticalSliceSampler:
    """Settings of elliptical slice sampling.

    Parameters
    ----------
    reference : object
        A fitted distribution with ``draw(n, rng)``, ``log_density(x)`` and ``companions(x, rng)``, such as
        `~celestepy.inference.importance.StudentMixture`. Its tails should be no lighter than the target's.
    n_draws : int
        Draws of each chain after the burn-in.
    burn_in : int
        Draws before that.
    moves : int
        Ellipses per draw.
    jumps : int
        Jumps per draw, of one evaluation each.

    Raises
    ------
    SamplingError
        If a setting is out of its range.
    """

    reference: object
    n_draws: int = 1000
    burn_in: int = 20
    moves: int = 1
    jumps: int = 1

    def __post_init__(self):
        checked_count("n_draws", self.n_draws)
        checked_count("burn_in", self.burn_in, least=0)
        checked_count("moves", self.moves)
        checked_count("jumps", self.jumps, least=0)
        for name in ("draw", "log_density", "companions"):
            if not hasattr(self.reference, name):
                raise SamplingError(f"reference has no {name}: give a distribution such as StudentMixture")

    def sample(self, log_density, start, rng):
        """Run chains.

        Parameters
        ----------
        log_density : callable
            Points, shape (n, D), to log densities, shape (n,).
        start : array_like
            One point of positive density per chain, shape (C, D); draws of the reference do.
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
        draws = np.empty((len(x), self.n_draws, x.shape[1]))
        log_densities = np.empty((len(x), self.n_draws))
        for draw in range(-self.burn_in, self.n_draws):
            x, values = self.sweep(density, x, values, rng)
            if draw >= 0:
                draws[:, draw], log_densities[:, draw] = x, values
        return Chains(draws, log_densities, density.n_evaluations)

    def sweep(self, density, x, values, rng):
        """Make all jumps and moves of one draw: a transition that leaves the density as it is.

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
        """
        for _ in range(self.jumps):
            x, values = self._jump(density, x, values, rng)
        for _ in range(self.moves):
            x, values = self._move(density, x, values, rng)
        return x, values

    def _jump(self, density, x, values, rng):
        """Independence Metropolis: a draw of the reference, or the old state."""
        points = self.reference.draw(len(x), rng)
        trial = density(points)
        gain = trial - self.reference.log_density(points) - (values - self.reference.log_density(x))
        accepted = gain > -rng.standard_exponential(len(x))
        return np.where(accepted[:, None], points, x), np.where(accepted, trial, values)

    def _move(self, density, x, values, rng):
        """Elliptical slice sampling about a Gaussian that the state may have come from."""
        n = len(x)
        centres, offsets, base = self.reference.companions(x, rng)
        level = values - base - rng.standard_exponential(n)
        mine = x - centres
        right = 2 * np.pi * rng.random(n)
        left = right - 2 * np.pi
        angle, x, values, moving = right.copy(), x.copy(), values.copy(), np.arange(n)
        for _ in range(_MOST_SHRINKAGES):
            cosine, sine = np.cos(angle[moving, None]), np.sin(angle[moving, None])
            points = centres[moving] + cosine * mine[moving] + sine * offsets[moving]
            trial = density(points)
            inside = trial - self.reference.log_density(points) >= level[moving]
            done, moving = moving[inside], moving[~inside]
            x[done], values[done] = points[inside], trial[inside]
            if not moving.size:
                break
            # The bracket shrinks towards an angle of zero, the state itself.
            left[moving] = np.where(angle[moving] < 0, angle[moving], left[moving])
            right[moving] = np.where(angle[moving] < 0, right[moving], angle[moving])
            angle[moving] = left[moving] + (right[moving] - left[moving]) * rng.random(moving.size)
        # A density that differs in the last digits between calls may have no slice left: that chain stays.
        return x, values
