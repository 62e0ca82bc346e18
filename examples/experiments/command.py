"""What every experiment has: its options, a catalogue by each method, and a report with pictures.

Importing it puts benchmarks/ on the path, whose scenes, published figures and tables the experiments share.
"""

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: what is timed is celestepy's own

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT / "benchmarks") not in sys.path:
    sys.path.insert(0, str(ROOT / "benchmarks"))

import numpy as np  # noqa: E402
from targets import add_output_options, verdict, write_report  # noqa: E402

from celestepy.pipeline import METHODS, make_catalog  # noqa: E402

DATA = Path(os.environ.get("CELESTEPY_DATA", ROOT / ".." / "shared" / "data"))


@dataclass(frozen=True)
class Fitted:
    """What one method made of the images.

    Attributes
    ----------
    result : `~celestepy.inference.Result`
        Catalogue and the seconds of each source.
    seconds : float
        Wall time of the whole.
    """

    result: object
    seconds: float

    @property
    def catalog(self):
        """The catalogue."""
        return self.result.catalog


def parser(description):
    """Parser with the options of every experiment."""
    new = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = new.add_argument
    add("--method", nargs="+", choices=METHODS, default=["fast", "calibrated"], help="default: fast calibrated")
    add("--plots", metavar="DIR", type=Path, help="also draw pictures into this folder")
    add("--seed", type=int, default=1, help="of what is simulated, and of the draws")
    add("--n-jobs", type=int, default=1, help="threads")
    add_output_options(new)
    return new


def fit(images, seeds, method, options, prior=None):
    """Make a catalogue, and take the time."""
    start = time.perf_counter()
    result = make_catalog(images, seeds, method=method, prior=prior, rng=options.seed, n_jobs=options.n_jobs)
    return Fitted(result, time.perf_counter() - start)


def save(figure, options, name):
    """Write a picture into the folder of pictures."""
    options.plots.mkdir(parents=True, exist_ok=True)
    path = options.plots / f"{name}.png"
    figure.savefig(path)
    print(f"wrote {path}")


def finish(report, options, figures):
    """Say which targets are met, by method, and write the report."""
    print()
    for method, of_method in figures.items():
        print(f"{method}: {verdict(of_method)}")
    write_report({"options": vars(options)} | report, options.json)


def finite(values):
    """The values that are known."""
    values = np.asarray(values, dtype=float)
    return values[np.isfinite(values)]
