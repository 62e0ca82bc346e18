"""Figures 11 to 13 and tables 4 and 5: sources drawn from the prior, with posteriors whose truth is known.

    python examples/experiments/synthetic.py [--method fast calibrated ..] [--population paper] [--sources 500]
                                             [--quick] [--json FILE] [--plots DIR]

Every source is drawn from the prior that is fitted, and none is left out for being faint: only so do exact posteriors
cover the truth as often as they say. Seeds scatter about the true places as the prior of the position says. Accuracy
is that of the detectable ones, as in table 4. The populations are those of benchmarks/README.rst.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from command import DATA, finish, fit, parser, save
from judging import (
    coverage_figures,
    print_errors,
    print_intervals,
    print_reliability,
    rank_figures,
    type_figures,
)
from pictures import densities, histograms_of_ranks, roc, truth_and_posterior
from populations import DETECTABLE, POPULATIONS, seeds_at_truth, simulate
from published import AUC, TABLE_4, TABLE_5, error_arrays, published_errors
from targets import Figure, print_figures

from celestepy.catalog.ranks import truth_ranks
from celestepy.catalog.score import score
from celestepy.inference import ImportanceSampler, LaplaceFit
from celestepy.inference.group_sampling import SamplingSettings

SEED_ERROR = 0.2  # arcsec, half a pixel and the same for all, so that it tells nothing of a source
PUBLISHED = DATA / "celeste_results"
MCMC_AUC = AUC["MCMC"]


def draw(options):
    """A field and a table of seeds."""
    rng = np.random.default_rng(options.seed)
    field = simulate(options.population, options.sources, rng, PUBLISHED, min_snr=0.0)
    return field, seeds_at_truth(field.truth, rng, SEED_ERROR)


def engine(method, options):
    """The method, with more draws if they are asked for; every seed keeps its row, as it does without."""
    if method != "calibrated" or not options.importance_draws:
        return method
    n = options.importance_draws
    sampling = SamplingSettings(n_draws=n, star_draws=n, least_draws=max(n // 3, 2), most_draws=5 * n)
    return ImportanceSampler(sampling=sampling, fast=LaplaceFit(drop_doubtful=False, search=False))


def accuracy_figures(catalog, truth, population):
    """Mean absolute errors of the detectable sources; the targets are those of the paper's MCMC."""
    rows = np.flatnonzero(np.asarray(truth["snr"]) > DETECTABLE[population])
    errors = error_arrays(catalog, truth, rows, rows)
    others = {name: (vi, mcmc) for name, (_, vi, mcmc) in TABLE_4.items()}
    if population == "published":  # on the same sources
        others = published_errors(PUBLISHED, truth[rows])
    figures = []
    for name, error in errors.items():
        known = error[np.isfinite(error)]
        spread = float(known.std() / np.sqrt(max(len(known), 1)))
        note = f"n {len(known)}"
        figures.append(Figure(name, float(known.mean()), None, others[name][1], others[name], spread, note))
    return figures


def judge(method, fitted, truth, options):
    """Figures and ranks of one method, printed."""
    catalog, rows, rng = fitted.catalog, np.arange(len(truth)), np.random.default_rng(options.seed + 1)
    known = np.isfinite(np.asarray(catalog["star_probability"]))
    print(f"\n=== {method}: {len(rows)} sources, {(~known).sum()} without an estimate, {fitted.seconds:.0f} s")
    accuracy = accuracy_figures(catalog, truth, options.population)
    ranks = truth_ranks(catalog, truth, rows, rows, n=options.draws, rng=rng)
    coverage, uniform = coverage_figures(ranks), rank_figures(ranks)
    star, probability = np.asarray(truth["is_star"], bool)[known], np.asarray(catalog["star_probability"])[known]
    types = type_figures(probability, star, (AUC["VI"], AUC["MCMC"]), MCMC_AUC, rng)
    limit = DETECTABLE[options.population]
    print_figures(f"mean absolute error, S/N over {limit:g}", accuracy, ("paper VI", "MCMC"))
    print_intervals(ranks, catalog)
    print_errors(score(catalog, truth).errors, TABLE_5)
    print_figures("ranks of the truth among the draws", uniform)
    print_figures("stars and galaxies", types, ("paper VI", "MCMC"))
    print_reliability(probability, star)
    return [*accuracy, *coverage, *uniform, *types], ranks


def pictures(fitted, truth, ranks, options):
    """Figures 11, 12 and 13, the ranks, and the reliability diagram of each method."""
    from celestepy.plot import star_probability

    rows, star = np.arange(len(truth)), np.asarray(truth["is_star"], bool)
    catalogs = {method: each.catalog for method, each in fitted.items()}
    pairs = {method: (catalog, rows) for method, catalog in catalogs.items()}
    save(roc({method: catalog["star_probability"] for method, catalog in catalogs.items()}, star), options, "roc")
    save(truth_and_posterior(pairs, truth, rows), options, "truth_and_posterior")
    seen = np.flatnonzero(np.asarray(truth["snr"]) > DETECTABLE[options.population])
    save(densities({method: (catalog, seen) for method, catalog in catalogs.items()}, truth, seen), options, "flux")
    for method, catalog in catalogs.items():
        save(histograms_of_ranks(ranks[method]), options, f"ranks_{method}")
        save(star_probability(catalog, truth), options, f"reliability_{method}")


def main():
    """Draw a field, fit it by each method, and judge."""
    options_of = parser(__doc__)
    add = options_of.add_argument
    add("--population", choices=POPULATIONS, default="paper")
    add("--sources", type=int, default=500)
    add("--draws", type=int, default=1000, help="draws of each posterior, for the ranks")
    add("--importance-draws", type=int, metavar="N", help="of the calibrated mode, for each hypothesis")
    options = options_of.parse_args()
    options.sources = min(options.sources, 24) if options.quick else options.sources
    field, seeds = draw(options)
    snr = np.percentile(np.asarray(field.truth["snr"]), (10, 25, 50, 75))
    share = np.mean(np.asarray(field.truth["is_star"]))
    print(f"{len(field.truth)} sources of the population {options.population!r}, {share:.2f} of them stars; ", end="")
    print("S/N at 10, 25, 50, 75 %: " + ", ".join(f"{value:.0f}" for value in snr))
    fitted, figures, ranks = {}, {}, {}
    for method in options.method:
        fitted[method] = fit(field.images, seeds, engine(method, options), options, field.prior)
        figures[method], ranks[method] = judge(method, fitted[method], field.truth, options)
    if options.plots:
        pictures(fitted, field.truth, ranks, options)
    report = {m: {"figures": figures[m], "seconds": fitted[m].seconds, "ranks": ranks[m]} for m in fitted}
    finish(report, options, figures)


if __name__ == "__main__":
    main()
