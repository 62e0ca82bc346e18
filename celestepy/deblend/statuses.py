"""A verdict on every source of a fitted scene, and what to do about it."""

import numpy as np

__all__ = ["OK", "statuses_of"]

OK = "ok"
_SAME_PLACE = 0.5  # pixels
_SEEN = 0.5  # share of a source's light below which most of it is a guess

_MESSAGES = {
    OK: "",
    "outside": "no pixel of its box lies in the frame; check its position or take a larger patch",
    "no data": "no usable pixel sees it; check the mask and the weights",
    "duplicate": "at the place of source {other} of this blend (counted from 0) and of its kind: they share the flux;"
    " remove one of them",
    "prior failed": "the prior gave no finite score, and the source was fitted without it; check its start",
    "centre outside": "its centre lies outside of the frame: most of its light is extrapolated; take a larger patch",
    "no flux": "the fit gives it no light in any band; remove it or check its start",
    "mostly unseen": "usable pixels see {seen:.0%} of its light, the rest is extrapolated; check the mask and the"
    " patch's border, and do not trust its flux",
}


def statuses_of(scene, known, troubled):
    """Find what is wrong with each source; the gravest first.

    Parameters
    ----------
    scene : Scene
        The fitted scene.
    known : (K, B) array of bool
        Whether any usable pixel sees the source.
    troubled : set of int
        Sources for which the prior gave no number.

    Returns
    -------
    statuses, messages : tuples of str
        One for each source.
    """
    seen = scene.seen_share().max(axis=1, initial=0.0)
    found = [_status(scene, k, known[k], troubled, seen[k]) for k in range(len(scene))]
    return tuple(status for status, _ in found), tuple(message for _, message in found)


def _status(scene, k, known, troubled, seen):
    source = scene.sources[k]
    other = _earlier_at_the_same_place(scene.sources, k)
    height, width = scene.frame.grid.shape
    checks = {
        "outside": not scene.active[k],
        "no data": not known.any(),
        "duplicate": other is not None,
        "prior failed": k in troubled,
        "centre outside": not (-0.5 <= source.y < height - 0.5 and -0.5 <= source.x < width - 0.5),
        "no flux": not np.any(source.sed),
        "mostly unseen": seen < _SEEN,
    }
    status = next((name for name, holds in checks.items() if holds), OK)
    return status, _MESSAGES[status].format(other=other, seen=seen)


def _earlier_at_the_same_place(sources, k):
    own = sources[k]
    for j, source in enumerate(sources[:k]):
        if source.kind == own.kind and np.hypot(source.y - own.y, source.x - own.x) < _SAME_PLACE:
            return j
    return None
