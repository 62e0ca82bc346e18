"""Several methods on the same blends with the same scores: `compare_deblenders`."""

import time
from dataclasses import dataclass

import numpy as np
from astropy.table import QTable, vstack

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.rendering import Frame
from celestepy.deblend.scores import blendedness, chi2_per_pixel, flux_error, morphology_correlation, sed_correlation
from celestepy.deblend.starts import start_scene

__all__ = ["BLENDEDNESS_BINS", "Blend", "binned_scores", "compare_deblenders"]

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


def compare_deblenders(blends, methods, *, start="detection", largest_half=None, kinds_known=False):
    """Let every method take every blend apart, and score it.

    Parameters
    ----------
    blends : iterable of Blend
        With truth.
    methods : dict of str to Solver or callable
        Settings with ``fit(scene)``, which all get the same start, or functions of a blend that return the (K, B, h, w)
        images of its sources, for instance another code.
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
        ``method``, ``from``, ``to``, ``n``, ``median_flux_error`` (of absolute values),
        ``mean_morphology_correlation``, ``mean_sed_correlation`` and ``failed`` (share of sources without an answer).
    """
    rows = []
    for method in dict.fromkeys(table["method"]):
        own = table[table["method"] == method]
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            inside = own[(own["blendedness"] >= low) & (own["blendedness"] < high)]
            rows.append((method, low, high, len(inside), *_summary(inside)))
    names = ("method", "from", "to", "n", "median_flux_error", "mean_morphology_correlation", "mean_sed_correlation",
             "failed")
    return QTable(rows=rows, names=names)


def _summary(rows):
    if not len(rows):
        return (np.nan,) * 4
    failed = np.mean([status.startswith(FAILED) for status in rows["status"]])
    return (
        float(np.nanmedian(np.abs(rows["flux_error"]))),
        float(np.mean(rows["morphology_correlation"])),
        float(np.mean(rows["sed_correlation"])),
        float(failed),
    )


def _taken_apart(blend, method, begin, kinds_known):
    """Images of the sources, statuses and seconds; a method that raises is recorded, not passed on."""
    began = time.perf_counter()
    try:
        if hasattr(method, "fit"):
            kinds = blend.kinds if kinds_known else None
            result = method.fit(start_scene(Frame(blend.observation), blend.peaks, kinds=kinds, **begin))
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
