"""What every method made of every blend of the deblending experiments, on disk as soon as a block is finished."""

import json
from pathlib import Path

import numpy as np
from astropy.table import QTable
from field import machine

from celestepy.whole_files import write_whole

SCORES = ("flux_error", "morphology_correlation", "sed_correlation")
DIGITS = {"flux_error": 5, "morphology_correlation": 5, "sed_correlation": 6, "blendedness": 4}


class Records:
    """Scores of methods on the same numbered blends, in a file if there is a path.

    Parameters
    ----------
    path : Path or None
        JSON file; what it holds already is kept.
    scenes : dict
        What the blends depend on: scores of other blends are refused.
    """

    def __init__(self, path, scenes):
        self._path, self._scenes = path, scenes
        self.truth, self.methods = {}, {}
        self._read()

    def _read(self):
        """Take over what is in the file; other commands may have written to it meanwhile."""
        if self._path is None or not self._path.exists():
            return
        content = json.loads(self._path.read_text())
        if content["scenes"] != self._scenes:
            raise SystemExit(f"{self._path}: holds scores of other blends, {content['scenes']}, not {self._scenes}; "
                             "give another file with --results")
        self.truth = {int(k): row for k, row in content["truth"].items()}
        self.methods = {
            name: {"settings": own["settings"], "blends": {int(k): row for k, row in own["blends"].items()}}
            for name, own in content["methods"].items()
        }

    def missing(self, method, settings, numbers):
        """Which of the numbered blends a method has not done with these settings.

        Raises
        ------
        SystemExit
            If the file holds scores of the method with other settings.
        """
        own = self.methods.get(method)
        if own is not None and own["settings"] != settings:
            raise SystemExit(f"{self._path}: holds scores of {method} with other settings, {own['settings']}, not "
                             f"{settings}; give another file with --results, or --again {method!r}")
        return [k for k in numbers if own is None or k not in own["blends"]]

    def forget(self, method):
        """Remove the scores of a method."""
        self._read()
        self.methods.pop(method, None)
        self._write()

    def add(self, method, settings, table):
        """Add rows of `compare_deblenders`, whose blends have their numbers."""
        self._read()
        own = self.methods.setdefault(method, {"settings": settings, "blends": {}})["blends"]
        for number in dict.fromkeys(int(k) for k in table["blend"]):
            rows = table[table["blend"] == number]
            self.truth[number] = [_rounded(rows, "blendedness"), [float(f"{flux:.5g}") for flux in rows["true_flux"]]]
            facts = [float(f"{rows[name][0]:.5g}") for name in ("chi2", "seconds")]
            status = ";".join(str(k) for k, status in enumerate(rows["status"]) if status.startswith("failed"))
            own[number] = [*facts, status, *(_rounded(rows, name) for name in SCORES)]
        self._write()

    def _write(self):
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        methods = ",\n".join(
            f'{json.dumps(name)}: {{"settings": {json.dumps(own["settings"])}, "blends": {_lines(own["blends"])}}}'
            for name, own in self.methods.items()
        )
        text = (f'{{"scenes": {json.dumps(self._scenes)},\n"machine": {json.dumps(machine())},\n'
                f'"truth": {_lines(self.truth)},\n"methods": {{\n{methods}\n}}}}\n')
        write_whole(Path(self._path), text.encode())

    def numbers(self, method):
        """Which blends a method has done."""
        return sorted(self.methods[method]["blends"]) if method in self.methods else []

    def table(self, method, numbers):
        """Rows like those of `compare_deblenders`, of the blends that the method has done."""
        columns = {name: [] for name in ("blend", "source", "blendedness", "true_flux", *SCORES, "chi2", "seconds",
                                         "status")}
        own = self.methods[method]["blends"]
        for number in (k for k in numbers if k in own):
            chi2, seconds, failed, *scores = own[number]
            n, failed = len(scores[0]), failed.split(";")
            parts = [[number] * n, range(n), *self.truth[number], *scores, [chi2] * n, [seconds] * n,
                     ["failed" if str(k) in failed else "ok" for k in range(n)]]
            for column, part in zip(columns.values(), parts, strict=True):
                column.extend(part)
        return QTable({"method": [method] * len(columns["blend"])} | {k: np.array(v) for k, v in columns.items()})


def _rounded(rows, name):
    return [round(float(value), DIGITS[name]) for value in rows[name]]


def _lines(blends):
    return "{\n" + ",\n".join(f'"{k}": {json.dumps(row, separators=(",", ":"))}' for k, row in blends.items()) + "}"
