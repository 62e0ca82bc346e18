"""Sky levels that come with survey images."""

import numpy as np
from scipy.interpolate import RectBivariateSpline

from celestepy.images.errors import ImageError, one_line
from celestepy.images.hdus import read_hdus

__all__ = ["interpolate_grid", "read_spline_sky"]


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
    """
    grid = np.asarray(grid, dtype=float)
    below_y, share_y = _cells(y, grid.shape[0])
    below_x, share_x = _cells(x, grid.shape[1])
    rows = grid[below_y] * (1 - share_y)[:, None] + grid[below_y + 1] * share_y[:, None]
    return rows[:, below_x] * (1 - share_x) + rows[:, below_x + 1] * share_x


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


def _cells(position, size):
    """Index of the grid point below each position, and the fraction of the way to the next."""
    position = np.clip(np.asarray(position, dtype=float), 0, size - 1)
    below = np.minimum(position.astype(int), size - 2)
    return below, position - below
