"""From images to a catalogue in one call: find the sources, fit them, and say how it was done."""

import logging
import time
from contextlib import suppress
from importlib import import_module
from os import PathLike
from pathlib import Path

import numpy as np
from astropy.table import QTable

from celestepy.catalog import CatalogError, files
from celestepy.detection import Seeds, detect
from celestepy.images import ImageError
from celestepy.images.fits import read_images
from celestepy.model.priors import Prior

__all__ = ["METHODS", "band_names", "make_catalog", "read_field", "read_table"]

log = logging.getLogger(__name__)

_ENGINES = {
    "fast": ("celestepy.inference", "LaplaceFit"),
    "paper-vi": ("celestepy.inference.vi", "MeanFieldVI"),
}
METHODS = tuple(_ENGINES)


def make_catalog(
    images,
    seeds=None,
    *,
    method="fast",
    prior=None,
    bands=None,
    threshold=None,
    rng=None,
    n_jobs=None,
    progress=False,
):
    """Catalogue of the sources in a field.

    Parameters
    ----------
    images : path-like or sequence of `~celestepy.images.Image`
        An SDSS field directory, a TOML description, or images of any bands and exposures.
    seeds : path-like, `~celestepy.detection.Seeds` or table, optional
        Where to fit: anything with ``ra`` and ``dec`` in degrees, such as another catalogue, or a file of
        one. Every one of them gets a row, however doubtful its existence, and no others are looked for. By default
        the sources that `~celestepy.detection.detect` finds in all images together, those without support dropped
        and those that it missed looked for.
    method : {"fast", "paper-vi"} or object with ``fit``, optional
        Engine: a name, or an instance with settings of its own such as ``LaplaceFit(max_group=3)``.
    prior : str, path-like or `~celestepy.model.priors.Prior`, optional
        A prior, its file, or the name of a shipped one; by default ``Prior.default()``.
    bands : str or sequence of str, optional
        Only these bands: ``"gri"``, or ``"g,r,i"`` where names have more than one letter. All by default.
    threshold : float, optional
        Signal to noise from which a source is detected; by default that of `~celestepy.detection.detect`.
    rng : int or `numpy.random.Generator`, optional
        Seed or generator for engines that draw random numbers. A seed is kept in the metadata.
    n_jobs : int or object with ``map``, optional
        Number of threads, or an executor; one by default. The catalogue does not depend on it.
    progress : bool, optional
        Whether to show progress bars.

    Returns
    -------
    `~celestepy.inference.Result`
        With ``catalog``, ``summary`` and ``interrupted``: after Ctrl-C the catalogue has what was finished.

    Raises
    ------
    ValueError
        If an image, band, seed, prior or method cannot be used; the message says what to do.
    OSError
        If a file cannot be read.

    Examples
    --------
    >>> from celestepy.pipeline import make_catalog
    >>> from celestepy.simulate import simulate_field
    >>> field = simulate_field(n_sources=3, shape=(96, 96), bands="gri", rng=1)
    >>> result = make_catalog(field.images)
    >>> result.catalog.bands.names
    ('g', 'r', 'i')
    """
    engine, prior = _engine(method, seeds), _prior(prior)
    images = read_field(images, bands)
    prior = _prior_of(images, prior)
    meta = {
        "seed": int(rng) if isinstance(rng, (int, np.integer)) else None,
        "inputs": [image.name for image in images],
    }
    if isinstance(seeds, (str, PathLike)):
        meta["seeds"] = str(seeds)
    seeds = _seeds(seeds, images, threshold)
    log.info(
        "fitting %d seeds by the method %s ...", len(seeds), getattr(engine, "name", type(engine).__name__)
    )
    result = engine.fit(images, seeds, prior=prior, rng=rng, executor=n_jobs, progress=progress)
    result.catalog.meta.update(meta)
    return result


def read_field(field, bands=None):
    """Images of a field, of all bands or some.

    Parameters
    ----------
    field : path-like or sequence of `~celestepy.images.Image`
        An SDSS field directory, a TOML description, or images, which are only selected from.
    bands : str or sequence of str, optional
        Only these bands, see `make_catalog`.

    Returns
    -------
    list of `~celestepy.images.Image`

    Raises
    ------
    ImageError
        If a file is missing or broken, or there is no image of a band.
    """
    names = None if bands is None else band_names(bands)
    if not isinstance(field, (str, PathLike)):
        return _selected(list(field), names, "images")
    path = Path(field)
    if path.is_dir():
        return _timed(f"reading {path}", "images", read_images, path, names)
    # "F814W" may be one band or five: both are read
    wanted = None if names is None else (*names, "".join(names))
    return _selected(_timed(f"reading {path}", "images", read_images, path, wanted), names, path)


def read_table(path):
    """Table from a file: a catalogue, or anything that astropy reads.

    Parameters
    ----------
    path : path-like
        FITS, ECSV, CSV, VOTable, or another format that `astropy.table.Table.read` recognises.

    Returns
    -------
    `~astropy.table.Table`

    Raises
    ------
    CatalogError
        If there is no such file, or it is no table; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise CatalogError(f"{path}: no such file; expected a table")
    with suppress(CatalogError):  # written by others: any table will do
        return files.read_table(path)
    try:
        return QTable.read(path)
    except Exception as error:  # each of astropy's many readers has its own errors
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise CatalogError(
            f"{path}: not a table that can be read ({reason}); give FITS, ECSV, CSV or VOTable"
        ) from error


def _seeds(given, images, threshold):
    """Seeds from whatever was given: nothing, a file, a table, or seeds."""
    if isinstance(given, Seeds):
        return given
    if given is None:
        options = {} if threshold is None else {"threshold": threshold}
        return _timed("detecting sources", "seeds", detect, images, **options)
    if not isinstance(given, (str, PathLike)):
        return Seeds.from_table(getattr(given, "table", given), images)
    table = read_table(given)
    try:
        return Seeds.from_table(table, images)
    except ImageError as error:
        raise ImageError(f"{given}: {error}") from error


def band_names(bands):
    """Names of bands out of ``"gri"``, ``"g,r,i"`` or a sequence of names."""
    if isinstance(bands, str) and "," in bands:
        return tuple(name.strip() for name in bands.split(","))
    return tuple(bands)


def _selected(images, names, origin):
    """The images of some bands, all of which have to be there."""
    if names is None:
        return images
    present = dict.fromkeys(image.band for image in images)
    names = ("".join(names),) if "".join(names) in present else names
    missing = [name for name in names if name not in present]
    if missing:
        raise ImageError(
            f"bands: no image of the band {missing[0]!r} in {origin}; it has {', '.join(present)}"
        )
    return [image for image in images if image.band in names]


def _engine(method, seeds):
    """The engine; one that is asked for by name keeps to the user's own seeds."""
    if callable(getattr(method, "fit", None)):
        return method
    if method not in METHODS:
        raise ValueError(f"method: {method!r}, expected one of {', '.join(METHODS)} or an object with fit")
    module, name = _ENGINES[method]
    engine = getattr(import_module(module), name)
    given = seeds is not None and not isinstance(seeds, Seeds)
    return engine(drop_doubtful=False, search=False) if given and method == "fast" else engine()


def _prior(prior):
    if prior is None:
        return Prior.default()
    return prior if isinstance(prior, Prior) else Prior.load(prior)


def _prior_of(images, prior):
    """The prior for the bands of the images, which it has to know, before anything long begins."""
    present = {image.band for image in images}
    return prior.for_bands(
        [band for band in prior.bands if band in present] + sorted(present - set(prior.bands))
    )


def _timed(stage, outcome, function, *arguments, **options):
    """Call a function, and log what it does, how many of what came out, and how long it took."""
    log.info("%s ...", stage)
    start = time.perf_counter()
    result = function(*arguments, **options)
    log.info("    %d %s in %.1f s", len(result), outcome, time.perf_counter() - start)
    return result
