"""What a user gives to `deblend_field` and `deblend_patch`, checked before the work begins."""

import os
from numbers import Integral, Real

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.observation import Observation

__all__ = ["check_observation", "check_options", "check_prior", "checked_peaks", "checked_square"]

DEFAULT_SIZE = 60.0  # arcsec


def check_options(threshold, largest_blend):
    """Check the numbers that tell sources and blends.

    Parameters
    ----------
    threshold : float or None
        Signal to noise.
    largest_blend : int
        Sources.

    Raises
    ------
    DeblendError
        If they are none.
    """
    if threshold is not None and not isinstance(threshold, Real):
        raise DeblendError(f"threshold: {threshold!r}, expected a signal to noise > 0, usually 4 to 7")
    if isinstance(largest_blend, bool) or not (isinstance(largest_blend, Integral) and largest_blend >= 1):
        raise DeblendError(f"largest_blend: {largest_blend!r}, expected a whole number of sources from 1 on")


def check_prior(prior):
    """Check that a prior is one, or the name or file of one.

    Parameters
    ----------
    prior : object
        What was given.

    Raises
    ------
    DeblendError
        If it is neither.
    """
    if not (prior is None or isinstance(prior, (str, os.PathLike)) or hasattr(prior, "score")):
        raise DeblendError(f"prior: {prior!r}, expected the name or the file of a trained prior, or a MorphologyPrior")


def check_observation(observation):
    """Check that an observation is one, and not bare arrays.

    Parameters
    ----------
    observation : object
        What was given.

    Raises
    ------
    DeblendError
        If it is none.
    """
    if not isinstance(observation, Observation):
        raise DeblendError(f"observation: {type(observation).__name__}, expected one Observation; make it with "
                           "Observation.from_arrays")


def checked_peaks(peaks):
    """Places of sources as numbers.

    Parameters
    ----------
    peaks : (K, 2) array_like
        y, x, pixels.

    Returns
    -------
    (K, 2) array
        A copy.

    Raises
    ------
    DeblendError
        If there are none, or they are not pairs of numbers.
    """
    try:
        peaks = np.array(peaks, dtype=float)
    except (TypeError, ValueError):
        raise DeblendError(f"peaks: {peaks!r}, expected numbers (sources, 2): y, x in pixels") from None
    if peaks.ndim != 2 or peaks.shape[1] != 2 or not len(peaks):
        raise DeblendError(f"peaks: shape {peaks.shape}, expected (sources, 2) with y, x in pixels of one source at "
                           "least")
    return peaks


def checked_square(position, size):
    """A square on the sky.

    Parameters
    ----------
    position : (float, float), (Quantity, Quantity), SkyCoord or None
        Its middle: ra and dec, degrees where they have no unit.
    size : float, Quantity or None
        Its side, arcsec where it has no unit.

    Returns
    -------
    (float, float, float) or None
        ra, dec in degrees and arcsec; None without a position.

    Raises
    ------
    DeblendError
        If there is a size only, or they are no place and no size.
    """
    if position is None:
        if size is not None:
            raise DeblendError(f"size: {size}, but no position was given; give both, or neither for all sources")
        return None
    try:
        if isinstance(position, SkyCoord):
            position = position.icrs.ra, position.icrs.dec
        ra, dec = (float(u.Quantity(value, u.deg).value) for value in position)
        size = DEFAULT_SIZE if size is None else float(u.Quantity(size, u.arcsec).value)
    except (TypeError, ValueError):  # errors of units are both
        raise DeblendError(f"position, size: {position}, {size}; expected (ra, dec) in degrees and arcsec, or in units "
                           "of angles") from None
    if not (np.isfinite(size) and size > 0 and np.isfinite(ra) and -90 <= dec <= 90):
        raise DeblendError(f"position, size: {ra}, {dec}, {size}; expected ra, dec in degrees and arcsec > 0")
    return ra, dec, size
