"""Which neighbours of a pixel lie nearer to the centre of its box, and with what weights.

Steps are to the eight pixels around. An inner neighbour is strictly nearer to the centre; its weight is the cosine of
the angle between the step and the direction to the centre, the weights of a pixel summing to one. The parent of a pixel
is the inner neighbour of the largest weight, and the parents of all pixels make a tree whose root is the centre. All of
it is symmetric about the centre.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ["InnerNeighbours", "inner_neighbours"]

_STEPS = np.array([(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)])


@dataclass(frozen=True, eq=False)
class InnerNeighbours:
    """Of every pixel of a box, flat indices in C order; int32 and read-only, for the kernels.

    Attributes
    ----------
    order : (n,) array
        Pixels by distance from the centre, the centre first.
    parent : (n,) array
        Parent of each pixel; that of the centre is itself.
    first : (n + 1,) array
        Where the neighbours of each pixel begin in the next two.
    neighbours : (m,) array
        Inner neighbours of all pixels.
    weights : (m,) float64 array
        Their weights.
    """

    order: np.ndarray
    parent: np.ndarray
    first: np.ndarray
    neighbours: np.ndarray
    weights: np.ndarray


@lru_cache(maxsize=256)
def inner_neighbours(shape):
    """Find the inner neighbours of all pixels of a box.

    Parameters
    ----------
    shape : (int, int)
        Odd sides; the centre is the middle pixel.

    Returns
    -------
    InnerNeighbours
        Cached.
    """
    height, width = shape
    y, x = np.mgrid[:height, :width].reshape(2, -1, 1)
    dy, dx = y - height // 2, x - width // 2
    ny, nx = y + _STEPS[:, 0], x + _STEPS[:, 1]  # (n, 8)
    distance2 = (dy**2 + dx**2)[:, 0]
    closer = (ny - height // 2) ** 2 + (nx - width // 2) ** 2 < distance2[:, None]
    inside = (ny >= 0) & (ny < height) & (nx >= 0) & (nx < width)
    length = np.hypot(_STEPS[:, 0], _STEPS[:, 1]) * np.sqrt(np.maximum(distance2, 1))[:, None]
    cosine = np.where(closer & inside, -(dy * _STEPS[:, 0] + dx * _STEPS[:, 1]) / length, 0.0)
    flat = np.where(inside, ny * width + nx, 0)
    parent = flat[np.arange(len(flat)), np.argmax(cosine, axis=1)]
    centre = (height // 2) * width + width // 2
    parent[centre] = centre
    used = cosine > 0
    total = cosine.sum(axis=1, keepdims=True)
    weights = np.divide(cosine, total, out=np.zeros_like(cosine), where=total > 0)
    first = np.concatenate([[0], np.cumsum(used.sum(axis=1))])
    arrays = [np.argsort(distance2, kind="stable"), parent, first, flat[used]]
    arrays = [np.ascontiguousarray(array, dtype=np.int32) for array in arrays] + [weights[used]]
    for array in arrays:
        array.setflags(write=False)
    return InnerNeighbours(*arrays)
