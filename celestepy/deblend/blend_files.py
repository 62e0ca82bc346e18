"""Blends stored as NumPy archives: images, weights, PSFs and peaks of one patch."""

import zipfile
from pathlib import Path

import numpy as np

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.observation import Observation

__all__ = ["read_blend"]

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
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DeblendError(f"{path}: {error}; expected a NumPy archive (.npz) of a blend") from None
    missing = [names for names in (("images",), ("psfs",), ("weights", "variance"), ("peaks", "catalog"))
               if not stored.keys() & set(names)]
    if missing:
        raise DeblendError(f"{path}: no array {' or '.join(map(repr, missing[0]))}, only {', '.join(stored)}")
    if bands is None:
        bands = stored.get("filters", "grizy" if len(stored["images"]) == 5 else None)
    mask = stored["mask"] & bad_bits if bad_bits and "mask" in stored else None
    observation = Observation.from_arrays(
        stored["images"],
        stored.get("weights"),
        variance=None if "weights" in stored else stored["variance"],
        psfs=stored["psfs"],
        bands=bands,
        mask=mask,
        pixel_scale=pixel_scale,
    )
    return observation, _peaks(stored)


def _peaks(stored):
    """(K, 2) y, x."""
    if "peaks" in stored:
        return np.array(stored["peaks"], dtype=float).reshape(-1, 2)[:, ::-1]
    return np.stack([stored["catalog"]["y"], stored["catalog"]["x"]], axis=1).astype(float)
