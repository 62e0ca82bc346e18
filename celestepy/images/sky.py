"""Sky levels: those that come with survey images, and a measured one where nothing better is known."""

import numpy as np
from scipy.interpolate import RectBivariateSpline

from celestepy.images.errors import ImageError, one_line
from celestepy.images.hdus import read_hdus

__all__ = ["interpolate_grid", "measure_sky", "read_spline_sky"]

BOX = 64  # pixels; wide enough for its sources to be clipped, narrow enough to follow a gradient


def interpolate_grid(grid, x, y):
    """Bilinear interpolation of a coarse sky image on a regular product of coordinates.

    Parameters
    ----------
    grid : (gy, gx) array
        Sky at integer grid coordinates.
    x, y : (nx,), (ny,) array_like
        Grid coordinates of the image's columns and rows; those beyond the grid take its edge values.

    Returns
    -------
    (ny, nx) array
        In the unit of the grid.
    """
    grid = np.asarray(grid, dtype=float)
    below_y, share_y = _cells(y, grid.shape[0])
    below_x, share_x = _cells(x, grid.shape[1])
    above_y, above_x = (np.minimum(b + 1, n - 1) for b, n in zip((below_y, below_x), grid.shape, strict=True))
    rows = grid[below_y] * (1 - share_y)[:, None] + grid[above_y] * share_y[:, None]
    return rows[:, below_x] * (1 - share_x) + rows[:, above_x] * share_x


def read_spline_sky(path, shape):
    """Sky of a Legacy Surveys spline table (SplineSky), in the counts of its image.

    Parameters
    ----------
    path : path-like
        FITS table with columns gridvals, xgrid, ygrid, order and the offsets x0, y0 of the image in the
        spline's pixels.
    shape : (int, int)
        (ny, nx) of the image.

    Returns
    -------
    (ny, nx) array
        Counts.
    """
    hdus = read_hdus(path)
    try:
        row = next(hdu.data[0] for hdu in hdus if hdu.data is not None and not hdu.is_image)
        order = int(row["order"])
        spline = RectBivariateSpline(
            np.asarray(row["ygrid"], float),
            np.asarray(row["xgrid"], float),
            np.asarray(row["gridvals"], float),
            kx=order,
            ky=order,
        )
        return spline(np.arange(shape[0]) + float(row["y0"]), np.arange(shape[1]) + float(row["x0"]))
    except (StopIteration, KeyError, IndexError, TypeError, ValueError) as error:
        raise ImageError(
            f"{path}: not a spline sky table ({one_line(error)}); expected columns gridvals, xgrid, ygrid,"
            " order, x0, y0"
        ) from error


def measure_sky(counts, mask=None):
    """Smooth sky of an image: clipped means in boxes of 64 pixels, joined bilinearly.

    Means, because medians and modes of integer or truncated pixels are coarse.

    Parameters
    ----------
    counts : array_like (ny, nx)
        Pixels; those that are NaN or masked are left out.
    mask : array_like (ny, nx) of bool, optional
        True where a pixel is to be left out.

    Returns
    -------
    (ny, nx) array
        In the unit of the pixels.
    """
    values = np.ma.filled(np.ma.asarray(counts).astype(float), np.nan)
    values[~np.isfinite(values) | (False if mask is None else np.asarray(mask, dtype=bool))] = np.nan
    edges = [np.linspace(0, size, max(1, round(size / BOX)) + 1).astype(int) for size in values.shape]
    levels = np.array(
        [
            [_clipped_mean(values[y0:y1, x0:x1]) for x0, x1 in zip(edges[1], edges[1][1:], strict=False)]
            for y0, y1 in zip(edges[0], edges[0][1:], strict=False)
        ]
    )
    if np.isnan(levels).all():
        raise ImageError("sky: no pixel to measure it on, expected some that are not masked; give its level")
    levels[np.isnan(levels)] = np.nanmedian(levels)
    y, x = (np.interp(np.arange(e[-1]), (e[1:] + e[:-1] - 1) / 2, np.arange(e.size - 1)) for e in edges)
    return interpolate_grid(levels, x, y)


def _clipped_mean(values, threshold=3.0, least=0.3):
    """Mean of the pixels within three sigma of themselves; NaN where few pixels are there."""
    inside = values[np.isfinite(values)]
    if inside.size < least * values.size:
        return np.nan
    for _ in range(10):
        middle, spread = np.median(inside), inside.std()
        kept = inside[np.abs(inside - middle) <= threshold * spread]
        if kept.size == inside.size:
            break
        inside = kept
    return inside.mean()


def _cells(position, size):
    """Index of the grid point below each position, and the fraction of the way to the next."""
    position = np.clip(np.asarray(position, dtype=float), 0, size - 1)
    below = np.minimum(position.astype(int), max(size - 2, 0))
    return below, position - below
