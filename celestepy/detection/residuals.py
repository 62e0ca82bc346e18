"""Looking for missing sources: the peaks of what a model leaves of the images."""

import numpy as np
from scipy.spatial import cKDTree

from celestepy.detection.extraction import extract_peaks
from celestepy.detection.matched_filter import filter_image
from celestepy.detection.measure import Sampler, measure, refine
from celestepy.detection.seed_table import checked_images, make_seeds
from celestepy.detection.significance import combine
from celestepy.images.errors import ImageError

__all__ = ["residual_peaks"]


def residual_peaks(
    images, models, ra, dec, group=None, *, radius=3.0, threshold=4.0, per_group=1, templates=None
):
    """Highest peaks of the residuals' combined S/N near given groups of sources.

    The noise of the residual holds the photon noise of the modelled sources and, where ``image.psf_error`` is
    set, the error of the PSF as a share of their flux: what a bright star leaves behind is no companion.

    Parameters
    ----------
    images : sequence of Image
    models : sequence of (ny, nx) array_like
        Model of each image, nmgy per pixel, sky included.
    ra, dec : (n,) array_like
        Positions of the modelled sources, degrees ICRS.
    group : (n,) array_like of int, optional
        Group of each source; by default each source is a group of its own.
    radius : float, optional
        Largest distance of a peak from the nearest source [arcsec], to whose group it then belongs.
    threshold : float, optional
        Smallest S/N of a peak.
    per_group : int, optional
        Number of peaks given for each group, highest first.
    templates : (n, n_bands) array_like, optional
        As for `detect`.

    Returns
    -------
    Seeds
        With a column ``group``; sorted by S/N.

    Raises
    ------
    ImageError
        If numbers or shapes do not agree.
    """
    images = checked_images(images)
    _check_models(images, models)
    ra, dec = np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))
    group = np.arange(len(ra)) if group is None else np.atleast_1d(np.asarray(group))
    if not len(ra) == len(dec) == len(group):
        raise ImageError(f"group: {len(group)} for {len(ra)} ra and {len(dec)} dec, expected as many of each")
    filtered = [filter_image(image, model=model) for image, model in zip(images, models, strict=True)]
    maps = combine(filtered, templates)
    x, y = extract_peaks(maps.signal_to_noise, threshold)
    group, distance = _nearest(maps.grid, ra, dec, group, x, y)
    rows = _first_of_each(group, distance * maps.grid.scale <= radius, per_group)
    sampler = Sampler(maps)
    x, y = refine(sampler, x[rows], y[rows])
    seeds = make_seeds(maps, x, y, measure(sampler, x, y), np.arange(len(rows)), np.ones(len(rows)))
    seeds.table["group"] = group[rows]
    return seeds


def _check_models(images, models):
    if len(models) != len(images):
        raise ImageError(f"models: {len(models)}, expected one for each of {len(images)} images")
    for image, model in zip(images, models, strict=True):
        if np.shape(model) != image.shape:
            raise ImageError(
                f"models: shape {np.shape(model)} for image {image.name!r}, expected {image.shape}"
            )


def _nearest(grid, ra, dec, group, x, y):
    """Group of the source nearest to each peak, and the distance of that source in grid pixels."""
    if len(ra) == 0:
        return np.zeros(len(x), group.dtype), np.full(len(x), np.inf)
    distance, nearest = cKDTree(np.column_stack(grid.sky_to_pixel(ra, dec))).query(np.column_stack([x, y]))
    return group[nearest], distance


def _first_of_each(group, usable, number):
    """Rows, in order, that are among the first `number` usable ones of their group."""
    count, rows = {}, []
    for k in np.flatnonzero(usable):
        count[group[k]] = count.get(group[k], 0) + 1
        if count[group[k]] <= number:
            rows.append(k)
    return np.array(rows, dtype=int)
