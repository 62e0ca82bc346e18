"""Time and memory of a whole field: each stage, and each source.

    python benchmarks/field.py FIELD [--bands ugriz] [--n-jobs 2] [--json OUT]

FIELD is an SDSS field directory or a TOML description. The field is read, detected, fitted on N threads and
written, each stage timed once, as `celestepy catalog` does it; then it is fitted again on one thread for the
time per source: both hypotheses in all bands, with covariance and evidence, a blended source's share of its
group. Run it on an idle machine.
"""

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: the threads that are timed are celestepy's own

import numpy as np

import celestepy
from celestepy.detection import detect
from celestepy.inference import LaplaceFit
from celestepy.model.pixel_rate import kernel_name
from celestepy.pipeline import read_field

PER_SOURCE, WHOLE_FIELD, MEMORY = 12e-3, 60.0, 1.5  # aimed at for five frames of SDSS: s, s, GB


def timed(function, *arguments, **options):
    """The result of a call, and the wall time it took."""
    start = time.perf_counter()
    result = function(*arguments, **options)
    return result, time.perf_counter() - start


def run_stages(field, bands, n_jobs):
    """Wall time of each stage, and what came out."""
    stages = {}
    images, stages["read"] = timed(read_field, field, bands)
    seeds, stages["detect"] = timed(detect, images)
    result, stages["fit"] = timed(LaplaceFit().fit, images, seeds, executor=n_jobs)
    with tempfile.TemporaryDirectory() as directory:
        _, stages["write"] = timed(result.catalog.write, Path(directory) / "catalog.fits")
    return images, seeds, result, stages


def peak_memory():
    """Largest resident memory of this process so far, GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def processor():
    """The processor's name, as the system knows it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine():
    """What the figures depend on."""
    return {
        "processor": processor(),
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "celestepy": celestepy.__version__,
        "kernel": kernel_name,
    }


def measure(field, bands, n_jobs):
    images, seeds, result, stages = run_stages(field, bands, n_jobs)
    memory = peak_memory()
    single, single_thread = timed(LaplaceFit().fit, images, seeds)
    seconds = np.asarray(single.seconds)
    return {
        "images": len(images),
        "megapixels": sum(image.pixels.size for image in images) / 1e6,
        "seeds": len(seeds),
        "sources": len(result.catalog),
        "n_jobs": n_jobs,
        "stages": stages,
        "whole_field": sum(stages.values()),
        "fit_on_one_thread": single_thread,
        "median_per_source": float(np.nanmedian(seconds)),
        "mean_per_source": single_thread / max(len(single.catalog), 1),
        "slowest_source": float(np.nanmax(seconds)),
        "peak_memory": memory,
        "machine": machine(),
    }


def table(figures):
    """The figures as lines of text, with what is aimed at."""
    yield "{images} images, {megapixels:.1f} million pixels, {seeds} seeds, {sources} sources".format(
        **figures
    )
    for stage, seconds in figures["stages"].items():
        yield line(f"{stage}, {figures['n_jobs']} threads" if stage == "fit" else stage, seconds, "s")
    yield line("whole field", figures["whole_field"], "s", WHOLE_FIELD)
    yield line("fit, 1 thread", figures["fit_on_one_thread"], "s")
    yield line("median per source, 1 thread", 1e3 * figures["median_per_source"], "ms", 1e3 * PER_SOURCE)
    yield line("mean per source, 1 thread", 1e3 * figures["mean_per_source"], "ms")
    yield line("slowest source", 1e3 * figures["slowest_source"], "ms")
    yield line("peak memory", figures["peak_memory"], "GB", MEMORY)
    facts = figures["machine"]
    yield "on {processor}, {processors} processors, load {load:.1f}, {system};".format(**facts)
    yield "celestepy {celestepy}, kernel {kernel}, Python {python}, NumPy {numpy}".format(**facts)


def line(name, value, unit, aim=None):
    figure = f"{name:30s}{value:10.2f} {unit}"
    return figure if aim is None else f"{figure:46s}aim: at most {aim:g}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("field", help="SDSS field directory or TOML description")
    parser.add_argument("--bands", help="only these bands")
    parser.add_argument("--n-jobs", type=int, default=2, help="threads (default: 2)")
    parser.add_argument("--json", help="write the figures to this file too")
    options = parser.parse_args()
    figures = measure(options.field, options.bands, options.n_jobs)
    print("\n".join(table(figures)))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
