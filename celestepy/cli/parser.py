"""The commands and their options, with the help texts."""

import argparse
import sys

from celestepy import __version__

__all__ = ["build_parser"]

METHODS = ("fast", "calibrated", "mcmc", "paper-vi", "paper-mcmc")
DEBLENDERS = ("score", "galaxies", "proximal", "splitting", "pixelcnn")

CATALOG = """\
Makes a probabilistic catalogue of the stars and galaxies in a field: detects
sources over all bands and exposures together, fits each as a star and as a
galaxy, and writes one row per source, with an error for every number.

FIELD is a directory with the files of one SDSS field (frame-*, psField-*,
photoField-*, fpM-*), or a TOML file that describes any FITS images."""
CATALOG_EXAMPLES = """\
examples:
  celestepy catalog sdss_94_1_12 --output cat.fits
  celestepy catalog images.toml -o cat.ecsv --bands gri --seeds positions.csv
  celestepy catalog images.toml -o cat.fits --n-jobs 4 --plots pictures

Ctrl-C during the fit writes what is finished."""
DEBLEND = """\
Takes the sources of a field apart, blend by blend, and writes one FITS file: a
table of the sources with fluxes and errors, an image of each source alone in each
band, and what is left of the data. Shapes of galaxies are free in every pixel,
held together by a prior learned from galaxies or by constraints.

INPUT is a field, as for "celestepy catalog", or one blend as a NumPy archive with
images, psfs, weights or variance, and peaks (x, y)."""
DEBLEND_EXAMPLES = """\
examples:
  celestepy deblend images.toml --output models.fits --catalog cat.fits
  celestepy deblend sdss_94_1_12 -o models.fits --position 336.665 -0.926 --size 40
  celestepy deblend blend.npz -o models.fits --method proximal --plots pictures

celestepy.deblend.read_models reads the file. Ctrl-C writes what is finished."""
DEMO = """\
Simulates a field of stars and galaxies in five bands, finds and fits them,
scores the catalogue against the truth that was drawn, and draws pictures (with
matplotlib). Takes less than a minute."""
DEMO_EXAMPLES = """\
example:
  celestepy demo --output demo --n-sources 150"""
SIMULATE = """\
Draws stars and galaxies from the prior and observes them at the depth and with
the PSF of SDSS. Writes FITS images, description.toml, which "celestepy catalog"
reads, and truth.fits, which "celestepy score" compares with."""
SIMULATE_EXAMPLES = """\
example:
  celestepy simulate --output field --n-sources 100 --bands gri --seed 3
  celestepy catalog field/description.toml --output cat.fits
  celestepy score cat.fits field/truth.fits"""
PRIORS = """\
Priors learned from catalogues. "celestepy priors fit --help" explains it."""
PRIORS_EXAMPLES = """\
example:
  celestepy priors fit cat.fits --output prior.json"""
PRIORS_FIT = """\
Learns a prior from a catalogue (empirical Bayes): the fraction of stars, counts,
colours, radii, axis ratios and profiles of the population, errors deconvolved,
doubtful types shared out, and the prior that the catalogue was made with divided
out. Best from a catalogue of --method calibrated with its --draws.

INPUT is a catalogue; or a field, as for "celestepy catalog", of which the
catalogue is made first, and with --iterations made again with the new prior."""
PRIORS_FIT_EXAMPLES = """\
examples:
  celestepy priors fit cat.fits --output prior.json
  celestepy priors fit cat.fits -o prior.fits --prior the_one_it_was_made_with.json
  celestepy priors fit sdss_94_1_12 -o prior.fits --iterations 2 --plot prior.png"""
SCORE = """\
Matches a catalogue with a truth one to one, and prints what was found, the mean
errors, how often the truth lies within the stated errors, and how well stars
are told from galaxies."""
SCORE_EXAMPLES = """\
example:
  celestepy score cat.fits truth.fits --json score.json"""


class _Parser(argparse.ArgumentParser):
    """Errors on one line, as all errors of the program."""

    def error(self, message):
        command = self.prog.partition(" ")[2]
        print(
            f"celestepy: error: {message}; see celestepy {command + ' ' * bool(command)}--help",
            file=sys.stderr,
        )
        raise SystemExit(2)


def build_parser():
    """The parser of the whole command line.

    Returns
    -------
    `argparse.ArgumentParser`
        Its result holds the options, and as ``command`` the name of the function of `celestepy.cli.commands`.
    """
    parser = _Parser(
        prog="celestepy",
        description="Probabilistic catalogues of stars and galaxies.",
        epilog="celestepy COMMAND --help explains each command. To begin with: celestepy demo",
    )
    parser.add_argument("--version", action="version", version=f"celestepy {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_catalog(_command(commands, "catalog", "make a catalogue of a field", CATALOG, CATALOG_EXAMPLES))
    _add_deblend(_command(commands, "deblend", "take overlapping sources apart", DEBLEND, DEBLEND_EXAMPLES))
    _add_demo(_command(commands, "demo", "simulate, fit, score and draw a field", DEMO, DEMO_EXAMPLES))
    _add_simulate(_command(commands, "simulate", "write simulated images", SIMULATE, SIMULATE_EXAMPLES))
    _add_priors(_command(commands, "priors", "learn a prior from a catalogue", PRIORS, PRIORS_EXAMPLES, quiet=False))
    _add_score(_command(commands, "score", "compare a catalogue with the truth", SCORE, SCORE_EXAMPLES))
    return parser


def _command(commands, name, summary, description, examples, *, quiet=True):
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if quiet:  # the commands of a command have each their own
        voice = parser.add_mutually_exclusive_group()
        voice.add_argument("-q", "--quiet", action="store_true", help="print errors only")
        voice.add_argument("-v", "--verbose", action="count", default=0, help="log more; twice for even more")
        parser.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    return parser


def _add_catalog(parser):
    parser.add_argument("field", metavar="FIELD", help="SDSS field directory, or TOML description of images")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help="catalogue to write: .fits, .ecsv, .hdf5 or .parquet",
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="fast",
        help="fast: Newton and Laplace (default); calibrated: importance sampling from there; mcmc: Markov chains from "
        "there; paper-vi, paper-mcmc: variational inference and sampler of Regier et al. 2019",
    )
    parser.add_argument(
        "--draws",
        metavar="FILE",
        help="keep the posterior draws in this .hdf5 file; a run that was stopped is continued from it",
    )
    parser.add_argument(
        "--seeds",
        metavar="TABLE",
        help="fit at these positions instead of detecting: any table with ra and dec in degrees",
    )
    parser.add_argument(
        "--prior", metavar="FILE|NAME", help="prior file, or a shipped prior (default: sdss-deep)"
    )
    _add_bands(parser, "only these bands (default: all)")
    parser.add_argument(
        "--threshold", type=_positive, metavar="S/N", help="detect sources from this signal to noise"
    )
    parser.add_argument("--plots", metavar="DIR", help="draw pictures into this directory (needs matplotlib)")
    parser.add_argument("--overwrite", action="store_true", help="replace the catalogue if it exists; draws are kept")
    _add_run(parser)


def _add_deblend(parser):
    parser.add_argument("input", metavar="INPUT", help="SDSS field directory, TOML description, or blend (.npz)")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="models to write: .fits")
    parser.add_argument(
        "--catalog",
        metavar="TABLE",
        help="the sources: a catalogue of celestepy, whose stars are points, or any table with ra and dec in degrees "
        "(default: detect them)",
    )
    parser.add_argument(
        "--method",
        choices=DEBLENDERS,
        help="score: fitted galaxies, then pixels free with a learned score; galaxies: the same without the score; "
        "proximal: constraints, as scarlet; splitting: the same, descending without fail; pixelcnn: learned density "
        "(default: score where a prior was learned at about the pixel scale, else galaxies)",
    )
    parser.add_argument("--prior", metavar="NAME|FILE", help="trained prior, by name or as an .npz file")
    parser.add_argument(
        "--position", type=float, nargs=2, metavar=("RA", "DEC"), help="only sources about this place, degrees"
    )
    parser.add_argument(
        "--size", type=_positive, metavar="ARCSEC", help="side of the square about the position (default: 60)"
    )
    _add_bands(parser, "only these bands (default: all)")
    parser.add_argument("--threshold", type=_positive, metavar="S/N", help="detect sources from this signal to noise")
    parser.add_argument(
        "--largest-blend", type=_count, default=16, metavar="N", help="of fields: divide larger blends (default: 16)"
    )
    parser.add_argument(
        "--pixel-scale", type=_positive, metavar="ARCSEC", help="of a .npz blend (default: 0.168, that of HSC)"
    )
    parser.add_argument(
        "--plots", metavar="DIR", help="draw the largest blends into this directory (needs matplotlib)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    _add_run(parser)


def _add_demo(parser):
    parser.add_argument(
        "-o", "--output", default="demo", metavar="DIR", help="where to write (default: demo)"
    )
    parser.add_argument(
        "--n-sources", type=_count, default=150, metavar="N", help="sources to draw (default: 150)"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="write into DIR even if it holds more than an earlier demo"
    )
    _add_run(parser)


def _add_simulate(parser):
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="where to write")
    parser.add_argument(
        "--n-sources", type=_count, default=150, metavar="N", help="sources to draw (default: 150)"
    )
    parser.add_argument(
        "--size", type=_count, default=800, metavar="PIXELS", help="side of the images (default: 800)"
    )
    _add_bands(parser, "bands (default: ugriz)")
    parser.add_argument(
        "--prior", metavar="FILE|NAME", help="prior file, or a shipped prior (default: sdss-deep)"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="write into DIR even if it holds files, and replace those of the same names",
    )
    _add_seed(parser)


def _add_priors(parser):
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    fit = _command(actions, "fit", "fit a prior to a catalogue or a field", PRIORS_FIT, PRIORS_FIT_EXAMPLES)
    fit.add_argument("input", metavar="INPUT", help="catalogue written by celestepy; or a field directory or .toml")
    fit.add_argument("-o", "--output", required=True, metavar="FILE", help="prior to write: .json or .fits")
    fit.add_argument(
        "--prior",
        metavar="FILE|NAME",
        help="the prior that the catalogue was made with (default: the shipped one that it names); of a field, the one "
        "to begin with (default: sdss-deep)",
    )
    fit.add_argument(
        "--iterations", type=_count, metavar="N", help="of a field: catalogue and prior in turns, N times (default: 1)"
    )
    fit.add_argument("--method", choices=METHODS, help="of a field: how to make its catalogue (default: calibrated)")
    _add_bands(fit, "of a field: only these bands (default: all)")
    fit.add_argument("--star-components", type=_count, metavar="N", help="Gaussians of the stars' colours (default: 5)")
    fit.add_argument(
        "--galaxy-components", type=_count, metavar="N", help="Gaussians of the galaxies' colours (default: 3)"
    )
    fit.add_argument(
        "--galaxy-counts",
        choices=("auto", "power", "normal"),
        default="auto",
        help="power law or log-normal; auto: whichever predicts held-out sources better (default)",
    )
    fit.add_argument(
        "--constant-colors", action="store_true", help="mean colours and radii do not change with the magnitude"
    )
    fit.add_argument(
        "--faint-limit",
        type=_positive,
        metavar="MAG",
        help="magnitude in the reference band down to which the catalogue is complete (default: read off it)",
    )
    fit.add_argument("--plot", metavar="FILE", help="draw prior and data into this .png, .pdf or .svg")
    fit.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    _add_run(fit)


def _add_score(parser):
    parser.add_argument("catalog", metavar="CATALOG", help="catalogue written by celestepy")
    parser.add_argument(
        "truth", metavar="TRUTH", help="table of true sources, such as truth.fits of celestepy simulate"
    )
    parser.add_argument("--other", metavar="TABLE", help="another catalogue of the same sky to compare with")
    parser.add_argument(
        "--radius",
        type=_positive,
        default=1.0,
        metavar="ARCSEC",
        help="largest distance of a match (default: 1)",
    )
    parser.add_argument(
        "--mag-range",
        type=float,
        nargs=2,
        metavar=("BRIGHT", "FAINT"),
        help="score only sources between these magnitudes in the reference band",
    )
    parser.add_argument("--json", metavar="FILE", help="write the scores to this file too")


def _add_bands(parser, text):
    parser.add_argument("--bands", metavar="BANDS", help=f"{text}: gri, or names separated by commas")


def _add_run(parser):
    parser.add_argument(
        "--n-jobs",
        type=_count,
        metavar="N",
        help="threads (default: all processors up to 8); the result does not depend on it",
    )
    _add_seed(parser)


def _add_seed(parser):
    parser.add_argument(
        "--seed", type=_seed, default=1, metavar="N", help="seed of the random numbers (default: 1)"
    )


def _count(text):
    return _number(text, int, "a whole number from 1 on", lambda value: value >= 1)


def _seed(text):
    return _number(text, int, "a whole number from 0 on", lambda value: value >= 0)


def _positive(text):
    return _number(text, float, "a number above 0", lambda value: 0 < value < float("inf"))


def _number(text, kind, expected, holds):
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not holds(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value
