"""What samplers cost on densities of which everything is known, in evaluations.

    python benchmarks/samplers.py [--json FILE] [--quick]

First table: evaluations per effective draw of the poorest parameter, bulk or tail. Second: log evidences of 25 runs
of annealed importance sampling, or of 1000 draws of importance sampling: root-mean-square error over repetitions,
mean stated error, and evaluations. Fits have the target's mean and covariance and five degrees of freedom; in the
second half of each table they are half a standard deviation off along each whitened axis, of half the covariance.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from targets import add_output_options, write_report

from celestepy.inference.importance import StudentMixture, importance_sample
from celestepy.inference.mcmc import (
    AnnealedImportanceSampler,
    EllipticalSliceSampler,
    EnsembleSampler,
    SliceSampler,
    verdict,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from reference.densities import DENSITIES, Gaussian

CHAINS = 16
TARGETS = DENSITIES | {"11 parameters": Gaussian(size=11, correlation=0.99)}


def fit(target, is_good):
    factor = np.linalg.cholesky(target.covariance)
    if is_good:
        return StudentMixture([1.0], [target.mean], [target.covariance], 5.0)
    return StudentMixture([1.0], [target.mean + 0.5 * factor.sum(axis=1)], [0.5 * target.covariance], 5.0)


def chain_samplers(reference, n):
    """Samplers by name, and the number of chains that each runs."""
    whitening = np.linalg.cholesky(reference.covariance)
    return {
        "slices": (SliceSampler(n, 100), CHAINS),
        "whitened slices": (SliceSampler(n, 100, whitening=whitening), CHAINS),
        "ellipses": (EllipticalSliceSampler(reference, n, 100, jumps=0), CHAINS),
        "ellipses and jumps": (EllipticalSliceSampler(reference, n, 100), CHAINS),
        "ensemble": (EnsembleSampler(n, 300), max(32, 2 * len(whitening))),
    }


def annealed_samplers(reference):
    slices = SliceSampler(whitening=np.linalg.cholesky(reference.covariance))
    return {
        "10 temperatures, slices": AnnealedImportanceSampler(10, transition=slices),
        "10 temperatures, ellipses": AnnealedImportanceSampler(10),
        "20 temperatures, ellipses": AnnealedImportanceSampler(20),
    }


def chain_rows(name, target, is_good, n):
    """Cost of effective draws, one row per sampler."""
    for sampler, (settings, chains) in chain_samplers(fit(target, is_good), n).items():
        rng = np.random.default_rng(1)
        begin = time.perf_counter()
        result = settings.sample(target.log_density, target.draw(chains, rng), rng)
        seconds = time.perf_counter() - begin
        found = verdict(result)
        effective = float(min(found.ess_bulk.min(), found.ess_tail.min()))
        yield {
            "target": name,
            "fit": "good" if is_good else "poor",
            "sampler": sampler,
            "evaluations_per_effective_draw": result.n_evaluations / effective,
            "microseconds_per_evaluation": 1e6 * seconds / result.n_evaluations,
            "r_hat": float(found.r_hat.max()),
        }


def evidence_rows(name, target, is_good, repetitions):
    """Errors of evidences, one row per sampler."""
    reference, rng = fit(target, is_good), np.random.default_rng(2)
    samplers = {
        label: lambda settings=settings: settings.sample(target.log_density, reference, rng)
        for label, settings in annealed_samplers(reference).items()
    }
    samplers["importance, 1000 draws"] = lambda: importance_sample(target.log_density, reference, 1000, rng)
    for sampler, run in samplers.items():
        results = [run() for _ in range(repetitions)]
        errors = np.array([result.log_evidence - target.log_evidence for result in results])
        yield {
            "target": name,
            "fit": "good" if is_good else "poor",
            "sampler": sampler,
            "rms": float(np.sqrt(np.mean(errors**2))),
            "stated": float(np.mean([result.log_evidence_err for result in results])),
            "evaluations": float(np.mean([result.n_evaluations for result in results])),
        }


def print_chains(rows):
    print(f"\n{'target':16s}{'fit':6s}{'sampler':20s}{'evaluations per':>16s}{'us per':>11s}{'R-hat':>8s}")
    print(f"{'':42s}{'effective draw':>16s}{'evaluation':>11s}")
    for row in rows:
        print(
            f"{row['target']:16s}{row['fit']:6s}{row['sampler']:20s}{row['evaluations_per_effective_draw']:16.1f}"
            f"{row['microseconds_per_evaluation']:11.1f}{row['r_hat']:8.3f}"
        )


def print_evidences(rows):
    print(f"\n{'target':16s}{'fit':6s}{'sampler':28s}{'rms error':>10s}{'stated':>8s}{'evaluations':>13s}")
    for row in rows:
        print(
            f"{row['target']:16s}{row['fit']:6s}{row['sampler']:28s}{row['rms']:10.3f}{row['stated']:8.3f}"
            f"{row['evaluations']:13.0f}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_output_options(parser)
    options = parser.parse_args()
    n, repetitions = (100, 3) if options.quick else (1000, 20)
    cases = [(name, target, is_good) for is_good in (True, False) for name, target in TARGETS.items()]
    chains = [row for case in cases for row in chain_rows(*case, n)]
    print_chains(chains)
    evidences = [row for case in cases for row in evidence_rows(*case, repetitions)]
    print_evidences(evidences)
    write_report({"chains": chains, "evidences": evidences}, options.json)


if __name__ == "__main__":
    main()
