"""Saturated stars: one seed for each, whatever their masked cores and bleed trails do to the S/N map."""

import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt, find_objects, label
from scipy.spatial import cKDTree

from celestepy.detection.positions import image_positions

__all__ = ["merge_saturated", "near_saturated"]

REACH = 2.0  # PSF sigmas around saturated pixels that belong to the star's core
MERGE_REACH = 3.0  # PSF sigmas around them within which a peak is the star's, or none
LEAST_PIXELS = 9  # a smaller saturated patch is no star's core if no peak is seen there


def merge_saturated(maps, x, y):
    """Leave one peak in each saturated patch; put one into its middle where nothing is left to filter.

    Parameters
    ----------
    maps : CombinedMaps
    x, y : (n,) int64
        Peaks, grid pixels, brightest first: the S/N is largest at the true centre even where the core is
        masked, as long as enough of the PSF's wings reaches beyond the mask.

    Returns
    -------
    keep : (n,) bool
    extra_x, extra_y : (m,) int64
        Centres of patches too wide for that.
    """
    keep, extra = np.ones(len(x), bool), []
    saturated = _on_grid(maps)
    if not saturated.any():
        return keep, x[:0], y[:0]
    patches, _ = label(binary_dilation(saturated, iterations=max(int(round(MERGE_REACH * maps.sigma)), 1)))
    patch = patches[y, x]
    for number, box in enumerate(find_objects(patches), start=1):
        members = np.flatnonzero(patch == number)
        row, column, pixels = _thickest(saturated[box] & (patches[box] == number))
        row, column = row + box[0].start, column + box[1].start
        blind = pixels >= LEAST_PIXELS and maps.signal_to_noise[row, column] == 0
        keep[members[0 if blind else 1 :]] = False
        if blind:
            extra.append((column, row))
    extra_x, extra_y = np.array(extra, dtype=np.int64).reshape(-1, 2).T
    return keep, extra_x, extra_y


def _thickest(saturated):
    """Row and column of a patch's deepest pixel, which a thin bleed trail does not move, and its size."""
    depth = distance_transform_edt(np.pad(saturated, 1))[1:-1, 1:-1]
    rows, columns = np.nonzero(depth > depth.max() - 0.5)
    return int(np.rint(rows.mean())), int(np.rint(columns.mean())), int(np.count_nonzero(saturated))


def near_saturated(filtered, ra, dec):
    """(n,) bool: whether a saturated pixel lies within the core of the PSF in any image."""
    found = np.zeros(len(ra), bool)
    for one in filtered:
        rows, columns = _saturated_pixels(one.image)
        if rows.size == 0:
            continue
        where = np.column_stack(image_positions(one.image, ra, dec))
        distance, _ = cKDTree(np.column_stack([columns, rows])).query(where)
        found |= distance <= REACH * one.sigma
    return found


def _saturated_pixels(image):
    if image.saturated is None:
        return np.zeros(0, int), np.zeros(0, int)
    return np.nonzero(image.saturated)


def _on_grid(maps):
    """Map of the grid pixels on which a saturated pixel of any image falls."""
    ny, nx = maps.grid.shape
    marked = np.zeros((ny, nx), bool)
    for one in maps.filtered:
        rows, columns = _saturated_pixels(one.image)
        if rows.size:
            x, y = maps.grid.sky_to_pixel(*one.image.pixel_to_sky(columns.astype(float), rows.astype(float)))
            x, y = np.rint(x).astype(int), np.rint(y).astype(int)
            inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
            marked[y[inside], x[inside]] = True
    return marked
