"""Several methods on the same blends with the same scores: `compare_deblenders`."""

import time
from dataclasses import dataclass

import numpy as np
from astropy.table import QTable, vstack

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.methods import frame_for
from celestepy.deblend.scores import blendedness, chi2_per_pixel, flux_error, morphology_correlation, sed_correlation
from celestepy.deblend.starts import LARGEST_HALF, start_scene

__all__ = ["BLENDEDNESS_BINS", "Blend", "binned_scores", "compare_deblenders", "start_for"]

BLENDEDNESS_BINS = (0.0, 0.1, 0.3, 0.6, 1.0)
FAILED = "failed"


@dataclass(frozen=True, eq=False)
class Blend:
    """A patch of sky whose sources are known.

    Attributes
    ----------
    observation : Observation
        The data.
    peaks : (K, 2) array
        y, x of each source, pixels.
    truth : (K, B, h, w) array
        Noiseless image of each source.
    kinds : tuple of str, optional
        "free" or "point" for each source; all free by default.
    """

    observation: object
    peaks: np.ndarray
    truth: np.ndarray
    kinds: tuple = None

    def __post_init__(self):
        if np.shape(self.truth) != (len(self.peaks), *self.observation.shape):
            raise DeblendError(
                f"truth: shape {np.shape(self.truth)}, expected {(len(self.peaks), *self.observation.shape)}: an image"
                " in each band for each peak"
            )


def start_for(observation, peaks, prior=None, *, kinds=None, start="detection", largest_half=LARGEST_HALF):
    """The scene that a method begins with: pixels, PSF and the largest box are those of its prior, if it has one.

    Parameters
    ----------
    observation : Observation
        The data.
    peaks : (K, 2) array_like
        y, x of each source, pixels of the observation.
    prior : MorphologyPrior, optional
        Of the method.
    kinds, start, largest_half : optional
        See `celestepy.deblend.starts.start_scene`.

    Returns
    -------
    Scene
        On a frame made by `celestepy.deblend.methods.frame_for`.
    """
    frame = frame_for([observation], prior)
    if prior is not None:
        largest_half = min(largest_half, (min(prior.shape) - 1) // 2)
    y, x = np.transpose(np.asarray(peaks, dtype=float))
    x, y = frame.grid.from_plane(*observation.grid.to_plane(x, y))
    return start_scene(frame, np.stack([y, x], axis=1), kinds=kinds, start=start, largest_half=largest_half)


def compare_deblenders(blends, methods, *, start="detection", largest_half=None, kinds_known=False):
    """Let every method take every blend apart, and score it.

    Parameters
    ----------
    blends : iterable of Blend
        With truth.
    methods : dict of str to Solver or callable
        Settings with ``fit(scene)``, which all get the same start, as far as their priors' pixels, PSF and stamps
        allow, or functions of a blend that return the (K, B, h, w) images of its sources, for instance another code.
    start : str, optional
        See `celestepy.deblend.starts.start_scene`.
    largest_half : int, optional
        Likewise.
    kinds_known : bool, optional
        Whether methods are told which sources are points; by default all are free.

    Returns
    -------
    QTable
        A row for each source and method: ``blend``, ``source``, ``method``, ``n_sources``, ``true_flux`` (over all
        bands), ``blendedness``, ``flux_error``, ``morphology_correlation``, ``sed_correlation``, ``chi2`` (per used
        pixel, of the whole blend), ``seconds`` (of the whole blend) and ``status`` of the source. Where a method
        raises, its scores are those of no light at all and the status begins with "failed".

    Raises
    ------
    DeblendError
        If there is no blend or no method.
    """
    begin = {"start": start} | ({} if largest_half is None else {"largest_half": largest_half})
    tables = []
    for index, blend in enumerate(blends):
        for name, method in methods.items():
            images, statuses, seconds = _taken_apart(blend, method, begin, kinds_known)
            tables.append(_scored(index, name, blend, images, statuses, seconds))
    if not tables:
        raise DeblendError("blends, methods: nothing to compare, expected at least one of each")
    return vstack(tables, metadata_conflicts="silent")


def binned_scores(table, edges=BLENDEDNESS_BINS):
    """Scores of each method in bins of blendedness.

    Parameters
    ----------
    table : QTable
        Of `compare_deblenders`.
    edges : sequence of float, optional
        Edges of the bins.

    Returns
    -------
    QTable
        ``method``, ``from``, ``to``, ``n``, ``median_flux_error`` (of absolute values) with its standard error
        ``median_flux_error_err``, ``mean_morphology_correlation``, ``mean_sed_correlation`` and ``failed`` (share of
        sources without an answer).
    """
    rows = []
    for method in dict.fromkeys(table["method"]):
        own = table[table["method"] == method]
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            inside = own[(own["blendedness"] >= low) & (own["blendedness"] < high)]
            rows.append((method, low, high, len(inside), *_summary(inside)))
    names = ("method", "from", "to", "n", "median_flux_error", "median_flux_error_err", "mean_morphology_correlation",
             "mean_sed_correlation", "failed")
    return QTable(rows=rows, names=names)


def _summary(rows):
    if not len(rows):
        return (np.nan,) * 5
    failed = np.mean([status.startswith(FAILED) for status in rows["status"]])
    return (
        *_median(np.abs(rows["flux_error"])),
        float(np.mean(rows["morphology_correlation"])),
        float(np.mean(rows["sed_correlation"])),
        float(failed),
    )


def _median(values):
    """Median and its standard error: half the distance of the values whose ranks are one such error from the middle."""
    values = np.sort(values[np.isfinite(values)])
    if not len(values):
        return np.nan, np.nan
    low, high = np.clip((len(values) - 1 + np.sqrt(len(values)) * np.array([-1, 1])) / 2, 0, len(values) - 1)
    return float(np.median(values)), float(np.diff(np.interp([low, high], np.arange(len(values)), values))[0] / 2)


def _taken_apart(blend, method, begin, kinds_known):
    """Images of the sources, statuses and seconds; a method that raises is recorded, not passed on."""
    began = time.perf_counter()
    try:
        if hasattr(method, "fit"):
            kinds = blend.kinds if kinds_known else None
            prior = getattr(method, "prior", None)
            result = method.fit(start_for(blend.observation, blend.peaks, prior, kinds=kinds, **begin))
            images, statuses = result.scene.render_sources()[0], list(result.statuses)
        else:
            images = np.asarray(method(blend), dtype=float)
            statuses = ["ok"] * len(images)
    except Exception as error:  # another code may raise anything, and the comparison has to go on
        images = np.zeros(np.shape(blend.truth))
        statuses = [f"{FAILED}: {type(error).__name__}: {error}"] * len(images)
    return images, statuses, time.perf_counter() - began


def _scored(index, name, blend, images, statuses, seconds):
    truth = np.asarray(blend.truth, dtype=float)
    n = len(truth)
    table = QTable({"blend": np.full(n, index), "source": np.arange(n), "method": [name] * n})
    table["n_sources"] = n
    table["true_flux"] = truth.sum(axis=(1, 2, 3))
    table["blendedness"] = blendedness(truth)
    table["flux_error"] = flux_error(images, truth)
    table["morphology_correlation"] = morphology_correlation(images, truth)
    table["sed_correlation"] = sed_correlation(images, truth)
    table["chi2"] = chi2_per_pixel(images, blend.observation)
    table["seconds"] = seconds
    table["status"] = np.array(statuses, dtype=object).astype(str)
    return table
