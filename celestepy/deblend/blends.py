"""Which sources of a field have to be taken apart together: `find_blends`.

The light of a source of signal to noise q, a Gaussian of standard deviation s on the sky, stands out of the noise of a
pixel of side a up to the radius s (2 ln(q a / (2 pi^1/2 s)))^1/2. A PSF has wings: those of SDSS are a twentieth of the
light with 3.6 times the width, and whatever of the two is seen farther out counts. Sources whose circles of these radii
overlap are one blend; so are all that a chain of such overlaps connects. A blend of too many is divided at the middle
of its longer side, and each part is fitted with the sources round it, of which nothing is kept.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

__all__ = ["BlendPlan", "find_blends", "plans_with", "visible_radius"]

HALF_LIGHT_TO_SIGMA = 1 / np.sqrt(2 * np.log(2))  # of a round Gaussian
_WING_LIGHT, _WING_WIDTH = 0.05, 3.6
_MARGIN = 1.5  # of the visible radius: profiles of galaxies have wings that a Gaussian lacks


@dataclass(frozen=True)
class BlendPlan:
    """Sources to be fitted together.

    Attributes
    ----------
    own : tuple of int
        Sources whose models are kept: each source of the field is so in one blend.
    others : tuple of int
        Sources of other blends with light in the patch, fitted along.
    centre : (float, float)
        Of the patch, in the coordinates of the positions.
    size : float
        Its side.
    n_strays : int
        How many of the others, the first ones, belong to blends that are not fitted: their light is taken away here.
    """

    own: tuple
    others: tuple
    centre: tuple
    size: float
    n_strays: int = 0


def visible_radius(width, snr, pixel):
    """Radius out to which a source is seen.

    Parameters
    ----------
    width : (n,) array
        Standard deviation of the source's image, PSF included, arcsec.
    snr : (n,) array
        Signal to noise; where it is NaN, that of a source which is just detected.
    pixel : float
        Side of a pixel, arcsec.

    Returns
    -------
    (n,) array
        Arcsec; the width at least.
    """
    snr = np.nan_to_num(np.asarray(snr, float), nan=5.0)
    core = _radius_of_gaussian(width, snr, pixel)
    return np.maximum(np.maximum(core, _radius_of_gaussian(_WING_WIDTH * width, _WING_LIGHT * snr, pixel)), width)


def _radius_of_gaussian(width, snr, pixel):
    peak = snr * pixel / (2 * np.sqrt(np.pi) * width)
    return width * np.sqrt(2 * np.log(np.maximum(peak, 1.0)))


def find_blends(positions, radii, *, margin=0.0, largest=16):
    """Divide the sources of a field into blends.

    Parameters
    ----------
    positions : (n, 2) array_like
        Offsets on the tangent plane, arcsec.
    radii : (n,) array_like
        Radii out to which the sources are seen, arcsec.
    margin : float, optional
        Left round the sources of a patch beyond their light, arcsec.
    largest : int, optional
        Sources of the largest blend.

    Returns
    -------
    list of BlendPlan
        In the order of their first sources.
    """
    positions = np.asarray(positions, dtype=float).reshape(-1, 2)
    radii = np.asarray(radii, dtype=float)
    if not len(positions):
        return []
    _, labels = connected_components(_links(positions, radii), directed=False)
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    parts = [part for group in groups for part in _divided(group, positions, largest)]
    tree = cKDTree(positions)
    plans = [_plan(np.sort(part), positions, radii, margin, tree) for part in parts]
    return sorted(plans, key=lambda plan: plan.own[0])


def plans_with(wanted, plans):
    """Plans of the blends with a wanted source, which take care of the light of blends without one too.

    Parameters
    ----------
    wanted : (n,) bool array
        Of each source of the field.
    plans : list of BlendPlan
        Of the whole field.

    Returns
    -------
    list of BlendPlan
        Each source of a blend that is left out is a stray of the first patch in which it has light.
    """
    kept = [plan for plan in plans if wanted[list(plan.own)].any()]
    settled = {source for plan in kept for source in plan.own}
    chosen = []
    for plan in kept:
        strays = tuple(source for source in plan.others if source not in settled)
        settled.update(strays)
        others = strays + tuple(source for source in plan.others if source not in strays)
        chosen.append(replace(plan, others=others, n_strays=len(strays)))
    return chosen


def _links(positions, radii):
    """Sparse matrix of the pairs whose circles overlap."""
    pairs = cKDTree(positions).query_pairs(2 * radii.max(), output_type="ndarray")
    first, second = pairs[:, 0], pairs[:, 1]
    overlap = np.hypot(*(positions[first] - positions[second]).T) < radii[first] + radii[second]
    n = len(positions)
    return coo_matrix((np.ones(overlap.sum()), (first[overlap], second[overlap])), shape=(n, n))


def _divided(group, positions, largest):
    if len(group) <= largest:
        return [group]
    axis = np.argmax(np.ptp(positions[group], axis=0))
    ordered = group[np.argsort(positions[group, axis], kind="stable")]
    middle = len(group) // 2
    return [part for half in (ordered[:middle], ordered[middle:]) for part in _divided(half, positions, largest)]


def _plan(own, positions, radii, margin, tree):
    reach = (_MARGIN * radii[own] + margin)[:, None]
    low, high = (positions[own] - reach).min(axis=0), (positions[own] + reach).max(axis=0)
    centre, half = (low + high) / 2, (high - low).max() / 2
    near = np.array(tree.query_ball_point(centre, half * np.sqrt(2) + radii.max()), dtype=int)
    near = np.setdiff1d(near, own)
    outside = np.maximum(np.abs(positions[near] - centre) - half, 0.0)
    others = near[np.hypot(*outside.T) < radii[near]]
    return BlendPlan(tuple(own.tolist()), tuple(others.tolist()), tuple(centre.tolist()), float(2 * half))
