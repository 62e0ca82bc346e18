"""``celestepy deblend``: models of the single sources of a field, or of one blend, in a file."""

import logging
import sys
import time
from pathlib import Path

import numpy as np

from celestepy.cli import console, output
from celestepy.cli.collisions import check_collisions, field_files
from celestepy.cli.console import CommandError
from celestepy.deblend import deblend_field, deblend_patch, read_blend
from celestepy.deblend.blend_files import HSC_SCALE, select_bands
from celestepy.deblend.blend_fit import FAILED
from celestepy.deblend.field import INTERRUPTED
from celestepy.deblend.model_files import EXTENSIONS
from celestepy.images.band_names import band_names, distinct
from celestepy.pipeline import read_field, read_seeds

__all__ = ["deblend"]

log = logging.getLogger(__name__)


def deblend(options):
    """``celestepy deblend``."""
    is_blend = Path(options.input).suffix.lower() == ".npz"
    _check_options(options, is_blend)
    read = [("the blend", options.input)] if is_blend else field_files(options.input)
    named = {"the catalogue": options.catalog, "the prior": options.prior}
    read += [(word, path) for word, path in named.items() if path is not None]
    check_collisions({"--output": options.output}, read)
    output.check_file_output(options.output, options.overwrite, EXTENSIONS)
    pictures = None if options.plots is None else _pictures_directory(options.plots)
    began = time.perf_counter()
    models = (_of_blend if is_blend else _of_field)(options)
    models.table.meta["input"] = str(options.input)
    if models.interrupted and set(models.table["status"]) == {INTERRUPTED}:
        raise KeyboardInterrupt
    _check_outcome(models)
    output.write_catalog(models, options.output, "what was found")
    log.info("    done in %.1f s", time.perf_counter() - began)
    _say(options, models.summary, f"wrote {options.output}")
    if models.interrupted:
        return _interrupted(models, options.output)
    if pictures is not None:
        from celestepy.plot import draw_blends

        _say(options, *(f"wrote {path}" for path in draw_blends(models, pictures)))
    return None


def _check_outcome(models):
    """Do not write a file of nothing, and say what has failed."""
    failed = np.flatnonzero(models.table["status"] == FAILED)
    if not len(failed):
        return
    reason = models.table["message"][failed[0]]
    if len(failed) == len(models):
        raise CommandError(f"no source could be fitted: {reason}")
    log.warning("%d of %d sources could not be fitted, the first for this reason: %s", len(failed), len(models), reason)


def _check_options(options, is_blend):
    of_fields = {"--catalog": options.catalog, "--position": options.position, "--threshold": options.threshold}
    for name, value in of_fields.items():
        if is_blend and value is not None:
            raise CommandError(f"{name} is for fields: a blend ({options.input}) has the places of its sources in it")
    if not is_blend and options.pixel_scale is not None:
        raise CommandError("--pixel-scale is for blends (.npz): the images of a field have a WCS")
    if options.size is not None and options.position is None:
        raise CommandError("--size needs --position RA DEC, the middle of the square")
    if options.threshold is not None and options.catalog is not None:
        raise CommandError("--threshold is for the detection of sources, but --catalog gives them; leave one out")


def _pictures_directory(path):
    from celestepy.plot.canvas import empty_figure

    empty_figure(1, 1)  # says what to install where matplotlib is missing
    return output.prepare_directory(path)


def _of_field(options):
    catalog = None if options.catalog is None else read_seeds(options.catalog)
    images = read_field(options.input, options.bands)
    _check_names(options.input, (image.band for image in images))
    log.info("deblending ...")
    return deblend_field(
        images,
        catalog,
        method=options.method,
        prior=options.prior,
        position=options.position,
        size=options.size,
        threshold=options.threshold,
        largest_blend=options.largest_blend,
        rng=options.seed,
        n_jobs=options.n_jobs or output.default_n_jobs(),
        progress=not options.quiet and sys.stderr.isatty(),
    )


def _of_blend(options):
    observation, peaks = read_blend(options.input, pixel_scale=options.pixel_scale or HSC_SCALE)
    if options.bands is not None:
        observation = select_bands(observation, distinct(band_names(options.bands)))
    _check_names(options.input, observation.bands)
    log.info("deblending ...")
    return deblend_patch(observation, peaks, method=options.method, prior=options.prior, rng=options.seed)


def _check_names(path, bands):
    """Refuse bands that no file could hold, before the work."""
    for band in bands:
        if not (band.isascii() and band.isprintable()):
            raise CommandError(f"{path}: band {band!r}, whose name FITS cannot hold; expected plain letters and digits")


def _interrupted(models, path):
    undone = int(np.count_nonzero(models.table["status"] == INTERRUPTED))
    return console.stopped(f"{len(models) - undone} sources are finished and {undone} have no models (status "
                           f"{INTERRUPTED!r}); all are written to {path}")


def _say(options, *lines):
    if not options.quiet:
        print(*lines, sep="\n", flush=True)
