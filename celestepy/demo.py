"""A field with a known truth, from its pixels to a scored catalogue: the package in one call."""

import logging
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from celestepy.catalog.files import write_table
from celestepy.catalog.score import Score
from celestepy.inference import Result
from celestepy.pipeline import make_catalog
from celestepy.simulate import SimulatedField, simulate_field

__all__ = ["FILES", "Demo", "run_demo"]

log = logging.getLogger(__name__)

# What every run writes, pictures aside.
FILES = ("catalog.fits", "truth.fits", "score.json")
_SIDE = 800  # pixels of a field of 150 sources, about the density of an SDSS field
_CONTENTS = {
    "catalog.fits": "the catalogue",
    "truth.fits": "the sources that were drawn",
    "score.json": "the scores above",
    "color.png": "the field in colour, with the sources marked",
    "residual.png": "image, model, and residual in units of the noise",
    "star_probability.png": "probabilities of being a star, for true stars and galaxies",
    "population.png": "number counts and colours",
    "pulls.png": "errors in units of their stated size",
}


@dataclass(frozen=True)
class Demo:
    """What `run_demo` did; print it for a report.

    Attributes
    ----------
    field : `~celestepy.simulate.SimulatedField`
        The images and the truth.
    result : `~celestepy.inference.Result`
        The fit.
    score : `~celestepy.catalog.score.Score`
        How well they agree.
    files : list of `pathlib.Path`
        What was written.
    seconds : float
        Wall time of detection and fit.
    """

    field: SimulatedField
    result: Result
    score: Score
    files: list
    seconds: float

    def __str__(self):
        n, width = len(self.result.catalog), max(len(str(path)) for path in self.files)
        lines = [str(self.score), ""]
        lines.append(
            f"{n} sources in {len(self.field.images)} images detected and fitted in {self.seconds:.1f} s,"
        )
        lines += [f"{1e3 * self.seconds / max(n, 1):.0f} ms for each source", "wrote"]
        lines += [f"  {str(path):{width}s}  {_CONTENTS.get(path.name, '')}".rstrip() for path in self.files]
        return "\n".join(lines)


def run_demo(directory, *, n_sources=150, rng=1, n_jobs=None, progress=False):
    """Simulate a field in five bands, catalogue it, score the catalogue, and draw pictures.

    Parameters
    ----------
    directory : path-like
        Existing directory for the files; those of the same names are replaced.
    n_sources : int, optional
        Sources to draw from the prior.
    rng : int or `numpy.random.Generator`, optional
        Seed or generator of sources and noise.
    n_jobs, progress : optional
        See `~celestepy.pipeline.make_catalog`.

    Returns
    -------
    Demo
        The images, the fit, the score, and what was written. Pictures are left out where matplotlib is
        missing.

    Raises
    ------
    KeyboardInterrupt
        If the fit is interrupted: half a demonstration shows nothing.
    """
    directory = Path(directory)
    log.info("simulating %d sources in five bands ...", n_sources)
    side = round(_SIDE * (n_sources / 150) ** 0.5)
    field = simulate_field(n_sources, shape=(side, side), rng=rng)
    start = time.perf_counter()
    result = make_catalog(field.images, rng=rng, n_jobs=n_jobs, progress=progress)
    seconds = time.perf_counter() - start
    if result.interrupted:
        raise KeyboardInterrupt
    score = result.catalog.score(field.truth)
    files = _write(directory, field, result, score) + _draw(directory, field, result)
    return Demo(field, result, score, files, seconds)


def _write(directory, field, result, score):
    paths = [directory / name for name in FILES]
    result.catalog.write(paths[0], overwrite=True)
    write_table(field.truth, paths[1], overwrite=True)
    paths[2].write_text(score.to_json(indent=1) + "\n", encoding="utf-8")
    return paths


def _draw(directory, field, result):
    if find_spec("matplotlib") is None:
        log.warning("no pictures: they need matplotlib, which the extra 'plot' brings")
        return []
    from celestepy.plot import draw_field

    log.info("drawing pictures ...")
    return draw_field(field.images, result, directory, truth=field.truth)
