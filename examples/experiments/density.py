"""Table 1 and figures 1 and 2 of Ritchie & Murray (2019): extreme deconvolution of a catalogue like Gaia's.

    python examples/experiments/density.py [--rows 500000] [--components 64 128] [--starts 3]
                                           [--method hybrid minibatch sgd em] [--large] [--quick]
                                           [--results FILE] [--mixtures DIR] [--json FILE] [--plots DIR]

The rows are simulated, so that the density they come from is known: a Milky Way of 1024 Gaussians in the paper's seven
columns, with Gaia's errors and their correlations; 18 % of the rows have no parallax and proper motion. A tenth
of the rows is held out by each fit (validation); 50 000 more are never seen (test). Every score is a mean log
density per row in nats, and the score of the true density on the same rows is the most that can be reached.

Each fit is written to FILE as soon as it is finished, and fits that are there are not made again: the command may be
stopped and started as one likes. --large is 2 000 000 rows with K = 256 and 512 by hybrid and sgd, one start. Times are
seconds of one processor, which other programs beside do not change much; run it on an idle machine all the same.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from command import finish, save
from density_records import Record, Records
from targets import Figure, add_output_options, print_figures

from celestepy.density import ExtremeDeconvolution
from celestepy.density.gaia import gaia_rows, simulate_gaia
from celestepy.density.milky_way import milky_way

METHODS = ("hybrid", "minibatch", "sgd", "em")
HELD_OUT = 0.1
N_TEST = 50_000
LEAST_GAIN = -0.005  # nats, of the hybrid over converged batch EM
MOST_TIME = 0.1  # of that of batch EM
# Batch EM goes on until a pass gains less than this, in nats per row, or 20 in a row do so of the rows held out
LIMIT = 2000
SETTINGS = {"em": {"tol": 1e-5, "max_iter": LIMIT, "patience": 20}}
QUICK_SETTINGS = {"em": {"tol": 1e-3, "max_iter": 20}}
# Validation and test scores of the paper (Gaia DR2, other rows and missing values set to zero: not comparable)
PAPER = {("em", 64): -26.10, ("em", 128): -25.96, ("em", 256): -25.76, ("em", 512): -25.67,
         ("minibatch", 64): -26.05, ("minibatch", 128): -25.91, ("minibatch", 256): -25.83, ("minibatch", 512): -25.80,
         ("sgd", 64): -25.89, ("sgd", 128): -25.77, ("sgd", 256): -25.67, ("sgd", 512): -25.59}


class Sky:
    """Simulated rows to fit and to test, and the density they come from."""

    def __init__(self, n_rows, n_test, seed, quick=False):
        self.truth = milky_way(64, 6400) if quick else milky_way()
        self.rows = gaia_rows(simulate_gaia(n_rows, seed, self.truth)[0])
        self.test = gaia_rows(simulate_gaia(n_test, (seed, 1), self.truth)[0])
        self._true_scores = None

    @property
    def true_scores(self):
        """Log density of each test row under the truth."""
        if self._true_scores is None:
            self._true_scores = self.truth.log_density(*self.test)
        return self._true_scores


def fit(sky, method, n_components, start, options):
    """Fit once; the same start and the same held-out rows for every method."""
    settings = (QUICK_SETTINGS if options.quick else SETTINGS).get(method, {})
    model = ExtremeDeconvolution(n_components, method=method, validation_fraction=HELD_OUT, rng=start,
                                 n_jobs=options.n_jobs, **settings)
    wall, processor = time.perf_counter(), time.process_time()
    model.fit(*sky.rows)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    scores = model.mixture_.log_density(*sky.test)
    gaps = sky.true_scores - scores
    return model.mixture_, Record(
        method=method, components=n_components, start=start, wall=wall, seconds=processor,
        score=float(scores.mean()), gap=float(gaps.mean()), gap_error=float(gaps.std() / np.sqrt(len(gaps))),
        converged=bool(model.converged_), repaired=int(sum(entry.n_repaired for entry in model.trace_)),
        trace=[[each.phase, round(each.seconds * processor / wall, 3), round(each.score, 6),
                round(each.held_out_score, 6)] for each in model.trace_],
    )


def run_all(options, records):
    """Make the fits that are not there yet, start by start."""
    sky = None
    for start in range(1, options.starts + 1):
        for n_components in options.components:
            for method in options.method:
                if records.find(method, n_components, start) is not None:
                    continue
                sky = sky or Sky(options.rows, options.test, options.seed, options.quick)
                records.true_score = float(sky.true_scores.mean())
                print(f"fitting {n_components} components by {method}, start {start} ...", flush=True)
                mixture, record = fit(sky, method, n_components, start, options)
                records.add(record)
                print(f"    {record}", flush=True)
                if options.mixtures:
                    options.mixtures.mkdir(parents=True, exist_ok=True)
                    mixture.save(options.mixtures / f"{record.name}.fits", overwrite=True)


def print_table(records, options):
    """Scores, gaps and times of every method, means over the starts."""
    print(f"\ntest score: mean log density per row; that of the truth is {records.true_score:.4f}")
    print(f"{'':16s}{'K':>5s}{'starts':>7s}{'validation':>18s}{'test':>18s}{'truth - test':>14s}{'passes':>8s}"
          f"{'seconds':>9s}{'paper (not comparable)':>24s}")
    for n_components in options.components:
        for method in options.method:
            found = records.of(method, n_components)
            if found:
                columns = [[each.held_out for each in found], [each.score for each in found]]
                scores = "".join(f"{np.mean(each):10.4f} +-{np.std(each):6.4f}" for each in columns)
                gap, passes, seconds = (np.mean([getattr(each, name) for each in found])
                                        for name in ("gap", "passes", "seconds"))
                paper = PAPER.get((method, n_components))
                print(f"{method:16s}{n_components:5d}{len(found):7d}{scores}{gap:14.4f}{passes:8.0f}{seconds:9.1f}"
                      f"{'' if paper is None else format(paper, '24.2f')}".rstrip())


def figures_of(records, n_components):
    """The hybrid beside converged batch EM, over the starts that both have."""
    pairs = [(hybrid, em) for hybrid in records.of("hybrid", n_components)
             if (em := records.find("em", n_components, hybrid.start)) is not None]
    if not pairs:
        return []
    gains = [hybrid.score - em.score for hybrid, em in pairs]
    shares = [hybrid.seconds / em.seconds for hybrid, em in pairs]
    reached = [em.seconds_to(hybrid.held_out) for hybrid, em in pairs]
    never = sum(time_needed is None for time_needed in reached)
    figures = [
        Figure(f"K = {n_components}: test score - that of EM", float(np.mean(gains)), LEAST_GAIN, None,
               error=float(np.std(gains) / np.sqrt(len(gains))), note=f"{len(pairs)} starts"),
        Figure(f"K = {n_components}: time / that of EM", float(np.mean(shares)), None, MOST_TIME,
               note="" if all(em.passes < LIMIT for _, em in pairs) else "EM was cut off"),
    ]
    known = [seconds / hybrid.seconds for seconds, (hybrid, _) in zip(reached, pairs, strict=True) if seconds]
    note = "times as long" + (f"; EM never reaches it in {never} of {len(pairs)} starts" if never else "")
    value = float(np.mean(known)) if known else float("nan")
    return [*figures, Figure(f"K = {n_components}: EM to the same score", value, note=note)]


def draw(records, options):
    """Figures 1 and 2, as far as there are results."""
    from density_pictures import learning_curves, sky_maps, times_of_components

    from celestepy.density import GaussianMixture

    for n_components in options.components:
        found = {method: records.of(method, n_components) for method in options.method}
        if any(found.values()):
            save(learning_curves(found, n_components), options, f"density_{options.rows}_{n_components}")
    save(times_of_components(records, options.method), options, f"density_{options.rows}_times")
    kept = sorted(options.mixtures.glob(f"hybrid_{max(options.components)}_*.fits")) if options.mixtures else []
    if kept:
        truth = milky_way(64, 6400) if options.quick else milky_way()
        seen = simulate_gaia(100_000, options.seed, truth)[0]
        figure = sky_maps(gaia_rows(seen)[0], GaussianMixture.load(kept[0]), truth, 100_000)
        save(figure, options, f"density_{options.rows}_sky")


def read_options():
    """Options of the command, with those that --large and --quick stand for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--rows", type=int, help="default: 500 000")
    add("--components", type=int, nargs="+", help="default: 64 128")
    add("--starts", type=int, help="default: 3")
    add("--method", nargs="+", choices=METHODS, help="default: all four, batch EM last")
    add("--large", action="store_true", help="2 000 000 rows, K = 256 and 512, hybrid and sgd, one start")
    add("--results", metavar="FILE", type=Path, help="default: results/density-ROWS.json beside this script")
    add("--mixtures", metavar="DIR", type=Path, help="keep the fitted mixtures in this folder, for figure 2")
    add("--plots", metavar="DIR", type=Path, help="also draw pictures into this folder")
    add("--seed", type=int, default=1, help="of the simulated rows")
    add("--n-jobs", type=int, default=1, help="threads")
    add_output_options(parser)
    options = parser.parse_args()
    rows, components, starts, methods = (500_000, [64, 128], 3, list(METHODS))
    if options.large:
        rows, components, starts, methods = 2_000_000, [256, 512], 1, ["hybrid", "sgd"]
    if options.quick:
        rows, components, starts = 3000, [4, 8], 1
    options.rows, options.components = options.rows or rows, options.components or components
    options.starts, options.method = options.starts or starts, options.method or methods
    options.test = 1000 if options.quick else N_TEST
    if options.results is None and not options.quick:
        options.results = Path(__file__).resolve().parent / "results" / f"density-{options.rows}.json"
    return options


def main():
    """Fit, print, draw."""
    options = read_options()
    records = Records(options.results, {"rows": options.rows, "test": options.test, "seed": options.seed})
    run_all(options, records)
    print_table(records, options)
    figures = [figure for n in options.components for figure in figures_of(records, n)]
    if figures:
        print_figures("=== hybrid beside converged batch EM", figures)
    if options.plots:
        draw(records, options)
    finish({"figures": figures, "fits": records.all}, options, {"hybrid": figures})


if __name__ == "__main__":
    main()
