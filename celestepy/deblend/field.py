"""From images to the models of all their sources in one call: `deblend_field`, and `deblend_patch` for arrays.

A field is divided into blends (see `celestepy.deblend.blends`), each is cut out with a margin and fitted by itself, and
the models are put together again. A blend's result depends on no other, so that it is the same for any number of
workers; what goes wrong with one is told in the rows of its sources.
"""

from datetime import UTC, datetime
from functools import partial
from numbers import Integral

import astropy.units as u
import numpy as np
from astropy.table import QTable

from celestepy import __version__
from celestepy.catalog.metadata import plain
from celestepy.deblend.arguments import check_observation, check_options, check_prior, checked_peaks, checked_square
from celestepy.deblend.blend_fit import BlendFit, fit_blend, fit_or_say_why
from celestepy.deblend.blends import find_blends, plans_with
from celestepy.deblend.errors import DeblendError
from celestepy.deblend.field_models import FieldModels, ResidualImage
from celestepy.deblend.field_sources import field_sources
from celestepy.deblend.headers import image_header, linear_header, tangent_header
from celestepy.deblend.methods import method_for, method_named, settings_of
from celestepy.deblend.patches import Cutout, cut_out
from celestepy.deblend.starts import start_from_catalog, start_scene
from celestepy.detection.seed_table import checked_images
from celestepy.images.wcs import from_tangent_offsets, tangent_offsets
from celestepy.inference.executors import run_tasks

__all__ = ["deblend_field", "deblend_patch"]

INTERRUPTED = "interrupted"
_AROUND = 2.0  # widths (FWHM) of the PSF that a patch reaches beyond the light of its sources


def deblend_field(
    images,
    catalog=None,
    *,
    method=None,
    prior=None,
    position=None,
    size=None,
    threshold=None,
    largest_blend=16,
    rng=None,
    n_jobs=None,
    progress=False,
):
    """Take the sources of a field apart, blend by blend.

    Parameters
    ----------
    images : Image or sequence of Image
        Of any bands, exposures and pixel scales.
    catalog : Catalog or table, optional
        The sources. Of a catalogue of celestepy stars are points and galaxies begin as its model; any other table
        needs ``ra`` and ``dec`` (degrees where they have no unit), and every source is free. By default what
        `~celestepy.detection.detect` finds.
    method : str or Solver, optional
        One of ``celestepy.deblend.METHODS``, or settings such as ``AdaProx()``. By default ``"score"`` where a prior
        was learned at about the pixel scale of the images, and ``"galaxies"`` elsewhere.
    prior : str, path-like or MorphologyPrior, optional
        For the methods with a prior, see `method_named`.
    position : (float, float) or SkyCoord, optional
        ra, dec in degrees or as angles: only sources in a square about this place are returned. All by default.
    size : float or Quantity, optional
        Side of the square, arcsec where it has no unit; 60 by default.
    threshold : float, optional
        Signal to noise from which a source is detected, where there is no catalogue.
    largest_blend : int, optional
        Sources of the largest blend that is fitted as a whole.
    rng : int, optional
        Seed, for the estimate of what the prior has decided.
    n_jobs : int or object with ``map``, optional
        Threads, or an executor; one by default. The result does not depend on it.
    progress : bool, optional
        Whether to show a progress bar.

    Returns
    -------
    FieldModels
        In nanomaggies, a row for each source.

    Raises
    ------
    DeblendError, ImageError, CatalogError
        If an argument cannot be used. What goes wrong with a blend is told in ``status`` and ``message`` instead.

    Examples
    --------
    >>> from celestepy.deblend import deblend_field
    >>> from celestepy.simulate import simulate_field
    >>> field = simulate_field(n_sources=3, shape=(96, 96), bands="gri", rng=1)
    >>> models = deblend_field(field.images, field.truth, method="proximal")
    >>> len(models)
    3
    """
    check_options(threshold, largest_blend)
    images, square = checked_images(images), checked_square(position, size)
    if square is not None:
        cut_out(images, *square)  # refuses a place outside of all images, before sources are looked for
    sources = field_sources(images, catalog, threshold)
    method, solver = _solver(method, prior, sources.pixel_scale)
    wanted = np.ones(len(sources), dtype=bool) if square is None else _in_square(sources, *square)
    around = _AROUND * sources.fwhm
    plans = find_blends(sources.offsets, sources.radii, margin=around, largest=largest_blend)
    plans = plans_with(wanted, plans)
    tasks = [partial(_fit, plan, sources, images, solver, _generator(rng, plan.own[0])) for plan in plans]
    fits, interrupted = _run(tasks, n_jobs, progress)
    rows, models = _gathered(sources, images, plans, fits, wanted)
    parts = [None] * len(images) if position is None else _parts(images, plans, sources)
    residuals = [_residual(image, k, fits, part) for k, (image, part) in enumerate(zip(images, parts, strict=True))]
    rows.meta.update(_meta(method, solver, rng, interrupted, inputs=[image.name for image in images]))
    return FieldModels(rows, models, residuals, interrupted)


def deblend_patch(observation, peaks, *, method=None, prior=None, kinds=None, rng=None):
    """Take one blend apart that is given as arrays, its place on the sky being unknown.

    Parameters
    ----------
    observation : Observation
        The data.
    peaks : (K, 2) array_like
        y, x of each source, pixels.
    method, prior, rng
        As for `deblend_field`.
    kinds : sequence of {"free", "point"}, optional
        What each source is; all free by default.

    Returns
    -------
    FieldModels
        In the unit of the images.

    Raises
    ------
    DeblendError
        If an argument cannot be used, or the blend cannot be fitted.
    """
    check_observation(observation)
    peaks = checked_peaks(peaks)
    (method, solver), n_bands = _solver(method, prior, observation.grid.pixel_scale), len(observation.bands)
    cutout = Cutout(observation, tuple(range(n_bands)), ((0, 0),) * n_bands)

    def begin(frame):
        places = np.array(frame.grid.from_plane(*observation.grid.to_plane(peaks[:, 1], peaks[:, 0])))
        return start_scene(frame, places[::-1].T, kinds=kinds, **_limit(solver))

    def header_of(grid, x0, y0):
        x, y = grid.from_plane(0.0, 0.0)
        return linear_header(x - x0, y - y0, grid.jacobian)

    fitted = fit_blend([cutout], begin, len(peaks), solver, header_of, _generator(rng, 0))
    rows = QTable({"row": np.arange(len(peaks)), "x": peaks[:, 1], "y": peaks[:, 0]})
    rows["blend"], rows["n_blend"] = 0, len(peaks)
    _take_over(rows, [(np.arange(len(peaks)), fitted)], unit=None)
    residuals = []
    for k, band in enumerate(observation.bands):
        left = np.where(observation.weights[k] > 0, observation.images[k], np.nan)
        for _, _, _, light in [one for one in fitted.light if one[0] == k]:
            left = left - light
        residuals.append(ResidualImage(band, band, 0, 0, left.astype(np.float32), header_of(observation.grid, 0, 0)))
    rows.meta.update(_meta(method, solver, rng, False))
    return FieldModels(rows, fitted.models, residuals)


def _solver(method, prior, pixel_scale):
    """Name and settings of a method."""
    check_prior(prior)
    if method is None and prior is None:
        method, prior = method_for(pixel_scale)
    method = "score" if method is None else method
    if isinstance(method, str):
        return method, method_named(method, prior)
    if isinstance(method, type) or not callable(getattr(method, "fit", None)) or not hasattr(method, "prior"):
        raise DeblendError(f"method: {method!r}, expected a name, or settings such as AdaProx()")
    if prior is not None:
        raise DeblendError("prior: given beside the settings of a method; give it as one of them")
    return type(method).__name__, method


def _limit(solver):
    """The largest box to start from."""
    free = solver.prior is None or getattr(solver, "beyond_stamps", False)
    return {} if free else {"largest_half": min((side - 1) // 2 for side in solver.prior.shape)}


def _in_square(sources, ra, dec, size):
    """Which sources were asked for."""
    east, north = tangent_offsets(sources.ra, sources.dec, ra, dec)
    inside = np.maximum(np.abs(east), np.abs(north)) <= size / 2
    if not inside.any():
        raise DeblendError(f"position: no source within the square of {size:g} arcsec about ra {ra:.5f}, dec {dec:.5f};"
                           " choose another place or a larger size, or lower the threshold")
    return inside


def _generator(rng, source):
    """Random numbers of a blend, which do not depend on the others."""
    return np.random.default_rng([_seed(rng) or 0, source])


def _seed(rng):
    if rng is not None and not (isinstance(rng, Integral) and rng >= 0):
        raise DeblendError(f"rng: {rng!r}, expected a whole number >= 0 as the seed")
    return None if rng is None else int(rng)


def _fit(plan, sources, images, solver, rng):
    """Fit one blend, or say why not."""
    def work():
        ra, dec = (float(value) for value in from_tangent_offsets(*plan.centre, *sources.origin))
        members = list(plan.own + plan.others)

        def begin(frame):
            if sources.catalog is not None:
                return start_from_catalog(frame, sources.catalog[members], ra, dec)
            east, north = tangent_offsets(sources.ra[members], sources.dec[members], ra, dec)
            x, y = frame.grid.from_plane(east, north)
            return start_scene(frame, np.stack([y, x], axis=1), **_limit(solver))

        def header_of(grid, x0, y0):
            x, y = grid.from_plane(0.0, 0.0)
            return tangent_header(ra, dec, x - x0, y - y0, grid.jacobian)

        cutouts = cut_out(images, ra, dec, plan.size)
        return fit_blend(cutouts, begin, len(plan.own), solver, header_of, rng, plan.n_strays)

    return fit_or_say_why(work, f"blend of source {plan.own[0]}")


def _run(tasks, n_jobs, progress):
    if isinstance(n_jobs, bool) or (isinstance(n_jobs, Integral) and n_jobs < 1 and n_jobs != -1):
        raise DeblendError(f"n_jobs: {n_jobs!r}, expected a number of threads from 1 on (-1: one for each core)")
    fits, interrupted = run_tasks(lambda task: task(), tasks, executor=n_jobs, progress=progress,
                                  description="deblending")
    undone = BlendFit(status=INTERRUPTED, message="the run was stopped before this blend was fitted; run it again")
    return [undone if fit is None else fit for fit in fits], interrupted


def _gathered(sources, images, plans, fits, wanted):
    """Rows and models of the wanted sources, in the order of the catalogue."""
    kept = np.flatnonzero(wanted)
    place = np.full(len(wanted), -1)
    place[kept] = np.arange(len(kept))
    x, y = images[0].sky_to_pixel(sources.ra[kept], sources.dec[kept])
    rows = QTable({"row": sources.rows[kept], "ra": sources.ra[kept] * u.deg, "dec": sources.dec[kept] * u.deg})
    rows["x"], rows["y"] = np.asarray(x, float), np.asarray(y, float)
    rows["blend"], rows["n_blend"] = np.full(len(kept), -1), np.ones(len(kept), int)
    models = [()] * len(kept)
    for number, (plan, fit) in enumerate(zip(plans, fits, strict=True)):
        for source, own in zip(plan.own, fit.models or ((),) * len(plan.own), strict=True):
            if wanted[source]:
                rows["blend"][place[source]], rows["n_blend"][place[source]] = number, len(plan.own)
                models[place[source]] = own
    _take_over(rows, [(place[list(plan.own)], fit) for plan, fit in zip(plans, fits, strict=True)], unit=u.nmgy)
    return _with_all_bands(rows, [image.band for image in images]), models


def _with_all_bands(rows, bands):
    """The same rows, with fluxes in all bands: where all blends have failed, none has a column of them."""
    for band in dict.fromkeys(bands):
        for name in (f"flux_{band}", f"flux_{band}_err"):
            if name not in rows.colnames:
                rows.add_column(np.full(len(rows), np.nan) * u.nmgy, name=name, index=rows.colnames.index("status"))
    return rows


def _take_over(rows, fits, unit):
    """Add the columns of the blends' tables to those of the field; blends may lack bands, or have failed."""
    tables = [fit.rows for _, fit in fits if fit.rows is not None]
    names = dict.fromkeys(name for table in tables for name in table.colnames if name not in ("id", "x", "y"))
    last = ("status", "message")
    for name in [*(name for name in names if name not in last), *last]:
        parts = [(places, _values(fit, name, len(places))) for places, fit in fits]
        parts = [(places[places >= 0], values[places >= 0]) for places, values in parts if values is not None]
        column = _empty(len(rows), [values for _, values in parts])
        for places, values in parts:
            column[places] = values
        rows[name] = column * unit if unit is not None and name.startswith("flux_") else column


def _values(fit, name, n):
    """A column of a blend; None where it has none."""
    if fit.rows is None:
        return np.full(n, getattr(fit, name)) if name in ("status", "message") else None
    return np.asarray(fit.rows[name]) if name in fit.rows.colnames else None


def _empty(n, parts):
    """A column of the type of its parts, with nothing in it."""
    dtype = np.result_type(*parts) if parts else np.dtype("U1")
    return np.full(n, {"f": np.nan, "U": "", "b": False}.get(dtype.kind, 0), dtype=dtype)


def _parts(images, plans, sources):
    """Box of each image, x0, x1, y0, y1, that holds all patches; None where there is none."""
    boxes = [None] * len(images)
    for plan in plans:
        ra, dec = from_tangent_offsets(*plan.centre, *sources.origin)
        for cutout in cut_out(images, float(ra), float(dec), plan.size):
            height, width = cutout.observation.grid.shape
            for k, (x0, y0) in zip(cutout.images, cutout.corners, strict=True):
                old = boxes[k] or (x0, x0 + width, y0, y0 + height)
                boxes[k] = (min(old[0], x0), max(old[1], x0 + width), min(old[2], y0), max(old[3], y0 + height))
    return [box or (0, 1, 0, 1) for box in boxes]


def _residual(image, number, fits, part):
    x0, x1, y0, y1 = (0, image.shape[1], 0, image.shape[0]) if part is None else part
    left = np.where(image.mask, np.nan, image.pixels - image.sky)
    for fit in fits:
        for own, column, row, light in fit.light:
            if own == number:
                left[row : row + light.shape[0], column : column + light.shape[1]] -= light
    left = left[y0:y1, x0:x1].astype(np.float32)
    return ResidualImage(image.name, image.band, x0, y0, left, image_header(image, x0, y0, left.shape))


def _meta(method, solver, rng, interrupted, **more):
    return plain({
        "celestepy_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "method": method,
        "settings": settings_of(solver),
        "seed": _seed(rng),
        "interrupted": interrupted,
    } | more)
