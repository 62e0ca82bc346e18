"""Blends stored as NumPy archives: images, weights, PSFs and peaks of one patch."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.observation import Observation

__all__ = ["read_blend", "select_bands"]

HSC_SCALE = 0.168  # arcsec


def read_blend(path, *, bands=None, pixel_scale=HSC_SCALE, bad_bits=0):
    """Read a blend from an ``.npz`` file.

    Parameters
    ----------
    path : str or path-like
        Archive with ``images`` (B, h, w), ``psfs`` (B, n, n), one of ``weights`` (inverse variances) and ``variance``,
        and one of ``peaks`` (K, 2) as x, y and ``catalog`` with fields ``x`` and ``y``, all 0-based; optionally
        ``filters`` (B,) and ``mask`` (B, h, w).
    bands : sequence of str, optional
        Names of the bands, where there are no ``filters``; "grizy" for five images.
    pixel_scale : float, optional
        Arcsec; that of HSC by default.
    bad_bits : int, optional
        Bits of the mask that make a pixel unusable. Which these are differs between pipelines and is not in the
        file: none by default.

    Returns
    -------
    observation : Observation
        The data.
    peaks : (K, 2) array
        y, x of the sources, pixels.

    Raises
    ------
    DeblendError
        If the file is no archive, or something is missing.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            stored = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DeblendError(f"{path}: {reason}; expected a NumPy archive (.npz) of a blend") from None
    missing = [names for names in (("images",), ("psfs",), ("weights", "variance"), ("peaks", "catalog"))
               if not stored.keys() & set(names)]
    if missing:
        raise DeblendError(f"{path}: no array {' or '.join(map(repr, missing[0]))}, only {', '.join(stored)}")
    if bands is None:
        bands = stored.get("filters", "grizy" if stored["images"].shape[:1] == (5,) else None)
    peaks = _peaks(stored, path)
    if not len(peaks):
        raise DeblendError(f"{path}: no peaks, expected the place of one source at least")
    mask = stored["mask"] & bad_bits if bad_bits and "mask" in stored else None
    try:
        observation = _observation(stored, bands, mask, pixel_scale)
    except DeblendError as error:
        raise DeblendError(f"{path}: {error}") from error
    return observation, peaks


def select_bands(observation, bands):
    """Some bands of an observation.

    Parameters
    ----------
    observation : Observation
        The data.
    bands : sequence of str
        Names of the bands.

    Returns
    -------
    Observation
        With these bands, in this order.

    Raises
    ------
    DeblendError
        If there is no such band.
    """
    missing = [band for band in bands if band not in observation.bands]
    if missing:
        raise DeblendError(f"bands: no band {missing[0]!r}, the blend has {', '.join(observation.bands)}")
    chosen = [observation.bands.index(band) for band in bands]
    return Observation.from_arrays(observation.images[chosen], observation.weights[chosen],
                                   psfs=[observation.psfs[k] for k in chosen], bands=bands, grid=observation.grid)


def _observation(stored, bands, mask, pixel_scale):
    return Observation.from_arrays(
        stored["images"],
        stored.get("weights"),
        variance=None if "weights" in stored else stored["variance"],
        psfs=stored["psfs"],
        bands=bands,
        mask=mask,
        pixel_scale=pixel_scale,
    )


def _peaks(stored, path):
    """(K, 2) y, x."""
    if "peaks" in stored:
        peaks = np.array(stored["peaks"])
        if peaks.ndim != 2 or peaks.shape[1] != 2 or peaks.dtype.kind not in "fiu":
            raise DeblendError(f"{path}: peaks of shape {peaks.shape}, expected numbers (sources, 2): x, y in pixels")
        return peaks.astype(float)[:, ::-1]
    catalog = stored["catalog"]
    if not {"x", "y"} <= set(catalog.dtype.names or ()):
        raise DeblendError(f"{path}: catalog with the fields {catalog.dtype.names}, expected x and y in pixels")
    return np.stack([catalog["y"], catalog["x"]], axis=1).astype(float)
