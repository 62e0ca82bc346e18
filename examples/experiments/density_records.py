"""What each fit of the density experiment came to, on disk as soon as it is known."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from field import machine

from celestepy.whole_files import write_whole


@dataclass(frozen=True)
class Record:
    """One fit.

    Attributes
    ----------
    method : str
        Method of `~celestepy.density.ExtremeDeconvolution`.
    components, start : int
        Number of components, and seed of the start.
    seconds, wall : float
        Seconds of the processor and of the clock, everything included.
    score : float
        Mean log density of the test rows.
    gap, gap_error : float
        Mean log density of the test rows under the truth, less the score; and its standard error.
    converged : bool
        Whether the fit says so.
    repaired : int
        Components that had collapsed and were repaired.
    trace : list
        Of each pass its phase, processor seconds since the beginning, training score, and validation score.
    """

    method: str
    components: int
    start: int
    seconds: float
    wall: float
    score: float
    gap: float
    gap_error: float
    converged: bool
    repaired: int
    trace: list

    def __str__(self):
        return (f"{self.passes} passes, {self.seconds:.1f} s, validation {self.held_out:.4f}, test {self.score:.4f}, "
                f"truth - test {self.gap:.4f}")

    @property
    def name(self):
        """For files of this fit."""
        return f"{self.method}_{self.components}_{self.start}"

    @property
    def passes(self):
        """Number of passes over the rows."""
        return len(self.trace)

    @property
    def held_out(self):
        """Best validation score: that of the mixture that was returned."""
        return float(np.nanmax([entry[3] for entry in self.trace]))

    def seconds_to(self, held_out):
        """Processor seconds after which a validation score was reached; None if it never was."""
        return next((entry[1] for entry in self.trace if entry[3] >= held_out), None)


class Records:
    """The fits that were made with the same rows, in a file if there is a path."""

    def __init__(self, path, rows):
        self._path, self._rows = path, rows
        self.true_score = float("nan")
        self.all = []
        self._read()

    def _read(self):
        """Take over what is in the file, other commands may have written to it meanwhile."""
        if self._path is None or not Path(self._path).exists():
            return
        content = json.loads(Path(self._path).read_text())
        if content["rows"] != self._rows:
            raise SystemExit(f"{self._path}: holds fits of other rows, {content['rows']}, not {self._rows}; "
                             "give another file with --results")
        self.true_score = content["true_score"]
        self.all = [Record(**each) for each in content["fits"]]

    def add(self, record):
        """Add a fit, and write the file under a temporary name that is then exchanged."""
        true_score = self.true_score
        self._read()
        self.true_score = true_score
        self.all = [each for each in self.all if each.name != record.name] + [record]
        if self._path is not None:
            path = Path(self._path)
            path.parent.mkdir(parents=True, exist_ok=True)
            fits = ",\n".join(json.dumps(asdict(each)) for each in self.all)
            head = {"rows": self._rows, "true_score": true_score, "machine": machine()}
            text = json.dumps(head, indent=1)[:-2] + f',\n "fits": [\n{fits}\n]\n}}\n'
            write_whole(path, text.encode())

    def of(self, method, components):
        """Fits by one method, one for each start."""
        return [each for each in self.all if (each.method, each.components) == (method, components)]

    def find(self, method, components, start):
        """One fit, or None."""
        return next((each for each in self.of(method, components) if each.start == start), None)
