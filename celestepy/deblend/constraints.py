"""What a free morphology may look like: constraints as records, applied through their proximal operators.

A constraint is *exact* where its operator is the proximal operator of a convex function of the morphology that does
not depend on the morphology's scale. Forward-backward splitting with exact constraints never raises the objective.
"""

from dataclasses import dataclass

import numpy as np

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.operators import constrained, sparse

__all__ = ["SCARLET", "Constraints", "Monotonic", "NonNegative", "Sparse", "Symmetric"]


@dataclass(frozen=True)
class NonNegative:
    """No pixel is negative."""

    exact = True


@dataclass(frozen=True)
class Monotonic:
    """Light does not rise away from the centre.

    Parameters
    ----------
    method : {"exact", "sweep"}
        The projection along the tree of the ways to the centre, or the fast sweep of the scarlet code.
    """

    method: str = "exact"

    def __post_init__(self):
        if self.method not in ("exact", "sweep"):
            raise DeblendError(f"method: {self.method!r}, expected 'exact' or 'sweep'")

    @property
    def exact(self):
        """Whether it is a projection."""
        return self.method == "exact"


@dataclass(frozen=True)
class Symmetric:
    """Symmetric under rotation by 180 degrees.

    Parameters
    ----------
    strength : float
        1 for full symmetry; less moves opposite pixels this part of the way in each step.
    """

    strength: float = 1.0

    def __post_init__(self):
        if not 0 <= self.strength <= 1:
            raise DeblendError(f"strength: {self.strength!r}, expected a number from 0 to 1")

    @property
    def exact(self):
        """Whether it is a projection."""
        return self.strength in (0.0, 1.0)


@dataclass(frozen=True)
class Sparse:
    """Pixels cost something.

    Parameters
    ----------
    weight : float
        For ``"l1"`` the cost of a unit of flux, in each band alike; for ``"l0"`` that of a pixel that is not zero. In
        units of the objective, half chi^2.
    norm : {"l1", "l0"}
        Which of the two. The second is not convex.
    """

    weight: float
    norm: str = "l1"

    def __post_init__(self):
        if not (np.isfinite(self.weight) and self.weight >= 0):
            raise DeblendError(f"weight: {self.weight!r}, expected a finite number >= 0")
        if self.norm not in ("l1", "l0"):
            raise DeblendError(f"norm: {self.norm!r}, expected 'l1' or 'l0'")

    @property
    def exact(self):
        """Whether the cost is convex."""
        return self.norm == "l1"

    def apply(self, x, step, flux, positive):
        """The proximal operator.

        Parameters
        ----------
        x : (h, w) array
            A morphology.
        step : float
            Length of the gradient step before.
        flux : float
            Sum over bands of the source's fluxes.
        positive : bool
            Whether the morphology is made non-negative afterwards: the L1 norm is then linear.

        Returns
        -------
        (h, w) array
            The new one.
        """
        if self.norm == "l0":
            return sparse(x, np.sqrt(2 * step * self.weight), "l0")
        shift = step * self.weight * flux
        return x - shift if positive else sparse(x, shift)

    def cost(self, x, flux):
        """Its part of the objective.

        Parameters
        ----------
        x : (h, w) array
            A morphology.
        flux : float
            Sum over bands of the source's fluxes.

        Returns
        -------
        float
            The cost.
        """
        return self.weight * (np.count_nonzero(x) if self.norm == "l0" else flux * np.abs(x).sum())


_TYPES = (Sparse, Symmetric, Monotonic, NonNegative)


class Constraints:
    """A set of constraints, applied in the order in which exact ones are together a proximal operator.

    Parameters
    ----------
    constraints : iterable of NonNegative, Monotonic, Symmetric and Sparse
        At most one of each.

    Raises
    ------
    DeblendError
        If one is given twice or is none of these.
    """

    def __init__(self, constraints):
        given = list(constraints)
        for each in given:
            if not isinstance(each, _TYPES):
                raise DeblendError(
                    f"constraints: {each!r}, expected NonNegative(), Monotonic(), Symmetric() or Sparse(weight)"
                )
        if len({type(each) for each in given}) < len(given):
            raise DeblendError(f"constraints: {given}, expected at most one of each type")
        own = {type(each): each for each in given}
        self._all = given
        self._sparse = own.get(Sparse)
        self._positive = NonNegative in own
        self._others = {
            "symmetry": own[Symmetric].strength if Symmetric in own else 0.0,
            "monotonic": own[Monotonic].method if Monotonic in own else None,
            "positive": self._positive,
        }

    def __iter__(self):
        return iter(self._all)

    @property
    def exact(self):
        """Whether all of them are."""
        return all(each.exact for each in self._all)

    @property
    def separable(self):
        """Whether each pixel is constrained by itself, so that pixels may have steps of different lengths."""
        return all(isinstance(each, NonNegative) for each in self._all)

    @property
    def flux_cost(self):
        """Cost of a unit of flux, which enters the solution for the fluxes."""
        return self._sparse.weight if self._sparse is not None and self._sparse.norm == "l1" else 0.0

    def apply(self, x, step=0.0, flux=0.0):
        """All proximal operators.

        Parameters
        ----------
        x : (h, w) array
            A morphology of odd sides.
        step, flux : float
            See `Sparse.apply`.

        Returns
        -------
        (h, w) array
            A new array.
        """
        if self._sparse is not None:
            x = self._sparse.apply(x, step, flux, self._positive)
        return constrained(x, **self._others)

    def cost(self, x, flux):
        """What the constraints add to the objective.

        Parameters
        ----------
        x : (h, w) array
            A morphology that fulfils the others.
        flux : float
            Sum over bands of the source's fluxes.

        Returns
        -------
        float
            The cost.
        """
        return 0.0 if self._sparse is None else self._sparse.cost(x, flux)


SCARLET = (Symmetric(), Monotonic("sweep"), NonNegative())
