"""Finding objects in an S/N map: sep, or photutils in its place.

Both take a map with unit noise and a threshold, link pixels above it, split objects with several peaks by the
multi-level tree of SExtractor (Bertin & Arnouts 1996), and give the pixel of every object's peak.
"""

import numpy as np
import sep

from celestepy.images.errors import ImageError

__all__ = ["BACKENDS", "extract_peaks"]

LEVELS = 32  # between threshold and peak at which branches of an object are looked for
CONTRAST = 0.005  # share of an object's summed S/N that a branch needs to count as an object
SPARE = 10_000  # pixels kept free in sep's buffer


def extract_peaks(signal_to_noise, threshold, backend="sep"):
    """Peaks of the deblended objects in an S/N map.

    Parameters
    ----------
    signal_to_noise : (ny, nx) float32
    threshold : float
    backend : {"sep", "photutils"}, optional

    Returns
    -------
    x, y : (n,) int64
        Pixel of each peak, brightest first.

    Raises
    ------
    ImageError
        For an unknown backend.
    ImportError
        Where photutils is asked for and not installed; names the extra.
    """
    if backend not in BACKENDS:
        raise ImageError(f"backend: {backend!r}, expected one of {', '.join(map(repr, BACKENDS))}")
    native = np.ascontiguousarray(signal_to_noise, dtype=np.float32)
    x, y = BACKENDS[backend](native, float(threshold))
    order = np.argsort(-native[y, x], kind="stable")
    return x[order].astype(np.int64), y[order].astype(np.int64)


def _with_sep(signal_to_noise, threshold):
    above = int(np.count_nonzero(signal_to_noise > threshold))
    before = sep.get_extract_pixstack(), sep.get_sub_object_limit()
    sep.set_extract_pixstack(max(before[0], above + SPARE))
    sep.set_sub_object_limit(max(before[1], above // 4 + 1))
    try:
        objects = sep.extract(
            signal_to_noise, threshold, minarea=1, filter_kernel=None,
            deblend_nthresh=LEVELS, deblend_cont=CONTRAST, clean=False,
        )  # fmt: skip
    finally:
        sep.set_extract_pixstack(before[0])
        sep.set_sub_object_limit(before[1])
    return objects["xpeak"], objects["ypeak"]


def _with_photutils(signal_to_noise, threshold):
    try:
        from photutils.segmentation import deblend_sources, detect_sources
    except ImportError as error:
        raise ImportError(
            "backend='photutils' needs photutils, which is not installed: pip install 'celestepy[photutils]'"
        ) from error
    segments = detect_sources(signal_to_noise, threshold, npixels=1)
    if segments is None:
        return np.zeros(0, int), np.zeros(0, int)
    segments = deblend_sources(
        signal_to_noise, segments, npixels=1, nlevels=LEVELS, contrast=CONTRAST, progress_bar=False
    )
    return _peaks_of_segments(signal_to_noise, segments)


def _peaks_of_segments(signal_to_noise, segments):
    peaks = []
    for label, box in zip(segments.labels, segments.slices, strict=True):
        inside = np.where(segments.data[box] == label, signal_to_noise[box], -np.inf)
        row, column = np.unravel_index(np.argmax(inside), inside.shape)
        peaks.append((box[1].start + column, box[0].start + row))
    return np.array(peaks).T


BACKENDS = {"sep": _with_sep, "photutils": _with_photutils}
