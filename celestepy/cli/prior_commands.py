"""``celestepy priors fit``: a prior learned from a catalogue, or from a field with catalogue and prior in turns."""

import logging
import sys
from dataclasses import replace
from pathlib import Path

from celestepy.catalog import Catalog, CatalogError
from celestepy.cli import output
from celestepy.cli.collisions import check_collisions, field_files
from celestepy.cli.console import CommandError
from celestepy.model.prior_file import EXTENSIONS
from celestepy.model.priors import Prior
from celestepy.pipeline import make_catalog, read_field
from celestepy.priors import PriorFit, iterate

__all__ = ["fit_prior"]

log = logging.getLogger(__name__)


def fit_prior(options):
    """``celestepy priors fit``."""
    is_field = Path(options.input).is_dir() or Path(options.input).suffix.lower() == ".toml"
    _check_options(options, is_field)
    read = field_files(options.input) if is_field else [("the catalogue", options.input)]
    if options.prior is not None:
        read.append(("the prior", options.prior))
    check_collisions({"--output": options.output, "--plot": options.plot}, read)
    output.check_file_output(options.output, options.overwrite, EXTENSIONS)
    _check_plot(options)
    fitted, catalog = (_of_field if is_field else _of_catalog)(options, _settings(options))
    fitted.prior.save(options.output)
    _say(options, fitted, f"wrote {options.output}")
    if fitted.is_far_from_interim:
        log.warning("many sources have few effective draws: the new prior is far from the one the catalogue was made "
                    "with; make the catalogue again with it, and fit again (--iterations does so for a field)")
    if options.plot is not None:
        from celestepy.plot import learned_prior

        learned_prior(fitted, catalog).savefig(options.plot)
        _say(options, f"wrote {options.plot}")


def _check_options(options, is_field):
    given = {"--iterations": options.iterations, "--method": options.method, "--bands": options.bands}
    for name, value in given.items():
        if not is_field and value is not None:
            raise CommandError(f"{name} needs images: give a field (a directory, or a .toml description), not the "
                               f"catalogue {options.input}")


def _check_plot(options):
    if options.plot is not None:
        from celestepy.plot.canvas import empty_figure

        output.check_file_output(options.plot, options.overwrite, (".png", ".pdf", ".svg"))
        empty_figure(1, 1)  # says what to install where matplotlib is missing


def _settings(options):
    default = PriorFit()
    return PriorFit(
        star_colors=_with_components(default.star_colors, options.star_components),
        galaxy_colors=_with_components(default.galaxy_colors, options.galaxy_components),
        galaxy_counts=options.galaxy_counts,
        by_magnitude=not options.constant_colors,
        faint_limit=options.faint_limit,
    )


def _with_components(colors, n):
    return colors if n is None else replace(colors, n_components=n)


def _of_catalog(options, settings):
    catalog = Catalog.read(options.input)
    prior = None if options.prior is None else Prior.load(options.prior)
    try:
        return settings.fit(catalog, prior, name=Path(options.output).stem, rng=options.seed), catalog
    except CatalogError as error:
        raise CommandError(f"{options.input}: {error}") from error


def _of_field(options, settings):
    images = read_field(options.input, options.bands)
    prior = Prior.default() if options.prior is None else Prior.load(options.prior)
    rounds, made = options.iterations or 1, []

    def catalog_with(prior):
        log.info("round %d of %d, with the prior %s", len(made) + 1, rounds, prior.name)
        result = make_catalog(images, method=options.method or "calibrated", prior=prior, rng=options.seed,
                              n_jobs=options.n_jobs or output.default_n_jobs(),
                              progress=not options.quiet and sys.stderr.isatty())
        if result.interrupted:
            raise KeyboardInterrupt
        made.append(result.catalog)
        return result.catalog

    try:
        *_, fitted = iterate(catalog_with, prior, rounds, settings=settings, name=Path(options.output).stem,
                             rng=options.seed)
    except CatalogError as error:
        raise CommandError(f"{options.input}: {error}") from error
    return fitted, made[-1]


def _say(options, *lines):
    if not options.quiet:
        print(*lines, sep="\n", flush=True)
