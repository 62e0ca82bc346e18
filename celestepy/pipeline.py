"""From images to a catalogue in one call: find the sources, fit them, and say how it was done."""

import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from inspect import signature
from numbers import Integral
from os import PathLike
from pathlib import Path

import numpy as np
from astropy.table import QTable
from scipy.spatial import cKDTree

from celestepy.catalog import CatalogError, DrawsFile, files
from celestepy.detection import Seeds, detect
from celestepy.detection.seed_table import checked_images, seed_positions
from celestepy.images import Image, ImageError
from celestepy.images.band_names import band_names, distinct, selected
from celestepy.images.fits import read_images
from celestepy.images.plausibility import check_plausible
from celestepy.inference import LaplaceFit
from celestepy.inference.kept_rows import entropy_of
from celestepy.model.priors import Prior

__all__ = ["METHODS", "band_names", "make_catalog", "read_field", "read_seeds", "read_table"]

log = logging.getLogger(__name__)

_ENGINES = {
    "fast": ("celestepy.inference", "LaplaceFit"),
    "calibrated": ("celestepy.inference", "ImportanceSampler"),
    "mcmc": ("celestepy.inference.markov", "MarkovSampler"),
    "paper-vi": ("celestepy.inference.vi", "MeanFieldVI"),
    "paper-mcmc": ("celestepy.inference.paper_mcmc", "PaperSampler"),
}
METHODS = tuple(_ENGINES)

# A source without a seed matters to the seeds within this distance (arcsec) from this S/N on; one that has a seed lies
# within the smaller distance of it.
_NEAR, _AT_SEED, _BRIGHT = 10.0, 2.0, 50.0
_LIKELY_SEEDS = 1000  # that people give: those below


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
    draws=None,
):
    """Catalogue of the sources in a field.

    Parameters
    ----------
    images : path-like or sequence of `~celestepy.images.Image`
        An SDSS field directory, a TOML description, or images of any bands and exposures.
    seeds : path-like, `~celestepy.detection.Seeds` or table, optional
        Where to fit: anything with ``ra`` and ``dec`` in degrees, such as another catalogue, or a file of
        one. Every one of them gets a row, however doubtful its existence, and no others are looked for: the light
        of a source that is missing from the list spoils those beside it, and a warning tells of bright ones. By default
        the sources that `~celestepy.detection.detect` finds in all images together, those without support dropped
        and those that it missed looked for.
    method : str or object with ``fit``, optional
        Engine: one of the names in ``METHODS``, or an instance with settings of its own such as
        ``LaplaceFit(max_group=3)``.
    prior : str, path-like or `~celestepy.model.priors.Prior`, optional
        A prior, its file, or the name of a shipped one; by default ``Prior.default()``.
    bands : str or sequence of str, optional
        Only these bands: ``"gri"``, or ``"g,r,i"`` where names have more than one letter. All by default.
    threshold : float, optional
        Signal to noise from which a source is detected; by default that of `~celestepy.detection.detect`.
    rng : int or `numpy.random.Generator`, optional
        Seed or generator for engines that draw random numbers. A seed is kept in the metadata.
    n_jobs : int or object with ``map``, optional
        Number of threads, or an executor; one by default. The catalogue does not depend on it. A second thread
        gains little with the fast method, most of whose time is in Python under the interpreter's lock: run
        several fields as separate processes instead.
    progress : bool, optional
        Whether to show progress bars.
    draws : path-like, optional
        File (.hdf5) for the posterior draws, with methods that draw; it is written as the sources are finished, a run
        that was stopped is continued from it, and the catalogue links to it.

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
    engine, prior, n_jobs = _engine(method, seeds), _prior(prior), _checked_n_jobs(n_jobs)
    options = _draws_option(engine, draws, rng)
    images = read_field(images, bands)
    for image in images:
        check_plausible(image)
    prior = _prior_of(images, prior)
    meta = {
        "seed": int(rng) if isinstance(rng, Integral) else None,
        "inputs": [image.name for image in images],
    }
    if isinstance(seeds, (str, PathLike)):
        meta["seeds"] = str(seeds)
    seeds = _seeds(seeds, images, threshold)
    log.info("fitting %s by the method %s ...", counted(len(seeds), "seeds"), _name(engine))
    result = engine.fit(images, seeds, prior=prior, rng=rng, executor=n_jobs, progress=progress, **options)
    result.catalog.meta.update(meta)
    if not len(result.catalog):
        log.warning("no source was found in %s, and the catalogue is empty; check the zero points, the noise, the sky "
                    "and the masks of the images, or give a lower threshold", counted(len(images), "images"))
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
        if not isinstance(field, (Image, Iterable)):
            raise ImageError(f"images: {field!r}, expected images, an SDSS field directory or a TOML description")
        return selected(checked_images(field), names, "images")
    path = Path(field)
    if path.is_dir():
        return _timed(f"reading {path}", "images", read_images, path, names and distinct(names))
    # "F814W" may be one band or five: both are read
    wanted = None if names is None else tuple(dict.fromkeys((*names, "".join(names))))
    return selected(_timed(f"reading {path}", "images", read_images, path, wanted), names, path)


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
    if isinstance(given, (str, PathLike)):
        table = read_seeds(given)
        try:
            seeds = Seeds.from_table(table, images)
        except ImageError as error:
            raise ImageError(f"{given}: {error}") from error
    else:
        seeds = Seeds.from_table(getattr(given, "table", given), images)
    _warn_of_missing(seeds, images)
    return seeds


def read_seeds(path):
    """Table of positions from a file.

    Parameters
    ----------
    path : path-like
        See `read_table`.

    Returns
    -------
    `~astropy.table.Table`

    Raises
    ------
    CatalogError, ImageError
        If it is no table, or has no positions; the message names it.
    """
    if Path(path).is_file() and not Path(path).stat().st_size:
        raise CatalogError(f"{path}: is empty, expected a table with columns ra and dec; write it again")
    table = read_table(path)
    try:
        seed_positions(table)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    return table


def _warn_of_missing(seeds, images):
    """Say that bright sources beside the seeds are not among them, whose light the seeds would take for their own."""
    try:
        found = detect(images, threshold=_BRIGHT)
    except ImageError:  # too small to detect anything in, but not to fit
        return
    if not len(found):
        return
    known, bright = (cKDTree(_plane(each, seeds)) for each in (seeds, found))
    distance, _ = known.query(bright.data)
    missing = np.flatnonzero((distance > _AT_SEED) & (distance < _NEAR))
    if not len(missing):
        return
    reached, _ = cKDTree(bright.data[missing]).query(known.data)
    first = missing[np.argmax(found.snr[missing])]
    log.warning(
        "seeds: %d bright sources within %g arcsec of %d of them are not in the list, the brightest at ra %.5f, "
        "dec %.5f; their light spoils the fits beside them: add them to the list, or leave the seeds out to have all "
        "sources detected",
        len(missing),
        _NEAR,
        np.count_nonzero(reached < _NEAR),
        found.ra[first],
        found.dec[first],
    )


def _plane(seeds, origin):
    """Offsets from the first seed to the East and North, arcsec, (n, 2)."""
    east = (seeds.ra - origin.ra[0] + 180) % 360 - 180
    return 3600 * np.column_stack([east * np.cos(np.radians(origin.dec[0])), seeds.dec - origin.dec[0]])


def _checked_n_jobs(n_jobs):
    """Threads or an executor, before anything long begins."""
    number = isinstance(n_jobs, Integral) and not isinstance(n_jobs, bool) and (n_jobs > 0 or n_jobs == -1)
    if n_jobs is None or number or callable(getattr(n_jobs, "map", None)):
        return n_jobs
    raise ValueError(
        f"n_jobs: {n_jobs!r}, expected a number of threads from 1 on (-1: one for each core), or an object with map"
    )


def _engine(method, seeds):
    """The engine; one that is asked for by name keeps to the user's own seeds."""
    if callable(getattr(method, "fit", None)):
        return method
    if method not in METHODS:
        raise ValueError(f"method: {method!r}, expected one of {', '.join(METHODS)} or an object with fit")
    module, name = _ENGINES[method]
    engine = getattr(import_module(module), name)
    given = seeds is not None and not isinstance(seeds, Seeds)
    own_seeds = {"drop_doubtful": False, "search": False}
    if given and method == "fast":
        return engine(**own_seeds)
    if given and "fast" in getattr(engine, "__dataclass_fields__", {}):
        return engine(fast=LaplaceFit(**own_seeds))
    return engine()


def _name(engine):
    return getattr(engine, "name", type(engine).__name__)


def _draws_option(engine, draws, rng):
    """What to tell the engine of the file of draws, before anything long begins."""
    if draws is None:
        return {}
    if "draws" not in signature(engine.fit).parameters:
        raise ValueError(
            f"draws: the method {_name(engine)!r} draws nothing; choose one that does, such as 'calibrated'"
        )
    _check_seed(draws, rng)
    return {"draws": draws}


def _check_seed(draws, rng):
    """Say which seed a file of draws was begun with, where it is another than that of this run."""
    begun = None
    if isinstance(rng, Integral):
        with suppress(CatalogError, ImportError):  # there is none yet, or opening it for writing tells what is wrong
            begun = DrawsFile(draws).meta.get("entropy")
    if begun is None or begun == entropy_of(rng):
        return
    # the file keeps what was made of the seed, so that the seeds that people give are tried
    known = next((f"the seed {seed}" for seed in range(_LIKELY_SEEDS) if entropy_of(seed) == begun), "another seed")
    raise ValueError(f"{draws}: was begun with {known} and cannot be continued with the seed {rng}; give the same "
                     "seed, another file for the draws, or delete this one to begin anew")


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
    log.info("    %s in %.1f s", counted(len(result), outcome), time.perf_counter() - start)
    return result


def counted(number, things):
    """Number and noun: ``1 image``, ``2 images``.

    Parameters
    ----------
    number : int
        How many.
    things : str
        Of what, in the plural with an s.

    Returns
    -------
    str
    """
    return f"{number} {things if number != 1 else things.removesuffix('s')}"
