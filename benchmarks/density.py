"""Time, memory and accuracy of the kernels of extreme deconvolution.

    python benchmarks/density.py [--json FILE] [--quick]

Rows of seven columns are drawn from a mixture of overlapping Gaussians, each with a full noise covariance of its own.
Times are the shortest of several repetitions, in nanoseconds that one thread has the processor, for one row and
component, of one pass of expectation maximisation (both steps); "all overlap" are the same rows under a start where
every component has the covariance of the data, so that all of them take part in every row. Accuracy is that of passes
from one start beside the formulas in NumPy (``tests/reference/density.py``). The pass over 1.6 million rows is timed
by the clock.
"""

import argparse
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from targets import Figure, add_output_options, print_figures, verdict, write_report

from celestepy.density.em import maximization
from celestepy.density.expectation import available_kernels, expectation, gradient, log_densities
from celestepy.density.noisy_rows import NoisyRows
from celestepy.density.objective import Components, CovariancePrior, Kept

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from reference.density import batch_step

DIM = 7
# One pass over N = 20k, D = 7, K = 64, one thread: seconds with other codes on a processor with AVX-512
N, K = 20_000, 64
OTHERS = {"C": 2.07, "torch": 4.3, "pygmmis": 11.0, "astroML": 29.0}
PAIR_TARGET = 150.0
LARGE_N, LARGE_K, LARGE_SECONDS, LARGE_MEGABYTES = 1_600_000, 256, 60.0, 200.0


def mixture(k, rng):
    """Weights, means and factors of the covariances of K overlapping components."""
    factors = 0.3 * rng.normal(size=(k, DIM, DIM)) + 0.5 * np.eye(DIM)
    return rng.dirichlet(np.full(k, 2.0)), 2.0 * rng.normal(size=(k, DIM)), factors


def fill(x, noise, truth, rng):
    """Draw rows and their noise covariances into the arrays."""
    weights, means, factors = truth
    labels = rng.choice(len(weights), size=len(x), p=weights)
    spread = 0.3 * rng.normal(size=(len(x), DIM, DIM))
    noise[...] = spread @ np.swapaxes(spread, 1, 2) + 0.05 * np.eye(DIM)
    x[...] = means[labels] + np.einsum("nab,nb->na", factors[labels], rng.normal(size=x.shape))
    x += np.einsum("nab,nb->na", spread, rng.normal(size=x.shape)) + np.sqrt(0.05) * rng.normal(size=x.shape)


def draw(n, k, seed=1):
    """Rows, their noise, and the components they are from."""
    rng = np.random.default_rng(seed)
    truth = mixture(k, rng)
    x, noise = np.empty((n, DIM)), np.empty((n, DIM, DIM))
    for i in range(0, n, 50_000):
        fill(x[i : i + 50_000], noise[i : i + 50_000], truth, rng)
    weights, means, factors = truth
    return x, noise, Components(weights, means, factors @ np.swapaxes(factors, 1, 2))


def start(x, k, seed=2):
    """K of the rows as means, with the covariance of the data: what a fit begins with at worst."""
    rng = np.random.default_rng(seed)
    means = x[rng.choice(len(x), size=k, replace=len(x) < k)]
    return Components(np.full(k, 1.0 / k), means, np.repeat(np.cov(x.T)[None], k, axis=0))


def one_pass(rows, components, kernel=None, n_jobs=1):
    """Mean log likelihood, and the components after one step of unregularised expectation maximisation."""
    sums = expectation(rows, *components.arrays, n_jobs, kernel=kernel)
    fitted = maximization(components, sums, CovariancePrior(0.0, np.ones(DIM)), Kept())
    return sums.log_likelihood / sums.weight, fitted


def accuracy(n, k, n_passes):
    """Figures of passes from one start, beside the same in NumPy."""
    x, noise, _ = draw(n, k)
    rows, begin = NoisyRows.from_input(x, noise), start(x, k)
    ours, theirs, traces = dict.fromkeys(available_kernels(), begin), begin, []
    for _ in range(n_passes):
        trace = []
        for name, components in ours.items():
            value, ours[name] = one_pass(rows, components, name)
            trace.append(value)
        value, arrays = batch_step(x, noise, *theirs.arrays)
        theirs = Components(*arrays)
        traces.append([*trace, value])
    traces = np.array(traces)
    errors = np.abs(traces[:, :-1] - traces[:, -1:])
    return [
        *(
            Figure(f"{name}: largest difference [1e-12]", 1e12 * errors[:, i].max(), high=100.0)
            for i, name in enumerate(ours)
        ),
        Figure("smallest increase of a pass", np.diff(traces[:, 0]).min(), low=1e-12),
        Figure("log likelihood per row after them", traces[-1, 0]),
    ]


def shortest(function, repetitions):
    """Shortest time of several calls on this thread, in nanoseconds that the processor spent on it."""
    times = []
    for _ in range(repetitions):
        begin = time.thread_time()
        function()
        times.append(time.thread_time() - begin)
    return 1e9 * min(times)


def kinds_of_rows(x, noise):
    """The same rows with other noise, with gaps, and through a projection."""
    gaps = np.where(np.random.default_rng(3).random(len(x))[:, None] < 0.18, [1, 1, np.nan, np.nan, np.nan, 1, 1], 1.0)
    return {
        "variances": NoisyRows.from_input(x, np.einsum("naa->na", noise)),
        "no noise": NoisyRows.from_input(x),
        "18 % without three columns": NoisyRows.from_input(gaps * x, noise),
        "projected": NoisyRows.from_input(x, noise, np.eye(DIM) + 0.1),
    }


def times(n, k, repetitions):
    """Nanoseconds per row and component of passes with each variant, and of other rows and functions."""
    x, noise, truth = draw(n, k)
    rows, pair = NoisyRows.from_input(x, noise), n * k
    weights, means, covariances = truth.arrays
    others = {
        "log density alone": partial(log_densities, rows, *truth.arrays),
        "gradient": partial(gradient, rows, weights, means, np.linalg.cholesky(covariances)),
        **{name: partial(one_pass, some, truth) for name, some in kinds_of_rows(x, noise).items()},
    }
    figures = []
    for name in available_kernels():
        goal = PAIR_TARGET if name == available_kernels()[0] else None
        for label, components in (("", truth), (", all overlap", start(x, k))):
            value = shortest(partial(one_pass, rows, components, name), repetitions) / pair
            figures.append(Figure(f"K = {k}, {name}{label}", value, high=goal))
    return figures + [
        Figure(f"K = {k}, {label}", shortest(function, repetitions) / pair) for label, function in others.items()
    ]


def growth(ns, ks, repetitions):
    """Time per row and component where there are many, over that where there are few."""
    rows = {}
    for n, k in [*((n, ks[0]) for n in ns), *((ns[0], k) for k in ks[1:])]:
        x, noise, _ = draw(n, k)
        begin = start(x, k)
        rows[n, k] = shortest(partial(one_pass, NoisyRows.from_input(x, noise), begin), repetitions) / (n * k)
    first = rows[ns[0], ks[0]]
    return [
        *(Figure(f"N = {n} over {ns[0]}, K = {ks[0]}", rows[n, ks[0]] / first, high=1.2) for n in ns[1:]),
        *(Figure(f"K = {k} over {ks[0]}, N = {ns[0]}", rows[ns[0], k] / first, high=1.2) for k in ks[1:]),
    ]


def resident(key):
    """Megabytes of this process, now (VmRSS) or at the most (VmHWM)."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith(key))


def large(n, k, n_jobs):
    """Seconds and memory of one pass over many rows, a fifth of which lack three columns."""
    x, noise, truth = draw(n, k)
    x[np.random.default_rng(4).random(n) < 0.18, 2:5] = np.nan
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    begin = time.perf_counter()
    rows = NoisyRows.from_input(x, noise)
    checked = time.perf_counter()
    one_pass(rows, truth, n_jobs=n_jobs)
    return [
        Figure(f"seconds of a pass, {n_jobs} threads", time.perf_counter() - checked, high=LARGE_SECONDS),
        Figure("seconds of the checks before", checked - begin),
        Figure("megabytes above the data", resident("VmHWM") - before, high=LARGE_MEGABYTES),
        Figure("megabytes of the data", (x.nbytes + noise.nbytes) / 2**20),
    ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-jobs", type=int, default=2, help="threads of the pass over many rows")
    add_output_options(parser)
    options = parser.parse_args()
    n, n_passes, repetitions = (1_000, 5, 2) if options.quick else (N, 20, 7)
    large_n = LARGE_N // 100 if options.quick else LARGE_N
    tables = {}
    if Path("/proc/self/clear_refs").exists():
        tables[f"N = {large_n}, K = {LARGE_K}"] = large(large_n, LARGE_K, options.n_jobs)
    tables["nanoseconds per row and component, one thread"] = times(n, K, repetitions) + times(n // 4, 256, repetitions)
    tables["how the time per row and component grows (all overlap)"] = growth(
        (n // 4, n, 4 * n), (32, 128, 512), repetitions
    )
    tables[f"{n_passes} passes, N = {n}, K = {K}: log likelihood per row"] = accuracy(n, K, n_passes)
    for title, figures in tables.items():
        print_figures(title, figures)
    published = ", ".join(f"{name} {1e9 * seconds / (N * K):.0f}" for name, seconds in OTHERS.items())
    print(f"\nothers, nanoseconds per row and component of a pass (N = {N}, K = {K}): {published}")
    print(verdict([figure for figures in tables.values() for figure in figures]))
    write_report({"options": vars(options), "tables": tables, "others": OTHERS}, options.json)


if __name__ == "__main__":
    main()
