"""Deblenders on the same drawn blends, scored as Sampson et al. (2024), and what wrong starts do to them.

    python examples/experiments/deblending_comparison.py [--method adaprox ..] [--scenes 100] [--survey lsst|hsc]
                                                         [--robustness] [--quick] [--seed 1] [--json FILE]

Methods: `adaprox` is the proximal method as in scarlet, fluxes stepped; `adaprox-solved` the same with fluxes solved
for and half the symmetry; `splitting` forward-backward splitting with exact projections; `asinh` Adam in asinh scale
with the monotonic sweep. `known` solves for fluxes with the true morphologies of each band: what the noise of fluxes
does alone, a bound for every other. With --robustness every method is also started with fluxes 20 times too bright, 20
times too faint, all the same, and with Gaussian morphologies; the changes against its own regular start are shown.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(1, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import numpy as np
from deblending_scenes import SURVEYS, make_blends
from targets import add_output_options, write_report

from celestepy.deblend import (
    AdaProx,
    AsinhAdam,
    ForwardBackward,
    Monotonic,
    NonNegative,
    Symmetric,
    binned_scores,
    compare_deblenders,
)
from celestepy.deblend.seds import normal_equations, solve_fluxes

SWEEP = (Monotonic("sweep"), NonNegative())


def known_morphologies(blend):
    """Images of the sources with their true morphologies in each band, and fluxes solved for."""
    shapes = blend.truth / blend.truth.sum(axis=(2, 3), keepdims=True)
    n_bands = shapes.shape[1]
    columns = np.ascontiguousarray(np.swapaxes(shapes, 0, 1)).reshape(n_bands, len(shapes), -1)
    problem = normal_equations([columns], [blend.observation], [np.arange(n_bands)], n_bands)
    return shapes * solve_fluxes(*problem).seds[:, :, None, None]


METHODS = {
    "known": known_morphologies,
    "adaprox": AdaProx(),
    "adaprox-solved": AdaProx(constraints=(Symmetric(0.5), *SWEEP), solve_fluxes=True),
    "splitting": ForwardBackward(),
    "asinh": AsinhAdam(constraints=SWEEP),
}


class Disturbed:
    """A method whose start has its fluxes changed first.

    Parameters
    ----------
    method : Solver
        The method.
    factor : float, optional
        What fluxes are multiplied by; None makes all fluxes of a blend the same.
    """

    def __init__(self, method, factor=None):
        self.method, self.factor = method, factor

    def fit(self, scene):
        """Fit from the changed start."""
        seds = scene.seds
        seds = np.full_like(seds, seds.mean()) if self.factor is None else self.factor * seds
        return self.method.fit(scene.replace([s.replace(sed=sed) for s, sed in zip(scene.sources, seds, strict=True)]))


def starts_of(method):
    """Name of each disturbed start, the method that makes it and the kind of morphologies."""
    return {
        "fluxes x 20": (Disturbed(method, 20.0), "detection"),
        "fluxes / 20": (Disturbed(method, 0.05), "detection"),
        "flat fluxes": (Disturbed(method), "detection"),
        "Gaussian morphologies": (method, "gaussian"),
    }


def changes(table, regular):
    """How fluxes and morphologies differ from those of the regular start."""
    flux, before = 1 + np.asarray(table["flux_error"]), 1 + np.asarray(regular["flux_error"])
    moved = np.abs(flux - before) / np.maximum(np.abs(before), 1e-3)
    fall = np.asarray(regular["morphology_correlation"]) - np.asarray(table["morphology_correlation"])
    return {
        "median flux change": float(np.median(moved)),
        "95% flux change": float(np.percentile(moved, 95)),
        "mean fall of morphology correlation": float(fall.mean()),
        "median |flux error|": float(np.nanmedian(np.abs(table["flux_error"]))),
    }


def print_table(table):
    for name in table.colnames[4:]:
        table[name].info.format = ".4f"
    print(*table.pformat(max_lines=-1, max_width=-1), sep="\n")


def main():
    """Compare methods."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    options.add_argument("--scenes", type=int, default=100)
    options.add_argument("--survey", choices=SURVEYS, default="lsst")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--robustness", action="store_true", help="also begin with wrong fluxes and morphologies")
    add_output_options(options)
    options = options.parse_args()
    blends = list(make_blends(2 if options.quick else options.scenes, survey=options.survey, seed=options.seed))
    table = compare_deblenders(blends, {name: METHODS[name] for name in options.method})
    bins = binned_scores(table)
    print(f"=== {len(blends)} blends, {len(table) // len(options.method)} sources, {options.survey}")
    print_table(bins)
    report = {"options": vars(options), "bins": {name: bins[name].tolist() for name in bins.colnames}, "methods": {}}
    for name in options.method:
        own = table[table["method"] == name]
        first = own["source"] == 0
        facts = {"seconds per blend": float(own["seconds"][first].mean()), "chi2": float(np.median(own["chi2"][first]))}
        print(f"\n{name}: {facts['seconds per blend']:.3f} s per blend, median chi2 per pixel {facts['chi2']:.3f}")
        report["methods"][name] = facts
        if options.robustness and hasattr(METHODS[name], "fit"):
            for start, (method, morphologies) in starts_of(METHODS[name]).items():
                disturbed = compare_deblenders(blends, {name: method}, start=morphologies)
                facts[start] = changes(disturbed, own)
                print(f"  {start:22}", ", ".join(f"{key} {value:.4f}" for key, value in facts[start].items()))
    write_report(report, options.json)


if __name__ == "__main__":
    main()
