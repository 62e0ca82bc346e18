"""Colours of noisy fluxes, as weighted draws from their likelihood: what a faint or negative flux says of a colour.

The logarithm of a flux of low signal to noise is not normal, and that of a negative one does not exist; but its
likelihood N(F | f, s) says of every true flux f > 0 how well it explains the measured F. Draws of ln f with weights
proportional to that, in every band, stand for the likelihood of log flux and colours, down to fluxes so faint that it
is flat.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from celestepy.model.parameters import Bands

__all__ = ["ColorDraws", "flux_draws"]

_CLEAR = 5.0  # signal to noise from which draws about the measured flux reach all that is likely
_REACH = 4.0  # errors above the measured flux up to which fainter bands are drawn
_FAINTEST = 0.03  # of an error; below, the likelihood is flat


@dataclass(frozen=True)
class ColorDraws:
    """Likelihoods of n sources, each as K weighted draws of log flux and colours.

    Attributes
    ----------
    log_flux : (n, K) array
        ln(flux / nmgy) in the reference band.
    colors : (n, K, C) array
        Natural-log flux ratios of adjacent bands.
    log_weight : (n, K) array
        The likelihood is proportional to the sum of ``exp(log_weight)`` over the draws.
    """

    log_flux: np.ndarray
    colors: np.ndarray
    log_weight: np.ndarray

    def __len__(self):
        return len(self.log_flux)

    def __getitem__(self, rows):
        return ColorDraws(self.log_flux[rows], self.colors[rows], self.log_weight[rows])

    def __add__(self, other):
        names = ("log_flux", "colors", "log_weight")
        return ColorDraws(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))

    def within(self, bluest, reddest):
        """Keep to plausible colours: of a flux lost in the noise the likelihood alone would allow any.

        Parameters
        ----------
        bluest, reddest : (C,) array_like
            Limits of the colours (natural-log flux ratios).

        Returns
        -------
        ColorDraws
            Draws beyond a limit have no weight; sources that have none left are left out.
        """
        inside = np.all((self.colors >= bluest) & (self.colors <= reddest), axis=2)
        some = inside.any(axis=1)
        log_weight = np.where(inside, self.log_weight, -np.inf)
        return ColorDraws(self.log_flux[some], self.colors[some], log_weight[some])


def flux_draws(fluxes, errors, bands, n_draws, rng, *, tail=(0.0, 1.0)):
    """Draw log fluxes and colours in proportion to the likelihood of measured fluxes.

    Parameters
    ----------
    fluxes, errors : (n, B) arrays
        Measured fluxes, of any sign, and their standard errors (nmgy). A band that was not measured has an infinite
        error or a NaN, and then a likelihood that is flat over six magnitudes about the reference band.
    bands : Bands or sequence of str
        The bands.
    n_draws : int
        Draws of each source.
    rng : numpy.random.Generator
        Source of randomness.
    tail : (float, float)
        Share of the measurements, in each band, that scatter by more than their error says, and by how many times
        more: their likelihood is a mixture of two normal laws. None by default.

    Returns
    -------
    ColorDraws

    Raises
    ------
    ValueError
        If an error is not positive, the reference band of a source was not measured, or `tail` is out of range.
    """
    if not (0 <= tail[0] < 1 and tail[1] >= 1):
        raise ValueError(f"tail must be a share below 1 and a factor from 1 on, got {tail!r}")
    bands = Bands.of(bands)
    fluxes, errors = (np.array(value, dtype=float) for value in (fluxes, errors))
    missing = ~(np.isfinite(fluxes) & np.isfinite(errors))
    if np.any(errors[~missing] <= 0):
        raise ValueError(f"errors must be positive, got {errors[~missing].min()}; a band without one is infinite")
    if missing[:, bands.reference_index].any():
        row = int(np.argmax(missing[:, bands.reference_index]))
        raise ValueError(f"source {row} has no flux in the reference band {bands.reference}; leave it out")
    shape = len(fluxes), n_draws, len(bands)
    uniform, wild = rng.random(shape), rng.random(shape) < tail[0]
    parts = [_band_draws(fluxes[:, b, None], errors[:, b, None], uniform[:, :, b], wild[:, :, b], tail)
             for b in range(len(bands))]
    logs, log_weights = (np.stack(part, axis=2) for part in zip(*parts, strict=True))
    reference = logs[:, :, bands.reference_index, None]
    wide = reference + np.log(10) / 2.5 * 6.0 * (uniform - 0.5)
    logs = np.where(missing[:, None], wide, logs)
    log_weight = np.where(missing[:, None], 0.0, log_weights).sum(axis=2)
    return ColorDraws(logs[:, :, bands.reference_index], np.diff(logs, axis=2), log_weight)


def _band_draws(flux, error, uniform, wild, tail):
    """Log fluxes (n, K) in one band and the logs of their weights."""
    share, factor = tail
    with np.errstate(invalid="ignore", divide="ignore"):
        width = np.where(wild, factor, 1.0) * error
        clear = np.maximum(flux + width * ndtri(uniform * ndtr(flux / width) + ndtr(-flux / width)), 1e-12)
        low, high = np.log(_FAINTEST * error), np.log(np.maximum(flux, 0.0) + _REACH * factor * error)
        logs = np.where(flux > _CLEAR * error, np.log(clear), low + (high - low) * uniform)
        core, far = (np.exp(-0.5 * ((flux - np.exp(logs)) / (k * error))**2) / k for k in (1.0, factor))
        likelihood = (1 - share) * core + share * far
        cut = [ndtr(flux / (k * error)) for k in (1.0, factor)]  # shares of the two laws above zero
        drawn = np.exp(logs) * ((1 - share) * core / cut[0] + share * far / cut[1])
        log_weight = np.log(likelihood) - np.where(flux > _CLEAR * error, np.log(drawn), 0.0)
    # Drawn from the likelihood in f, a weight 1 / f in ln f; drawn evenly in ln f, the likelihood itself.
    return logs, log_weight
