"""The commands: each checks where it is to write, makes one call of the public API, says what came out."""

import logging
import sys
from importlib.util import find_spec

from celestepy.catalog import Flag, Status
from celestepy.catalog.score import score as score_tables
from celestepy.cli import console, output
from celestepy.cli.collisions import check_collisions, field_files
from celestepy.images.band_names import band_names, distinct
from celestepy.model.priors import Prior
from celestepy.pipeline import counted, make_catalog, read_field, read_seeds, read_table

__all__ = ["catalog", "deblend", "demo", "priors", "score", "simulate"]

log = logging.getLogger(__name__)


def catalog(options):
    """``celestepy catalog``."""
    check_collisions({"--output": options.output, "--draws": options.draws}, _inputs(options))
    output.check_catalog_output(options.output, options.overwrite, options.draws)
    pictures = _pictures_directory(options.plots)
    prior = _prior(options)
    if options.seeds is not None:
        read_seeds(options.seeds)  # before the images, which take longer
    images = read_field(options.field, options.bands)
    result = make_catalog(
        images,
        options.seeds,
        method=options.method,
        prior=prior,
        threshold=options.threshold,
        rng=options.seed,
        n_jobs=_n_jobs(options),
        progress=_progress(options),
        draws=options.draws,
    )
    duplicate = (result.catalog["flags"] & Flag.DUPLICATE_SEED) != 0
    status = result.catalog["status"][~duplicate]
    untouched, begun = (int((status == code).sum()) for code in (Status.NOT_FITTED, Status.FIRST_FIT))
    if result.interrupted and untouched == len(status):
        raise KeyboardInterrupt
    output.write_catalog(result.catalog, options.output)
    _say(options, result.summary, f"wrote {options.output}")
    if result.interrupted:
        counts = len(status) - untouched - begun, begun, untouched
        return console.interrupted(*counts, options.output, options.draws)
    if pictures is not None:
        from celestepy.plot import draw_field

        _say(options, *(f"wrote {path}" for path in draw_field(images, result, pictures)))
    return None


def deblend(options):
    """``celestepy deblend``."""
    from celestepy.cli.deblend_command import deblend

    return deblend(options)


def demo(options):
    """``celestepy demo``."""
    from celestepy.demo import FILES, run_demo

    directory = output.prepare_directory(options.output, options.overwrite, FILES)
    outcome = run_demo(
        directory,
        n_sources=options.n_sources,
        rng=options.seed,
        n_jobs=_n_jobs(options),
        progress=_progress(options),
    )
    _say(options, outcome)


def simulate(options):
    """``celestepy simulate``."""
    from celestepy.simulate import simulate_field

    bands = None if options.bands is None else distinct(band_names(options.bands))
    prior = _prior(options)
    directory = output.prepare_directory(options.output, options.overwrite)
    size = (options.size, options.size)
    field = simulate_field(options.n_sources, bands, size, prior=prior, rng=options.seed)
    field.write(directory)
    _say(
        options,
        f"wrote {counted(len(field.images), 'images')} of {counted(len(field.truth), 'sources')} to {directory}; next:",
        f"  celestepy catalog {directory}/description.toml --output {directory}/catalog.fits",
        f"  celestepy score {directory}/catalog.fits {directory}/truth.fits",
    )


def score(options):
    """``celestepy score``."""
    read = {"the catalogue": options.catalog, "the truth": options.truth, "the other catalogue": options.other}
    check_collisions({"--json": options.json}, [(word, path) for word, path in read.items() if path is not None])
    result = score_tables(
        read_table(options.catalog),
        read_table(options.truth),
        None if options.other is None else read_table(options.other),
        radius=options.radius,
        mag_range=options.mag_range,
    )
    if options.json:
        output.write_text(options.json, result.to_json(indent=1) + "\n")
    _say(options, result)


def priors(options):
    """``celestepy priors``, of which ``fit`` is the one action."""
    from celestepy.cli.prior_commands import fit_prior

    return fit_prior(options)


def _inputs(options):
    """The files that ``celestepy catalog`` reads, see `check_collisions`."""
    tables = {"the seeds": options.seeds, "the prior": options.prior}
    return field_files(options.field) + [(word, path) for word, path in tables.items() if path is not None]


def _prior(options):
    return None if options.prior is None else Prior.load(options.prior)


def _n_jobs(options):
    return options.n_jobs or output.default_n_jobs()


def _progress(options):
    """Whether to draw progress bars: not into files."""
    return not options.quiet and sys.stderr.isatty()


def _pictures_directory(path):
    """The directory for the pictures, if any are wanted, with all that drawing needs."""
    if path is None:
        return None
    if find_spec("matplotlib") is None:
        raise ImportError("--plots needs matplotlib: install it, or celestepy with its extra 'plot'")
    return output.prepare_directory(path)


def _say(options, *lines):
    if not options.quiet:
        print(*lines, sep="\n", flush=True)
