"""Where a fit begins: morphologies from the images themselves, from a catalogue, or from nothing.

The start from the images follows Melchior et al. (2018) and the deblender of SDSS: of the images added up in the
proportions of the source's own colour, each pixel and its opposite about the peak both get the smaller value of the
two, and what rises outwards is cut off.
"""

import numpy as np

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.operators import monotonic_sweep
from celestepy.deblend.scene import Scene
from celestepy.deblend.source import FreeSource, GalaxySource, PointSource
from celestepy.images.wcs import tangent_offsets
from celestepy.model.parameters import GALAXY
from celestepy.model.transforms import from_catalog

__all__ = ["STARTS", "start_from_catalog", "start_scene"]

STARTS = ("detection", "gaussian", "flat")
SMALLEST_HALF, LARGEST_HALF = 7, 40  # pixels to each side of the centre; the smallest of the coarsest observation
FLAT_HALF = 12  # of boxes whose size nothing tells
ABOVE_NOISE = 1.0  # standard deviations of the added-up image that a pixel of the start has to exceed
GAUSSIAN_SHARE = 0.2  # of the box's side: standard deviation of the Gaussian start
SHAPES = {"ra": "deg", "dec": "deg", "star_probability": "", "half_light_radius": "arcsec", "axis_ratio": "",
          "position_angle": "deg", "dev_fraction": ""}  # what a catalogue has to say of a source, and in which units
_NOWHERE = -(10**6)  # pixel for positions that are not numbers: outside of every frame, and flagged as such


def start_scene(frame, peaks, *, kinds=None, start="detection", largest_half=LARGEST_HALF):
    """A scene with a source at every peak, fluxes solved for.

    Parameters
    ----------
    frame : Frame
        Observations, and pixels of the model.
    peaks : (K, 2) array_like
        y, x of each source, pixels of the model. Those outside of the frame are kept, to be flagged.
    kinds : sequence of {"free", "point"}, optional
        What each source is; all free by default.
    start : {"detection", "gaussian", "flat"}, optional
        From the images by symmetry; a Gaussian, or the same value everywhere, in the boxes that the images suggest.
    largest_half : int, optional
        Half side of the largest box, for instance what a prior's stamp holds.

    Returns
    -------
    Scene
        With non-negative fluxes.

    Raises
    ------
    DeblendError
        If the start or a kind is unknown, or peaks are not pairs.
    """
    peaks = np.array(peaks, dtype=float).reshape(-1, 2) if np.size(peaks) == 0 else np.array(peaks, dtype=float)
    if peaks.ndim != 2 or peaks.shape[1] != 2:
        raise DeblendError(f"peaks: shape {peaks.shape}, expected (sources, 2) with y, x in pixels of the model")
    if start not in STARTS:
        raise DeblendError(f"start: {start!r}, expected one of {', '.join(STARTS)}")
    kinds = ["free"] * len(peaks) if kinds is None else list(kinds)
    if len(kinds) != len(peaks) or not set(kinds) <= {"free", "point"}:
        raise DeblendError(f"kinds: {kinds}, expected 'free' or 'point' for each of {len(peaks)} peaks")
    images, weights = _images_on_grid(frame)
    coarsest = max(observation.grid.pixel_scale for observation in frame.observations)
    halves = int(np.ceil(SMALLEST_HALF * coarsest / frame.grid.pixel_scale - 1e-6)), int(largest_half)
    sources = []
    for (y, x), kind in zip(np.where(np.isfinite(peaks), peaks, _NOWHERE), kinds, strict=True):
        if kind == "point":
            sources.append(PointSource([x, y], frame.model_psf))
        else:
            morphology = _start_morphology(images, weights, int(np.rint(y)), int(np.rint(x)), start, halves)
            sources.append(FreeSource(y, x, morphology))
    return Scene(frame, sources).solved()


def start_from_catalog(frame, catalog, ra, dec, *, free=True):
    """A scene of the sources of a catalogue: stars as points, galaxies free or as the catalogue's model.

    Parameters
    ----------
    frame : Frame
        Of observations made by `celestepy.deblend.patches.observe` about `ra`, `dec`.
    catalog : Catalog or QTable
        With the columns of `SHAPES`, as celestepy's have.
    ra, dec : float
        Centre of the patch, ICRS degrees.
    free : bool, optional
        Whether galaxies become free sources that begin as the catalogue's model.

    Returns
    -------
    Scene
        Fluxes solved for. Sources without an estimate in the catalogue begin flat.

    Raises
    ------
    DeblendError
        If a column holds no numbers, or has another kind of unit.
    """
    columns = {name: catalog_column(catalog, name) for name in SHAPES}
    east, north = tangent_offsets(columns.pop("ra"), columns.pop("dec"), ra, dec)
    x, y = frame.grid.from_plane(np.asarray(east), np.asarray(north))
    rows = [{name: float(values[k]) for name, values in columns.items()} for k in range(len(x))]
    sources = [_catalog_source(frame, y[k], x[k], row, free) for k, row in enumerate(rows)]
    return Scene(frame, sources).solved()


def catalog_column(catalog, name):
    """A column of `SHAPES` as numbers.

    Parameters
    ----------
    catalog : Catalog or Table
        The catalogue.
    name : str
        Of the column.

    Returns
    -------
    (n,) array
        In the unit of `SHAPES`, which a column without a unit is taken to have; NaN where masked.

    Raises
    ------
    DeblendError
        If it holds no numbers, or has another kind of unit.
    """
    column, unit = catalog[name], SHAPES[name]
    own = getattr(column, "unit", None)
    try:
        column = column.astype(float)
        column = column.filled(np.nan) if hasattr(column, "filled") else column
        values = np.array(getattr(column, "value", column), dtype=float)
        return values if own is None else (values * own).to_value(unit)
    except (TypeError, ValueError):  # errors of units are both
        raise DeblendError(f"catalog: column {name} of {column.dtype} in {own or 'no unit'}, expected numbers"
                           f"{f' in {unit}' if unit else ''}; convert it, or leave the shapes out") from None


def _catalog_source(frame, y, x, row, free):
    if row["star_probability"] > 0.5:
        return PointSource([x, y], frame.model_psf)
    try:
        shape = from_catalog(GALAXY, ("x",), flux_x=1.0, **row)[3:]
        galaxy = GalaxySource([x, y, *shape], frame.model_psf, np.linalg.inv(frame.grid.jacobian))
    except (DeblendError, ValueError):  # no estimate: the catalogue has NaN there
        here = np.nan_to_num([y, x], nan=_NOWHERE)
        return FreeSource(*here, np.ones((2 * FLAT_HALF + 1,) * 2))
    return FreeSource(galaxy.box.y0 + galaxy.box.height // 2, galaxy.box.x0 + galaxy.box.width // 2,
                      galaxy.morphology) if free else galaxy


def _images_on_grid(frame):
    """Pixels (B, H, W) on the model's grid and their inverse variances.

    They are those of the observations that have this grid; without any, the others' projected back.
    """
    shape = (frame.n_bands, *frame.grid.shape)
    sums, weights = np.zeros(shape), np.zeros(shape)
    for observation, bands in zip(frame.observations, frame.band_indices, strict=True):
        if observation.grid.is_same(frame.grid):
            np.add.at(sums, bands, observation.weights * observation.images)
            np.add.at(weights, bands, observation.weights)
    if not weights.any():
        sums = frame.adjoint([o.weights * o.images for o in frame.observations])
        weights = np.maximum(frame.adjoint([o.weights for o in frame.observations]), 0.0)
    return np.divide(sums, weights, out=np.zeros(shape), where=weights > 0), weights


def _start_morphology(images, weights, y, x, start, halves):
    height, width = images.shape[1:]
    if not (0 <= y < height and 0 <= x < width):
        return np.ones((2 * SMALLEST_HALF + 1,) * 2)
    found = _symmetric_part(images, weights, y, x, halves)
    half = (found.shape[0] // 2, found.shape[1] // 2)
    if start == "detection" and found.any():
        return found
    if start == "flat":
        return np.ones_like(found)
    dy, dx = (np.arange(-h, h + 1) / (GAUSSIAN_SHARE * (2 * h + 1)) for h in half)
    return np.exp(-0.5 * (dy[:, None] ** 2 + dx**2))


def _symmetric_part(images, weights, y, x, halves):
    """The part of the added-up image that is symmetric about a peak and falls outwards; zeros if there is none."""
    smallest, largest = halves
    color = np.maximum(images[:, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean(axis=(1, 2)), 0.0)
    color = color if color.any() else np.ones(len(color))
    power = np.einsum("b,bhw->hw", color**2, weights)
    added = np.einsum("b,bhw,bhw->hw", color, weights, images)
    noise = np.divide(1.0, np.sqrt(power), out=np.full(power.shape, np.inf), where=power > 0)
    added = np.divide(added, power, out=np.full(power.shape, np.inf), where=power > 0)  # unknown: the opposite decides
    box = np.full((2, 2 * largest + 1, 2 * largest + 1), np.inf)
    rows, columns = (
        slice(max(c - largest, 0), min(c + largest + 1, side)) for c, side in zip((y, x), power.shape, strict=True)
    )
    dy, dx = largest - y, largest - x
    inside = np.s_[rows.start + dy : rows.stop + dy, columns.start + dx : columns.stop + dx]
    box[0][inside], box[1][inside] = added[rows, columns], noise[rows, columns]
    smaller = np.minimum(box[0], box[0][::-1, ::-1])
    level = np.minimum(box[1], box[1][::-1, ::-1])
    smaller = np.where(np.isfinite(smaller), smaller, 0.0)
    morphology = monotonic_sweep(np.where(smaller > ABOVE_NOISE * level, smaller, 0.0))
    return _trimmed(morphology, smallest, largest)


def _trimmed(morphology, smallest, largest):
    """Cut to the pixels with light, about the middle, within the limits of a box."""
    lit = np.argwhere(morphology > 0) - largest
    wanted = np.abs(lit).max(axis=0) + 1 if len(lit) else np.array([FLAT_HALF, FLAT_HALF])
    rows, columns = np.clip(wanted, min(smallest, largest), largest)
    return morphology[largest - rows : largest + rows + 1, largest - columns : largest + columns + 1]
