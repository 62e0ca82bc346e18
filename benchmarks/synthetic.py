"""Accuracy, coverage and star/galaxy separation on simulated fields, where the truth is known.

    python benchmarks/synthetic.py [--population prior paper published] [--method fast] [--seeds detection]
                                   [--sources 500] [--json FILE] [--quick]

In the manner of Regier et al. (2019), section 5.1: sources are drawn, five images of SDSS depth and seeing are made
of them, and the catalogue is compared with what was drawn. Three populations:

prior      the default prior, isolated sources, S/N over 8: the population that is also assumed in the fit
paper      the paper's own laws, in a field, in images like the paper's, S/N over 6
published  the very sources of the paper's synthetic field, from the table of them that was published with its
           code (--published); fitted at their places, as there, and scored beside VI and MCMC on the same sources

benchmarks/README.rst tells how the populations differ, and how the paper's images were matched.
"""

import argparse
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import astropy.units as u
import numpy as np
from astropy.table import QTable, Table
from targets import Figure, add_output_options, print_figures, verdict, write_report

from celestepy.catalog.crossmatch import crossmatch
from celestepy.catalog.differences import differences, quantity
from celestepy.catalog.score import NOMINAL, SIGMAS, score
from celestepy.model.parameters import Bands
from celestepy.model.priors import Prior
from celestepy.model.source import Source
from celestepy.pipeline import METHODS, make_catalog
from celestepy.simulate import PIXEL_SCALE, SDSS, simulate_field

BANDS = "ugriz"
COLORS = ("ug", "gr", "ri", "iz")
POPULATIONS = ("prior", "paper", "published")
PUBLISHED = Path("../shared/data/celeste_results")
# Regier et al. (2019), table 4: VI and MCMC; here by name and unit, and the column of the catalogue
TABLE_4 = {
    "position [px]": ("position", 0.121, 0.111),
    "r [mag]": ("mag_r", 0.118, 0.093),
    "u-g [mag]": ("color_ug", 0.333, 0.327),
    "g-r [mag]": ("color_gr", 0.126, 0.128),
    "r-i [mag]": ("color_ri", 0.110, 0.112),
    "i-z [mag]": ("color_iz", 0.144, 0.154),
    "profile": ("dev_fraction", 0.229, 0.158),
    "axis ratio": ("axis_ratio", 0.106, 0.074),
    "radius [px]": ("half_light_radius", 0.688, 0.450),
    "angle [deg]": ("angle", 8.94, 9.64),
}
# table 5, for the same k: VI, MCMC
TABLE_5 = {
    "mag_r": ((0.18, 0.31, 0.55, 0.68), (0.36, 0.64, 0.92, 0.99)),
    "color_ug": ((0.29, 0.52, 0.79, 0.89), (0.43, 0.73, 0.95, 1.00)),
    "color_gr": ((0.26, 0.46, 0.71, 0.80), (0.41, 0.68, 0.93, 0.99)),
    "color_ri": ((0.22, 0.43, 0.72, 0.84), (0.41, 0.67, 0.94, 0.99)),
    "color_iz": ((0.32, 0.58, 0.82, 0.93), (0.41, 0.71, 0.93, 0.99)),
}
AUC = {"VI": 0.981, "MCMC": 0.994}
COVERAGE_TARGETS = {"mag": ((0.62, 0.74), (0.90, 0.98)), "color": ((0.57, 0.74), (0.87, 0.98))}
# What the paper's own method has to reproduce: errors of the flux that are too small.
UNDER_COVERAGE = {"mag": ((0.25, 0.50), (None, None)), "color": ((None, None), (None, None))}
AUC_TARGET = 0.985
ISOLATED = 25.0  # arcsec
# Smallest S/N: table 4 follows from the published tables of VI and MCMC if sources under S/N 6 are left out.
DETECTABLE = {"prior": 8.0, "paper": 6.0, "published": 6.0}
# The paper's images hold no read and dark noise. Their seeing (arcsec) and sky (nmgy per pixel) are such that the
# errors and the accuracy of shapes come out as those of the published MCMC for the same sources.
PAPER = {
    "u": replace(SDSS["u"], variance=0.0, sky=0.194, fwhm=1.03),
    "g": replace(SDSS["g"], variance=0.0, sky=0.352, fwhm=0.99),
    "r": replace(SDSS["r"], variance=0.0, sky=0.815, fwhm=0.84),
    "i": replace(SDSS["i"], variance=0.0, sky=1.32, fwhm=0.83),
    "z": replace(SDSS["z"], variance=0.0, sky=2.86, fwhm=0.88),
}
_DETECTION_ERROR = 0.5  # arcsec times S/N: of a seeing of 1.2 arcsec


@dataclass(frozen=True)
class Run:
    """A catalogue of a simulated field and the truth behind it."""

    truth: QTable
    catalog: object
    seconds: float


def simulate(population, n_sources, rng, published=PUBLISHED):
    """A field of one of the populations."""
    if population == "prior":
        side = round(np.sqrt(n_sources) * 2 * ISOLATED / PIXEL_SCALE * 0.75)
        options = {"min_separation": ISOLATED, "min_snr": DETECTABLE[population]}
        return simulate_field(n_sources, BANDS, (side, side), rng=rng, **options)
    if population == "paper":
        scale = np.sqrt(n_sources / 500)
        shape = round(2048 * scale), round(1489 * scale)
        options = {"population": "paper", "conditions": PAPER, "min_snr": DETECTABLE[population]}
        return simulate_field(n_sources, BANDS, shape, rng=rng, **options)
    return _published_field(published_table(published, "truth"), n_sources, rng)


def published_table(folder, name):
    """Published table of the synthetic field: "truth", "vb" (VI) or "mc" (MCMC); rows are the same sources."""
    return Table.read(folder / f"synthetic-matched_{name}.csv", converters={"is_star": str})


def _published_field(table, n_sources, rng):
    """The paper's own sources at their own places."""
    ra, dec = np.asarray(table["ra"]), np.asarray(table["dec"])
    center = 0.5 * (ra.min() + ra.max()), 0.5 * (dec.min() + dec.max())
    if n_sources < len(table):
        nearest = np.argsort(np.hypot(ra - center[0], dec - center[1]))[:n_sources]
        return _published_field(table[nearest], len(table), rng)
    size = 3600 / PIXEL_SCALE * np.array([np.ptp(dec), np.ptp(ra)]) + 60
    sources = [_published_source(row) for row in table]
    prior = Prior.load("celeste2019")
    shape = tuple(size.astype(int).tolist())
    return simulate_field(
        bands=BANDS, shape=shape, sources=sources, prior=prior, rng=rng, center=center, conditions=PAPER
    )


def _magnitudes(table):
    """Magnitudes of a published table, or of one of its rows, in all bands, from r and the colours."""
    mag = {"r": 22.5 - 2.5 * np.log10(table["flux_r_nmgy"])}
    mag["g"] = mag["r"] + table["color_gr"]
    mag["u"] = mag["g"] + table["color_ug"]
    mag["i"] = mag["r"] - table["color_ri"]
    mag["z"] = mag["i"] - table["color_iz"]
    return {band: mag[band] for band in BANDS}


def _published_source(row):
    values = {f"flux_{band}": 10 ** (0.4 * (22.5 - mag)) for band, mag in _magnitudes(row).items()}
    kind = "star" if row["is_star"] == "true" else "galaxy"
    if kind == "galaxy":
        values |= {
            "half_light_radius": PIXEL_SCALE * row["gal_radius_px"],
            "axis_ratio": row["gal_axis_ratio"],
            "position_angle": row["gal_angle_deg"],
            "dev_fraction": np.clip(row["gal_frac_dev"], 1e-4, 1 - 1e-4),
        }
    return Source.from_catalog(kind, BANDS, ra=row["ra"], dec=row["dec"], **values)


def seeds_at_truth(truth, rng):
    """Table of the true positions with the errors that a detection would have."""
    error = np.clip(_DETECTION_ERROR / np.asarray(truth["snr"]), 0.02, 0.28)
    step = rng.normal(size=(2, len(truth))) * error / 3600 * u.deg
    ra = truth["ra"] + step[0] / np.cos(truth["dec"].to_value(u.rad))
    return QTable({"ra": ra, "dec": truth["dec"] + step[1], "position_err": error * u.arcsec})


def run(population, n_sources, method, seeds, seed, n_jobs=1, published=PUBLISHED):
    """Simulate and fit one field."""
    rng = np.random.default_rng(seed)
    field = simulate(population, n_sources, rng, published)
    table = seeds_at_truth(field.truth, rng) if seeds == "truth" else None
    start = time.perf_counter()
    result = make_catalog(field.images, table, method=method, prior=field.prior, rng=seed, n_jobs=n_jobs)
    seconds = time.perf_counter() - start
    return Run(field.truth[field.truth["snr"] > DETECTABLE[population]], result.catalog, seconds)


def absolute_errors(catalog, truth):
    """Absolute errors by the names of table 4, in its units: arrays over the matched sources that have them."""
    match = crossmatch(catalog, truth)
    found = differences(catalog, truth, match.left, match.right, Bands.of(BANDS))
    angle = quantity(catalog, "position_angle", match.left) - quantity(truth, "position_angle", match.right)
    found["angle"] = ((angle + 90) % 180 - 90, None, "deg")  # of round galaxies too, as in table 4
    errors = {}
    for name, (column, *_) in TABLE_4.items():
        error = np.abs(found[column][0]) / (PIXEL_SCALE if name.endswith("[px]") else 1.0)
        errors[name] = error[np.isfinite(error)]
    return errors


def published_errors(folder, truth):
    """Mean absolute errors of VI and MCMC on the same sources, from the published tables."""
    rows = crossmatch(published_table(folder, "truth"), truth).left
    pairs = [absolute_errors(_in_our_columns(published_table(folder, name)[rows]), truth) for name in ("vb", "mc")]
    return {name: tuple(float(errors[name].mean()) for errors in pairs) for name in TABLE_4}


def _in_our_columns(table):
    renamed = {f"mag_{band}": np.asarray(mag) for band, mag in _magnitudes(table).items()}
    renamed |= {"ra": table["ra"] * u.deg, "dec": table["dec"] * u.deg}
    renamed["half_light_radius"] = PIXEL_SCALE * np.asarray(table["gal_radius_px"], dtype=float)
    for name, column in (("axis_ratio", "axis_ratio"), ("dev_fraction", "frac_dev")):
        renamed[name] = np.asarray(table[f"gal_{column}"], dtype=float)
    renamed["position_angle"] = np.asarray(table["gal_angle_deg"], dtype=float) * u.deg
    return QTable(renamed)


def accuracy_figures(errors, others=None):
    """Mean absolute errors beside those of VI, which are the targets, and MCMC."""
    figures = []
    for name, (_, vi, mcmc) in TABLE_4.items():
        compared = others[name] if others else (vi, mcmc)
        error = float(np.std(errors[name]) / np.sqrt(len(errors[name])))
        figures.append(Figure(name, float(errors[name].mean()), None, compared[0], compared, error))
    return figures


def coverage_figures(result, targets):
    """Shares of the truths within one and two errors of the estimate, for what has a target."""
    figures = []
    for name in TABLE_5:
        label = "log flux" if name == "mag_r" else name.replace("_", " ")
        for k in (1, 2):
            target = targets[name.partition("_")[0]][k - 1]
            share, n = result.errors[name].coverage[k], result.errors[name].n
            error = np.sqrt(NOMINAL[k] * (1 - NOMINAL[k]) / n)
            others = tuple(published[k] for published in TABLE_5[name])
            figures.append(Figure(f"{label} within {k} sd", share, *target, others, error))
    return figures


def print_coverage(result):
    """Shares within 1/2, 1, 2 and 3 errors of everything that has an error."""
    names = [*TABLE_5, "ra", "dec", "half_light_radius", "axis_ratio", "dev_fraction"]
    head = "".join(f"{sigma:>7g}" for sigma in SIGMAS)
    print(f"\nshare of truths within\n{'':20s}{head} sd   {'paper VI':28s}   paper MCMC")
    for name in names:
        rows = result.errors[name].coverage, *TABLE_5.get(name, ())
        shares = ["".join(f"{share:7.2f}" for share in row) for row in rows]
        print(f"{name:20s}" + "      ".join(shares))
    print(f"{'nominal':20s}" + "".join(f"{share:7.2f}" for share in NOMINAL))


def type_figures(result):
    """How well stars are told from galaxies."""
    star = result.star
    others = (AUC["VI"], AUC["MCMC"])
    figures = [Figure("AUC", star.auc, low=AUC_TARGET, others=others), Figure("types right", star.accuracy)]
    return [*figures, Figure("log loss", star.log_loss)]


def print_reliability(star):
    print(f"\n{'star_probability':18s}{'sources':>8s}{'predicted':>11s}{'true':>8s}{'error':>8s}")
    for row in star.reliability:
        if row["n"]:
            expected = np.sqrt(max(row["probability"] * (1 - row["probability"]), 1e-9) / row["n"])
            edges = f"{row['low']:.1f} to {row['high']:.1f}"
            shares = f"{row['probability']:11.3f}{row['fraction']:8.3f}{expected:8.3f}"
            print(f"{edges:18s}{row['n']:8d}{shares}")


def describe(population, seeds, truth, result, seconds):
    """What the population is, in one line each."""
    snr = np.percentile(np.asarray(truth["snr"]), [10, 25, 50, 75])
    mag = np.percentile(truth["mag_r"].value, [25, 50, 75])
    star = np.mean(np.asarray(truth["is_star"]))
    found = f"seeds from {seeds}, {result.completeness:.3f} found, purity {result.purity:.3f}, {seconds:.0f} s"
    print(f"\n=== {population}: {len(truth)} sources, {star:.2f} of them stars; {found}")
    print("S/N at 10, 25, 50, 75 %: " + ", ".join(f"{value:.0f}" for value in snr), end="; ")
    print("r at 25, 50, 75 %: " + ", ".join(f"{value:.1f}" for value in mag))


def report_population(population, options):
    """Run, score and print one population."""
    published = population == "published"
    seeds = options.seeds or ("truth" if published else "detection")
    choice = options.method, seeds, options.seed, options.n_jobs, options.published
    done = run(population, options.sources, *choice)
    result = score(done.catalog, done.truth)
    describe(population, seeds, done.truth, result, done.seconds)
    others = published_errors(options.published, done.truth) if published else None
    accuracy = accuracy_figures(absolute_errors(done.catalog, done.truth), others)
    targets = UNDER_COVERAGE if options.method == "paper-vi" else COVERAGE_TARGETS
    coverage = coverage_figures(result, targets)
    types = type_figures(result)
    sources = "the same sources" if published else "table 4"
    print_figures(f"mean absolute error; VI and MCMC from {sources}", accuracy, ("paper VI", "MCMC"))
    print_figures("coverage", coverage, ("paper VI", "MCMC"))
    print_coverage(result)
    print_figures("stars and galaxies", types, ("paper VI", "MCMC"))
    print_reliability(result.star)
    figures = [*accuracy, *coverage, *types]
    print(f"\n{population}: {verdict(figures)}")
    return {"figures": figures, "score": result.to_dict(), "seconds": done.seconds}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--population", nargs="+", choices=POPULATIONS, help="default: those there are data for")
    add("--method", choices=METHODS, default="fast")
    add("--seeds", choices=("detection", "truth"), help="found in the images, or true positions with the errors of "
        "a detection (default: truth for the published sources)")
    add("--sources", type=int, default=500)
    add("--published", type=Path, default=PUBLISHED, help="folder with synthetic-matched_{truth,vb,mc}.csv")
    add("--seed", type=int, default=1)
    add("--n-jobs", type=int, default=1)
    add_output_options(parser)
    options = parser.parse_args()
    usable = POPULATIONS if options.published.is_dir() else POPULATIONS[:2]
    chosen = options.population or (POPULATIONS[:1] if options.quick else usable)
    options.sources = min(options.sources, 100) if options.quick else options.sources
    report = {"options": vars(options)}
    for population in chosen:
        report[population] = report_population(population, options)
    write_report(report, options.json)


if __name__ == "__main__":
    main()
