"""Proximal operators on morphologies.

Each function takes a morphology and returns a new one. `nonnegative`, `symmetric` (at full strength),
`monotonic_projection` and `on_simplex` are projections onto convex sets; `sparse` with the L1 norm is the proximal
operator of a convex function. The monotonic *sweep* is the fast operator of the scarlet code: its result is monotonic
and stays what it is, but it is not the closest monotonic morphology, and it may expand distances.

The sets of symmetric and of monotonic morphologies and the non-negative ones fit into each other: a symmetric
morphology stays symmetric when it is made monotonic, and both stay true when negative pixels are set to zero. The
projections applied in this order are the projection onto what the sets have in common.
"""

import numpy as np

from celestepy.deblend import _operators
from celestepy.deblend.errors import DeblendError
from celestepy.deblend.inner_neighbours import inner_neighbours

__all__ = [
    "constrained",
    "monotonic_projection",
    "monotonic_sweep",
    "nonnegative",
    "on_simplex",
    "sparse",
    "symmetric",
    "unit_peak",
    "unit_sum",
]


def nonnegative(morphology):
    """Set negative pixels to zero.

    Parameters
    ----------
    morphology : (h, w) array_like
        Any finite values.

    Returns
    -------
    (h, w) array
        max(morphology, 0).

    Raises
    ------
    DeblendError
        If it is not a two-dimensional array of finite numbers.
    """
    x = _copied(morphology)
    _operators.clip_negative(x.reshape(-1))
    return x


def symmetric(morphology, strength=1.0):
    """Make a morphology symmetric under rotation by 180 degrees about the middle pixel.

    Parameters
    ----------
    morphology : (h, w) array_like
        Odd sides.
    strength : float, optional
        1 replaces opposite pixels by their mean; less moves them this part of the way.

    Returns
    -------
    (h, w) array
        The symmetric morphology.

    Raises
    ------
    DeblendError
        If a side is even or the strength is not between 0 and 1.
    """
    if not 0 <= strength <= 1:
        raise DeblendError(f"strength: {strength!r}, expected a number from 0 (none) to 1 (fully symmetric)")
    return constrained(morphology, symmetry=strength)


def monotonic_sweep(morphology):
    """Bring every pixel down to the weighted mean of its inner neighbours, from the centre outwards.

    Parameters
    ----------
    morphology : (h, w) array_like
        Odd sides; the centre is the middle pixel.

    Returns
    -------
    (h, w) array
        No pixel exceeds the mean of its inner neighbours weighted as in `celestepy.deblend.inner_neighbours`.

    Raises
    ------
    DeblendError
        If a side is even.
    """
    return constrained(morphology, monotonic="sweep")


def monotonic_projection(morphology):
    """The closest morphology that does not rise along the way from the centre to any pixel.

    Parameters
    ----------
    morphology : (h, w) array_like
        Odd sides; the centre is the middle pixel.

    Returns
    -------
    (h, w) array
        No pixel exceeds its parent, the inner neighbour that lies most nearly on the way to the centre; of all such
        morphologies the one with the least sum of squared changes.

    Raises
    ------
    DeblendError
        If a side is even.
    """
    return constrained(morphology, monotonic="exact")


def sparse(morphology, threshold, norm="l1"):
    """Threshold pixels.

    Parameters
    ----------
    morphology : (h, w) array_like
        Any finite values.
    threshold : float
        For ``"l1"`` all pixels shrink by this towards zero (the proximal operator of ``threshold * sum |x|``); for
        ``"l0"`` those not above it become zero (that of ``threshold^2 / 2`` times the number of pixels not zero).
    norm : {"l1", "l0"}, optional
        Which of the two.

    Returns
    -------
    (h, w) array
        The thresholded morphology.

    Raises
    ------
    DeblendError
        If the threshold is negative or the norm unknown.
    """
    if norm not in ("l1", "l0"):
        raise DeblendError(f"norm: {norm!r}, expected 'l1' (soft threshold) or 'l0' (hard threshold)")
    if not (np.isfinite(threshold) and threshold >= 0):
        raise DeblendError(f"threshold: {threshold!r}, expected a finite number >= 0")
    x = _copied(morphology)
    operator = _operators.soft_threshold if norm == "l1" else _operators.hard_threshold
    operator(x.reshape(-1), float(threshold))
    return x


def unit_sum(morphology):
    """Divide by the sum: the normalisation of every result. A scaling, not a projection.

    Parameters
    ----------
    morphology : (h, w) array_like
        Of positive sum.

    Returns
    -------
    (h, w) array
        Of sum 1.

    Raises
    ------
    DeblendError
        If the sum is not positive.
    """
    return _scaled(_copied(morphology), np.sum, "sum")


def unit_peak(morphology):
    """Divide by the largest pixel. A scaling, not a projection.

    Parameters
    ----------
    morphology : (h, w) array_like
        With a positive pixel.

    Returns
    -------
    (h, w) array
        Of maximum 1.

    Raises
    ------
    DeblendError
        If no pixel is positive.
    """
    return _scaled(_copied(morphology), np.max, "largest pixel")


def constrained(morphology, *, symmetry=0.0, monotonic=None, positive=False):
    """Several of the operators one after the other, on one copy.

    Parameters
    ----------
    morphology : (h, w) array_like
        Odd sides.
    symmetry : float, optional
        Strength of `symmetric`; 0 leaves it out.
    monotonic : {None, "exact", "sweep"}, optional
        `monotonic_projection` or `monotonic_sweep`.
    positive : bool, optional
        Whether `nonnegative` comes last.

    Returns
    -------
    (h, w) array
        A new array in any case.
    """
    x = _copied(morphology, odd=True)
    flat = x.reshape(-1)
    if symmetry:
        _operators.symmetrise(flat, float(symmetry))
    if monotonic is not None:
        _make_monotonic(flat, inner_neighbours(x.shape), monotonic == "exact")
    if positive:
        _operators.clip_negative(flat)
    return x


def on_simplex(morphology):
    """The closest non-negative morphology whose sum is 1: the projection that belongs to that normalisation.

    Parameters
    ----------
    morphology : (h, w) array_like
        Any finite values.

    Returns
    -------
    (h, w) array
        max(morphology - t, 0) with the t that makes the sum 1.
    """
    x = _copied(morphology)
    falling = np.sort(x, axis=None)[::-1]
    excess = (np.cumsum(falling) - 1) / np.arange(1, x.size + 1)
    level = excess[np.flatnonzero(falling > excess)[-1]]
    return np.maximum(x - level, 0.0)


def _make_monotonic(flat, inner, exact):
    if not exact:
        _operators.sweep(flat, inner.order, inner.first, inner.neighbours, inner.weights)
        return
    scratch = np.empty((5, flat.size), dtype=np.int32)
    _operators.project_tree(flat, inner.order, inner.parent, np.empty_like(flat), np.empty_like(flat), scratch)


def _scaled(x, norm, name):
    size = norm(x)
    if not size > 0:
        raise DeblendError(f"morphology: {name} {size}, expected > 0; a source without light has no normalisation")
    return x / size


def _copied(morphology, odd=False):
    """A C-contiguous float64 copy that the kernels may change."""
    x = np.array(morphology, dtype=np.float64, order="C")
    if x.ndim != 2 or x.size == 0 or not np.isfinite(x).all():
        raise DeblendError(f"morphology: shape {x.shape}, expected a two-dimensional array of finite numbers")
    if odd and (x.shape[0] % 2 == 0 or x.shape[1] % 2 == 0):
        raise DeblendError(f"morphology: shape {x.shape}, expected odd sides, the centre on the middle pixel")
    return x
