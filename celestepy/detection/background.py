"""Levels and widths away from sources: the sky refinement of detection.

It serves detection only. The fits start again from the image's own sky and fit its level with the sources.
"""

import numpy as np
import sep

__all__ = ["lower_width", "smooth_level"]

STRIDE = 3  # neighbouring values are nearly the same: every third is enough
BOX = 128  # pixels: large against the sources, small against the gradients and haloes that surveys leave
NOISE_SAMPLE = 200  # independent PSFs that a measured width needs: known to 5%
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


def lower_width(signal_to_noise, sigma):
    """Width of the noise in an S/N map, from the negative half of its values: faint sources stay out of it.

    Parameters
    ----------
    signal_to_noise : (n,) float
        Values of zero level, all or most of them away from sources.
    sigma : float
        Gaussian width of the PSF, pixels.

    Returns
    -------
    float
        At least 1, and 1 where there are too few independent values to tell.
    """
    if signal_to_noise.size < NOISE_SAMPLE * 4 * np.pi * sigma**2:
        return 1.0
    sample = signal_to_noise[::STRIDE]
    below = sample[sample < 0]
    return max(1.4826 * float(np.median(-below)), 1.0) if below.size else 1.0
