"""Figures beside their targets: tables, verdicts, machine facts and JSON, the same for every benchmark."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from field import machine

__all__ = ["Figure", "add_output_options", "print_figures", "verdict", "write_report"]


@dataclass(frozen=True)
class Figure:
    """One measured number, the range it should lie in, and what others reached.

    Attributes
    ----------
    name : str
        What was measured, with its unit.
    value : float
        The result.
    low, high : float or None
        Target range, None where it is open.
    others : tuple of float or None
        Figures to compare with, one for each extra column of the table; None where there is none.
    error : float or None
        Standard error of the value, from the finite number of sources.
    note : str
        Remark for the end of the line.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    others: tuple = ()
    error: float | None = None
    note: str = ""

    @property
    def has_target(self):
        """Whether there is anything to meet."""
        return self.low is not None or self.high is not None

    @property
    def met(self):
        """Whether the target is met; None without a target."""
        if not self.has_target:
            return None
        above = self.low is None or self.value >= self.low
        return bool(above and (self.high is None or self.value <= self.high))

    @property
    def verdict(self):
        """Whether the target is met, in words."""
        if self.met is None or self.met:
            return "" if self.met is None else "MET"
        low, high = -np.inf if self.low is None else self.low, np.inf if self.high is None else self.high
        miss = max(low - self.value, self.value - high)
        return "within +-" if self.error is not None and miss <= self.error else "not met"

    @property
    def target(self):
        """The target in words."""
        if self.low is not None and self.high is not None:
            return f"{self.low:.3g} to {self.high:.3g}"
        if self.low is not None:
            return f">= {self.low:.3g}"
        return "" if self.high is None else f"<= {self.high:.3g}"


def print_figures(title, figures, others=()):
    """Print a table of figures; `others` names the extra columns."""
    heads = "".join(f"{name:>10s}" for name in others)
    print(f"\n{title}\n{'':36s}{'found':>9s}{'+-':>8s}{heads}  {'target':14s}".rstrip())
    for figure in figures:
        error = "" if figure.error is None else f"{figure.error:.3f}"
        columns = "".join(f"{'' if value is None else format(value, '.3f'):>10s}" for value in figure.others)
        columns = columns.ljust(10 * len(others))
        found = f"{figure.name:36s}{figure.value:9.3f}{error:>8s}{columns}"
        print(f"{found}  {figure.target:14s}{figure.verdict:10s}{figure.note}".rstrip())


def verdict(figures):
    """One line: how many of the figures that have a target meet it, and which do not."""
    aimed = [figure for figure in figures if figure.has_target]
    missed = [figure for figure in aimed if not figure.met]
    names = [figure.name + (" (within its error)" if figure.verdict != "not met" else "") for figure in missed]
    line = f"{len(aimed) - len(missed)} of {len(aimed)} targets met"
    return f"{line}; not met: {', '.join(names)}" if missed else line


def add_output_options(parser):
    """Options that every benchmark has."""
    parser.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    parser.add_argument("--quick", action="store_true", help="a small version, to see that everything runs")


def write_report(report, path):
    """Print the machine facts, and write everything to a JSON file if there is a path."""
    facts = machine()
    print("\n" + ", ".join(f"{key} {value}" for key, value in facts.items()))
    if path:
        text = json.dumps(report | {"machine": facts}, indent=1, default=_plain)
        Path(path).write_text(text + "\n")


def _plain(value):
    """What JSON can hold instead of a record or an array."""
    if isinstance(value, Figure):
        return asdict(value) | {"met": value.met}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else str(value)
