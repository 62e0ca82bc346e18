"""Sky levels that come with survey images."""

import numpy as np

__all__ = ["interpolate_grid"]


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


def _cells(position, size):
    """Index of the grid point below each position, and the fraction of the way to the next."""
    position = np.clip(np.asarray(position, dtype=float), 0, size - 1)
    below = np.minimum(position.astype(int), size - 2)
    return below, position - below
