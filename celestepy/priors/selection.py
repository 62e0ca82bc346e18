"""Which sources of a catalogue a prior is learned from, and how faint the catalogue is complete.

A catalogue holds what was detected, and near the detection limit that is a selection: of the faint sources those with
a favourable fluctuation, a point-like image, or a colour that the detection likes. Learned from as they are, they would
make the counts of the prior fall too early and its faint sources too red or too compact. So the laws are learned from
true fluxes above a limit at which next to nothing is lost (`complete_to`); what lies below is modelled as well, since
noise carries sources across the limit in both directions, but only to be kept apart.
"""

import numpy as np

from celestepy.catalog import Flag, Status

__all__ = ["complete_to", "usable"]

# Sources of which the posterior is cut short, extrapolated or of doubtful existence.
_UNUSABLE = (Flag.SATURATED | Flag.EDGE | Flag.MASKED_CENTRE | Flag.DUPLICATE_SEED | Flag.EXISTENCE_DOUBTFUL
             | Flag.FAILED | Flag.STAR_FAILED | Flag.GALAXY_FAILED | Flag.BAND_MISSING | Flag.POSITION_AT_BOUND
             | Flag.RADIUS_AT_BOUND | Flag.DRAWS_UNRELIABLE)
_BIN, _FEWEST = 0.25, 10  # mag, and sources that a bin needs
_THRESHOLD_SHARE, _FAINT_SHARE = 1, 5  # per cent
_MARGIN = 2.0  # standard deviations of the noise


def usable(catalog):
    """Sources whose posteriors say what they seem to say.

    Parameters
    ----------
    catalog : `~celestepy.catalog.Catalog`
        The catalogue.

    Returns
    -------
    (n,) bool array
        True for fits that converged and carry none of the flags of saturation, an edge, a mask, a missing band, a
        radius or position at its bound, doubtful existence, a failed type, or unreliable draws.
    """
    flags, status = np.asarray(catalog["flags"]), np.asarray(catalog["status"])
    probability = np.asarray(catalog["star_probability"])
    return (probability >= 0) & (probability <= 1) & (status == Status.CONVERGED) & ((flags & _UNUSABLE) == 0)


def complete_to(mag, snr):
    """Magnitude to which hardly a source can have been missed, from the catalogue itself.

    The lowest signal to noise in the catalogue (its first percentile) is about the threshold of the detection. Where
    95% of the sources of a magnitude lie two standard deviations of the noise above that, the distribution of their
    signal to noise ends before the threshold cuts it off.

    Parameters
    ----------
    mag, snr : (n,) arrays
        Magnitudes in the reference band, and signal to noise.

    Returns
    -------
    float
        The faint edge of the last bin of 0.25 mag that is so, from the bright end; NaN if there is none.
    """
    known = np.isfinite(mag + snr)
    mag, snr = mag[known], snr[known]
    if not len(mag):
        return np.nan
    wanted = np.percentile(snr, _THRESHOLD_SHARE) + _MARGIN
    limit = np.nan
    for edge in np.arange(np.floor(mag.min() / _BIN) * _BIN, mag.max(), _BIN):
        inside = snr[(mag >= edge) & (mag < edge + _BIN)]
        if len(inside) >= _FEWEST and np.percentile(inside, _FAINT_SHARE) < wanted:
            break
        if len(inside) >= _FEWEST:
            limit = edge + _BIN
    return float(limit)
