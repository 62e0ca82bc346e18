"""Levels and widths away from sources: the sky refinement of detection.

It serves detection only. The fits start again from the image's own sky and fit its level with the sources.
"""

import numpy as np
import sep

__all__ = ["lower_width", "smooth_level"]

BOX = 128  # pixels: large against the sources, small against the gradients and haloes that surveys leave
FEWEST_PIXELS = 400  # below this the level is known no better than from the survey


def smooth_level(values, unused, box=BOX):
    """Smooth map of the level of an image, from its pixels away from sources (sep's background).

    Parameters
    ----------
    values : (ny, nx) float
        An S/N map or any other image with a symmetric noise: sep's level is a mode, and below the mean
        otherwise.
    unused : (ny, nx) bool
        Pixels that are masked or hold a source.
    box : int, optional
        Side of the boxes in which the level is measured, pixels.

    Returns
    -------
    (ny, nx) float32
        Zero where too few pixels are left to tell.
    """
    if values.size - np.count_nonzero(unused) < FEWEST_PIXELS:
        return np.zeros(values.shape, np.float32)
    ny, nx = values.shape
    native = np.ascontiguousarray(values, dtype=np.float32)
    return sep.Background(native, mask=unused, bw=min(box, nx), bh=min(box, ny)).back(dtype=np.float32)


def lower_width(values):
    """Standard deviation of a sample of zero median from its negative half: faint sources do not reach it."""
    below = values[values < 0]
    return 1.4826 * float(np.median(-below)) if below.size else 0.0
