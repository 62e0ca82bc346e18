"""Finding objects in an S/N map: sep, or photutils in its place.

Both take a map of unit noise and give the pixels of peaks above a threshold. sep links the pixels above it
and splits objects with several peaks by the multi-level tree of SExtractor (Bertin & Arnouts 1996), so that
noise on top of a source is no peak; photutils gives every local maximum.
"""

import warnings

import numpy as np
import sep

from celestepy.images.errors import ImageError

__all__ = ["BACKENDS", "extract_peaks"]

LEVELS = 32  # between threshold and peak at which branches of an object are looked for
CONTRAST = 0.005  # share of an object's summed S/N that a branch needs to count as an object
PEAK_BOX = 3  # pixels within which photutils lets only the highest be a peak
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
        from photutils.detection import find_peaks
        from photutils.utils.exceptions import NoDetectionsWarning
    except ImportError as error:
        raise ImportError(
            "backend='photutils' needs photutils, which is not installed: install the extra 'photutils', "
            'python -m pip install ".[photutils]" in the source tree'
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoDetectionsWarning)
        peaks = find_peaks(signal_to_noise, threshold, box_size=PEAK_BOX)
    if peaks is None:
        return np.zeros(0, int), np.zeros(0, int)
    return np.asarray(peaks["x_peak"]), np.asarray(peaks["y_peak"])


BACKENDS = {"sep": _with_sep, "photutils": _with_photutils}
