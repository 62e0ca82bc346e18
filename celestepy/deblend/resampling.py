"""From the pixels of the model to those of an observation of another scale, orientation or place.

What is resampled is already convolved with the observation's PSF, pixel response included, and so it is smooth on the
model's finer grid; a windowed sinc (Lanczos) through its pixels, read off at the centres of the observed pixels, is
all that is left to do. It is a sparse matrix, whose transpose is the exact adjoint.
"""

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.sparse import csr_array

from celestepy.deblend.errors import DeblendError

__all__ = ["REACH", "resampled_psf", "resampling_matrix"]

REACH = 5  # taps to each side


def _lanczos(offsets):
    """The windowed sinc at distances in pixels, zero beyond `REACH`."""
    values = np.sinc(offsets) * np.sinc(offsets / REACH)
    return np.where(np.abs(offsets) < REACH, values, 0.0)


def _taps(positions):
    """First pixel and normalised weights (n, 2 REACH) of the taps about positions along one axis."""
    first = np.floor(positions).astype(int) - REACH + 1
    pixels = first[:, None] + np.arange(2 * REACH)
    weights = _lanczos(positions[:, None] - pixels)
    return pixels, weights / weights.sum(axis=1, keepdims=True)


def resampling_matrix(observed, model, margin):
    """The matrix that takes convolved model pixels to observed ones.

    Parameters
    ----------
    observed, model : Grid
        The two grids; the model's pixels must not be larger.
    margin : int
        Pixels by which the convolved model reaches beyond its grid on each side, at least `REACH`.

    Returns
    -------
    matrix : (observed pixels, padded model pixels) csr_array
        Times the ratio of the pixel areas, so that flux is kept.
    inside : (h, w) array of bool
        Observed pixels whose centres lie in the model's grid; the others' rows are empty.

    Raises
    ------
    DeblendError
        If the model's pixels are larger than the observed ones, or no observed pixel lies in the model's grid.
    """
    ratio = observed.pixel_area / model.pixel_area
    if ratio < 1 - 1e-6:
        raise DeblendError(
            f"grid: the model's pixels of {model.pixel_scale:.4g} arcsec are larger than observed ones of"
            f" {observed.pixel_scale:.4g}; let the model have the smallest pixels (grid=None does)"
        )
    x, y = observed.positions_in(model)
    inside = (np.abs(x - (model.shape[1] - 1) / 2) <= model.shape[1] / 2) & (
        np.abs(y - (model.shape[0] - 1) / 2) <= model.shape[0] / 2
    )
    if not inside.any():
        raise DeblendError("grid: no observed pixel lies in the model's grid; check origins, pixel scales and the WCS")
    height, width = (side + 2 * margin for side in model.shape)
    rows, row_weights = _taps(y[inside] + margin)
    columns, column_weights = _taps(x[inside] + margin)
    weights = ratio * row_weights[:, :, None] * column_weights[:, None, :]
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)  # the last tap may weigh 0 outside
    flat = rows[:, :, None] * width + columns[:, None, :]
    pixel = np.broadcast_to(np.flatnonzero(inside)[:, None, None], flat.shape)
    shape = (inside.size, height * width)
    return csr_array((weights.ravel(), (pixel.ravel(), flat.ravel())), shape=shape), inside


def resampled_psf(stamp, observed, model):
    """A PSF stamp of an observation on the pixels of the model.

    Parameters
    ----------
    stamp : (n, n) array
        Odd n; in the observation's pixels.
    observed, model : Grid
        The two grids.

    Returns
    -------
    (m, m) array
        Odd m, unit sum, the source on the middle pixel; cubic spline interpolation.
    """
    step = np.linalg.inv(observed.jacobian) @ model.jacobian  # observed pixels per model pixel
    if np.allclose(step, np.eye(2), atol=1e-9):
        return stamp
    half = len(stamp) // 2
    reach = int(np.floor(half / np.abs(step).sum(axis=1).max()))
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    x, y = (half + step[row, 0] * dx + step[row, 1] * dy for row in (0, 1))
    pixels = map_coordinates(stamp, [y, x], order=5, mode="constant")
    return pixels / pixels.sum()
