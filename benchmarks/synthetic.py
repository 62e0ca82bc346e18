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
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from astropy.table import QTable
from populations import DETECTABLE, POPULATIONS, seeds_at_truth, simulate
from published import AUC, PUBLISHED, TABLE_4, TABLE_5, absolute_errors, published_errors
from targets import Figure, add_output_options, print_figures, verdict, write_report

from celestepy.catalog.score import NOMINAL, SIGMAS, score
from celestepy.pipeline import METHODS, make_catalog

COVERAGE_TARGETS = {"mag": ((0.62, 0.74), (0.90, 0.98)), "color": ((0.57, 0.74), (0.87, 0.98))}
# What the paper's own method has to reproduce: errors of the flux that are too small.
UNDER_COVERAGE = {"mag": ((0.25, 0.50), (None, None)), "color": ((None, None), (None, None))}
AUC_TARGET = 0.985


@dataclass(frozen=True)
class Run:
    """A catalogue of a simulated field and the truth behind it."""

    truth: QTable
    catalog: object
    seconds: float


def run(population, n_sources, method, seeds, seed, n_jobs=1, published=PUBLISHED):
    """Simulate and fit one field."""
    rng = np.random.default_rng(seed)
    field = simulate(population, n_sources, rng, published)
    table = seeds_at_truth(field.truth, rng) if seeds == "truth" else None
    start = time.perf_counter()
    result = make_catalog(field.images, table, method=method, prior=field.prior, rng=seed, n_jobs=n_jobs)
    seconds = time.perf_counter() - start
    return Run(field.truth[field.truth["snr"] > DETECTABLE[population]], result.catalog, seconds)


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
