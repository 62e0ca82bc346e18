"""Pixel stamps of point spread functions: checking them, resampling them, drawing a Moffat profile."""

import numpy as np
from scipy.ndimage import map_coordinates

from celestepy.images.errors import ImageError

__all__ = ["checked_center", "checked_stamp", "moffat_stamp", "resampled"]


def resampled(pixels, center, oversampling):
    """A PSF stamp at image pixel scale, odd side, the source on the middle pixel (cubic spline).

    Parameters
    ----------
    pixels : (ny, nx) array
        Stamp.
    center : (float, float)
        Stamp pixel coordinates x, y of the source position.
    oversampling : float
        Stamp pixels per image pixel.

    Returns
    -------
    (n, n) array
        Odd n; of the sum of the stamp.
    """
    ny, nx = pixels.shape
    half = int(min(center[0], nx - 1 - center[0], center[1], ny - 1 - center[1]) // oversampling)
    offsets = oversampling * np.arange(-half, half + 1)
    columns, rows = center[0] + offsets, center[1] + offsets
    if np.all(columns == np.rint(columns)) and np.all(rows == np.rint(rows)) and oversampling == 1:
        return pixels[np.ix_(rows.astype(int), columns.astype(int))].copy()
    grid = np.meshgrid(rows, columns, indexing="ij")
    return oversampling**2 * map_coordinates(pixels, grid, order=3, mode="nearest")


def moffat_stamp(fwhm, beta, samples=5):
    """Draw a Moffat profile integrated over image pixels, out to where it holds nearly all of the flux.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum before the pixel, pixels.
    beta : float
        Slope of the wings, > 1.
    samples : int, optional
        Samples across a pixel.

    Returns
    -------
    (n, n) array
        Odd n, of any normalisation; it ends where 1e-4 of the flux is left, or at 12 FWHM.
    """
    core = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    reach = core * np.exp(
        0.5 * min(np.log(1e4) / (beta - 1), 20.0)
    )  # 1 - (r / core)^(2 - 2 beta) is inside r
    half = int(np.ceil(min(max(reach, 3 * fwhm), 12 * fwhm + 5)))
    fine = (np.arange(samples * (2 * half + 1)) + 0.5) / samples - 0.5 - half
    values = (1 + (fine[:, None] ** 2 + fine**2) / core**2) ** -beta
    side = 2 * half + 1
    return values.reshape(side, samples, side, samples).mean(axis=(1, 3))


def checked_center(center, shape):
    """Check that a centre lies in its stamp.

    Parameters
    ----------
    center : (float, float)
        Stamp pixel coordinates x, y, 0-based.
    shape : (int, int)
        (ny, nx) of the stamp.

    Returns
    -------
    (float, float)
        The centre.
    """
    x, y = (float(value) for value in center)
    if not (0 <= x <= shape[1] - 1 and 0 <= y <= shape[0] - 1):
        raise ImageError(
            f"center: ({x}, {y}), expected x, y inside the stamp of {shape[1]} x {shape[0]} pixels, 0-based"
        )
    return x, y


def checked_stamp(stamp):
    """Copy a stamp to native float64 of unit sum.

    Parameters
    ----------
    stamp : array_like (ny, nx)
        Any dtype and normalisation.

    Returns
    -------
    (ny, nx) array
        Read-only.
    """
    pixels = np.ma.filled(np.ma.asarray(stamp).astype(float), np.nan)
    if pixels.ndim != 2 or min(pixels.shape) < 3:
        raise ImageError(
            f"stamp: shape {pixels.shape}, expected a two-dimensional array of at least 3 x 3 pixels"
        )
    total = pixels.sum()
    if not (np.isfinite(total) and total > 0):
        raise ImageError(
            f"stamp: sum {total}, expected finite pixels with a positive sum; replace NaN and masked ones"
            " by 0"
        )
    pixels = pixels / total
    pixels.setflags(write=False)
    return pixels
