"""Saturated stars: one seed for each, whatever their masked cores and bleed trails do to the S/N map."""

import numpy as np
from scipy.ndimage import binary_dilation, center_of_mass, label
from scipy.spatial import cKDTree

from celestepy.detection.measure import image_positions

__all__ = ["merge_saturated", "near_saturated"]

REACH = 2.0  # PSF sigmas around saturated pixels that belong to the star's core
LEAST_PIXELS = 9  # a smaller saturated patch is no star's core if no peak is seen there


def merge_saturated(maps, x, y):
    """Leave one peak in each saturated patch, and add one where nothing is left to filter.

    Parameters
    ----------
    maps : CombinedMaps
    x, y : (n,) int64
        Peaks, grid pixels, brightest first: the S/N is largest at the true centre even where the core is
        masked.

    Returns
    -------
    keep : (n,) bool
    extra_x, extra_y : (m,) int64
        Centres of patches that have no peak.
    """
    saturated = _on_grid(maps)
    keep = np.ones(len(x), bool)
    if not saturated.any():
        return keep, x[:0], y[:0]
    patches, n = label(binary_dilation(saturated, iterations=max(int(round(REACH * maps.sigma)), 1)))
    patch = patches[y, x]
    _, first = np.unique(patch, return_index=True)
    keep = patch == 0
    keep[first] = True
    empty = np.setdiff1d(np.arange(1, n + 1), patch)
    pixels = np.bincount(patches[saturated], minlength=n + 1)
    blind = maps.signal_to_noise == 0
    centres = [center_of_mass(saturated, patches, k) for k in empty if pixels[k] >= LEAST_PIXELS]
    centres = np.array([c for c in centres if blind[int(c[0]), int(c[1])]]).reshape(-1, 2)
    centres = np.rint(centres).astype(np.int64)
    return keep, centres[:, 1], centres[:, 0]


def near_saturated(filtered, ra, dec):
    """(n,) bool: whether a saturated pixel lies within the core of the PSF in any image."""
    found = np.zeros(len(ra), bool)
    for one in filtered:
        rows, columns = _saturated_pixels(one.image)
        if rows.size == 0:
            continue
        where = np.column_stack(image_positions(one.image, ra, dec))
        usable = np.isfinite(where).all(axis=1)
        distance, _ = cKDTree(np.column_stack([columns, rows])).query(where[usable])
        found[usable] |= distance <= REACH * one.sigma
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
