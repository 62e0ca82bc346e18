"""Components that have lost their rows, or their width: found, repaired where that is possible, and reported."""

import numpy as np

from celestepy.density.objective import Components, symmetric

__all__ = ["ComponentCollapseWarning", "n_held_by_prior", "repaired", "split_in_two", "widened"]

# Rows that a component needs to stay: with less than one it says nothing of the density.
_FEWEST_ROWS = 1.0
# Rows of a component that may be split: those that come of it must not be starved at once.
_FEWEST_TO_SPLIT = 2.0
# Narrowest width of a component, squared, in columns divided by their scale. Below it a covariance is singular in
# float64 beside widths of order one, and the density of rows without noise has no bound.
_NARROWEST = 1e-12
# The same in parts of the widest axis, squared: below it rounding of the one decides on the other.
_NARROWEST_PART = 1e-13
# A covariance this close to what pseudo-rows alone would make it has no width of its own.
_OF_PRIOR = 2.0
_WIDE = 1e-3


class ComponentCollapseWarning(UserWarning):
    """Components of a mixture have collapsed; the message says how many and what to do."""


def repaired(components, objective):
    """A mixture without collapsed components.

    A component with less than one row's worth of weight is put to use elsewhere: the heaviest of the others, if it
    has two rows, is split into two along its longest axis. A covariance that is singular is widened to a millionth of
    the column scales.

    Parameters
    ----------
    components : Components
        After a step.
    objective : Objective
        Which components are kept, scales, and the number of rows.

    Returns
    -------
    components : Components
        The same object if there was nothing to repair.
    n_repaired : int
        Components changed.
    """
    first = objective.kept.n
    components, n_narrow = widened(components, objective.prior.scales, first)
    starved = first + np.flatnonzero(components.weights[first:] * objective.effective_rows < _FEWEST_ROWS)
    n_split = 0
    for number in starved:
        heaviest = first + int(np.argmax(components.weights[first:]))
        if components.weights[heaviest] * objective.effective_rows < _FEWEST_TO_SPLIT:
            break
        n_split += 1
        pair = split_in_two(components.subset([heaviest]), objective.prior.scales)
        pair.weights[:] += 0.5 * components.weights[number]
        components = components.replaced([heaviest, number], pair)
    return components, n_narrow + n_split


def widened(components, scales, first=0):
    """Components whose covariances are not singular.

    Parameters
    ----------
    components : Components
        Any.
    scales : `~numpy.ndarray`
        Scales of the columns, shape (D,).
    first : int
        Number of components at the beginning to leave alone.

    Returns
    -------
    components : Components
        The same object if nothing is singular.
    n : int
        Components changed: their narrowest axes are a millionth of the scales now, or of the widest axis if that is
        more.
    """
    values = np.linalg.eigvalsh(components.covariances / np.outer(scales, scales))
    least = np.maximum(_NARROWEST, _NARROWEST_PART * values[:, -1])
    numbers = first + np.flatnonzero((values[:, 0] < least)[first:])
    if not numbers.size:
        return components, 0
    chosen = components.subset(numbers)
    values, vectors = np.linalg.eigh(chosen.covariances / np.outer(scales, scales))
    unit = (vectors * np.maximum(values, 2 * least[numbers, None])[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    covariances = symmetric(unit * np.outer(scales, scales))
    return components.replaced(numbers, Components(chosen.weights, chosen.means, covariances)), len(numbers)


def split_in_two(component, scales):
    """Two components with the mean and the covariance of one, side by side along its longest axis.

    Parameters
    ----------
    component : Components
        One component.
    scales : `~numpy.ndarray`
        Scales of the columns, in which axes are compared, shape (D,).

    Returns
    -------
    Components
        Two of half the weight, half a standard deviation on either side.
    """
    values, vectors = np.linalg.eigh(component.covariances[0] / np.outer(scales, scales))
    step = 0.5 * np.sqrt(max(values[-1], 0.0)) * vectors[:, -1] * scales
    means = component.means[0] + np.stack([step, -step])
    covariance = component.covariances[0] - np.outer(step, step)
    return Components(np.full(2, 0.5 * component.weights[0]), means, np.stack([covariance, covariance]))


def n_held_by_prior(components, objective):
    """How many components have a covariance that, along some axis, is nothing but the regularisation's.

    Parameters
    ----------
    components : Components
        A fitted mixture.
    objective : Objective
        Its prior and the number of rows.

    Returns
    -------
    int
        Components whose smallest variance would vanish without the pseudo-rows.
    """
    strength = objective.prior.strength
    counts = components.weights * objective.weight
    floor = np.maximum(_OF_PRIOR * strength / (counts + strength + np.finfo(float).tiny), 2 * _OF_PRIOR * _NARROWEST)
    # A floor as wide as this is what was asked for, not a collapse.
    floor = np.where(floor < _WIDE, floor, 0.0)
    return int(np.sum((_narrowest(components, objective.prior.scales) < floor)[objective.kept.n :]))


def _narrowest(components, scales):
    """Smallest eigenvalue of every covariance, in columns divided by their scale."""
    return np.linalg.eigvalsh(components.covariances / np.outer(scales, scales))[:, 0]
