"""Deblenders on the same drawn blends, scored as Sampson et al. (2024): figures 6 and 8 to 11 of that paper.

    python examples/experiments/deblending_comparison.py [--method adaprox score ..] [--scenes 1000] [--survey hsc|lsst]
        [--scarlet2-python PYTHON] [--scarlet2-scenes 200] [--robustness] [--robustness-scenes 100] [--results FILE]
        [--again RUN ..] [--plots DIR] [--seed 2024] [--quick] [--json FILE]

Methods: `adaprox` is the proximal method as in scarlet, fluxes stepped; `adaprox-solved` the same with fluxes solved
for and half the symmetry; `splitting` forward-backward splitting with exact projections; `asinh` Adam in asinh scale
with the monotonic sweep; `score` fits galaxies first, and frees their pixels under a learned prior. `known` solves for
fluxes with the true morphologies of each band: what the noise of fluxes does alone, a bound for every other.

--scarlet2-python names the interpreter of an environment with scarlet2 0.5.1 (see deblending_scarlet2.py); scarlet2
then takes the first blends apart too, with its own settings and with the same prior. With --robustness, methods are
also started with fluxes 20 times too bright, 20 times too faint, all the same, and with Gaussian morphologies, and
`score` with the prior of another survey; changes against the regular start are shown.

Every block of blends is written to FILE as soon as it is finished, and what is there is not done again: the command
may be stopped and started as one likes, and several may run side by side on different methods. --again forgets the
scores of a run first. Times are those of the clock: run it on an idle machine if they matter.
"""

import argparse
import sys
from functools import lru_cache, partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from command import save
from deblending_figures import (
    PEERS,
    accuracy_figures,
    facts_of,
    peer_figures,
    print_bins,
    robustness_figures,
    wrong_prior_figures,
)
from deblending_methods import BLOCK, METHODS, Run, complete, peers, runs_of
from deblending_pictures import binned
from deblending_records import Records
from deblending_scenes import SURVEYS, make_blend
from targets import add_output_options, print_figures, verdict, write_report

RESULTS = Path(__file__).resolve().parent / "results"
BASELINE, OURS = "adaprox", "score"


def parsed():
    """Options of the command."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--method", nargs="*", choices=METHODS, default=["known", BASELINE, OURS], help="default: known adaprox score")
    add("--scenes", type=int, default=1000)
    add("--survey", choices=SURVEYS, default="hsc")
    add("--seed", type=int, default=2024)
    add("--scarlet2-python", metavar="PYTHON", help="interpreter of an environment with scarlet2")
    add("--scarlet2-scenes", type=int, default=200)
    add("--robustness", action="store_true", help="also begin with wrong fluxes and morphologies, and another prior")
    add("--robustness-scenes", type=int, default=100)
    add("--results", metavar="FILE", type=Path, help="default: results/deblending-SURVEY-SEED.json, none with --quick")
    add("--again", nargs="+", metavar="RUN", default=[], help="runs whose scores are forgotten first")
    add("--plots", metavar="DIR", type=Path, help="also draw pictures into this folder")
    add_output_options(options)
    options = options.parse_args()
    if options.quick:
        options.scenes = options.scarlet2_scenes = options.robustness_scenes = 2
    elif options.results is None:
        options.results = RESULTS / f"deblending-{options.survey}-{options.seed}.json"
    return options


def plan(options):
    """Every run with the blends that it is to do."""
    runs = [(run, options.scarlet2_scenes) for run in peers(options.scarlet2_python)] if options.scarlet2_python else []
    for name in options.method:
        runs.append((Run(name, METHODS[name]), options.scenes))
        disturbed = runs_of(name) if options.robustness and name != "known" else []
        runs += [(run, options.robustness_scenes) for run in disturbed]
    return [(run, min(number, options.scenes)) for run, number in runs]


def do_all(records, options):
    """Let every run do what it has not done yet, block by block, so that a block is drawn once."""
    make = lru_cache(maxsize=2 * BLOCK)(partial(make_blend, survey=options.survey, seed=options.seed))
    for name in options.again:
        records.forget(name)
    for first in range(0, options.scenes, BLOCK):
        for run, number in plan(options):
            complete(records, run, range(first, min(first + BLOCK, number)), make)


def figures_of(records, numbers):
    """All figures with targets that the scores allow, by title; printed."""
    shared = [k for k in numbers if k in records.numbers(OURS) and k in records.numbers(BASELINE)]
    if not shared:
        return {}
    titles = {f"{OURS} beside {BASELINE}, {len(shared)} blends": (accuracy_figures(records, OURS, BASELINE, shared),
                                                                  (BASELINE, "known"))}
    if any(records.numbers(name) for name in PEERS):
        figures, n = peer_figures(records, OURS, shared)
        titles[f"{OURS} beside scarlet2 0.5.1, the first {n} blends"] = figures, ("its own", "our prior")
    titles["changes with the start"] = robustness_figures(records, OURS, BASELINE, shared), (BASELINE,)
    titles["prior of another survey"] = wrong_prior_figures(records, OURS, shared), ()
    titles = {title: each for title, each in titles.items() if each[0]}
    for title, (figures, others) in titles.items():
        print_figures(f"=== {title}", figures, others)
    return {title: figures for title, (figures, _) in titles.items()}


def main():
    """Compare methods."""
    options = parsed()
    records = Records(options.results, {"survey": options.survey, "seed": options.seed})
    do_all(records, options)
    numbers = range(options.scenes)
    names = [name for name in (*options.method, *PEERS) if any(k in numbers for k in records.numbers(name))]
    print(f"=== {options.scenes} blends, {options.survey}, seed {options.seed}")
    report = {"options": vars(options), "bins": print_bins(records, names, numbers)}
    report["methods"] = facts_of(records, names, numbers)
    report["figures"] = figures_of(records, numbers)
    if options.plots:
        save(binned({name: records.table(name, numbers) for name in names}), options, "deblending_scores")
    print("\n" + verdict([figure for figures in report["figures"].values() for figure in figures]))
    write_report(report, options.json)


if __name__ == "__main__":
    main()
