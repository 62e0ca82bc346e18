"""Rows of the Gaia catalogue: values with their covariances from its columns, and simulated rows of known truth."""

from itertools import combinations

import numpy as np
from astropy.table import Table
from scipy.special import expit

from celestepy.density.arguments import random_generator
from celestepy.density.milky_way import COLUMNS, milky_way
from celestepy.density.noisy_rows import DensityError

__all__ = ["COLUMNS", "gaia_rows", "simulate_gaia"]

ASTROMETRY = COLUMNS[:5]
_PAIRS = tuple(combinations(ASTROMETRY, 2))
_MAS = 1 / 3_600_000  # degrees
_MAG = 2.5 / np.log(10)  # magnitudes of an error of the relative flux

# Typical errors at magnitudes G, close to those of the third data release
_G = (13.0, 14.5, 15.5, 16.5, 17.5, 18.5, 19.25, 19.75, 20.25, 20.75)
_PARALLAX_ERROR = (0.018, 0.023, 0.037, 0.059, 0.094, 0.185, 0.31, 0.44, 0.66, 1.1)  # mas
_COLOR_ERROR = (0.0015, 0.002, 0.003, 0.007, 0.016, 0.037, 0.06, 0.1, 0.15, 0.21)  # mag
_G_ERROR = (0.0003, 0.0003, 0.0004, 0.0006, 0.0011, 0.002, 0.0031, 0.0043, 0.006, 0.0095)  # mag
_RATIOS = (0.82, 0.75, 1.0, 1.03, 0.93)  # of the five astrometric errors to that of the parallax
_SCATTER = 0.35  # of the logarithms of errors of equal magnitude: how often a star was seen
_MEAN_CORRELATIONS = (0.12, -0.03, -0.14, -0.08, -0.1, -0.06, -0.23, -0.06, 0.05, 0.11)
_LOOKS = 16  # degrees of freedom of the correlations, which scatter by about one over their square root


def gaia_rows(table):
    """Values and covariances of the noise from the columns of Gaia, ready to be deconvolved.

    Parameters
    ----------
    table : `~astropy.table.Table` or mapping
        With the columns ra, dec, parallax, pmra, pmdec, their ``_error`` and ``_corr`` columns, bp_rp,
        phot_g_mean_mag, and the three ``phot_*_mean_flux_over_error``, under the names and in the units of Gaia.

    Returns
    -------
    values : (n, 7) array
        ra, dec (degrees), parallax (mas), pmra, pmdec (mas/yr), bp_rp, phot_g_mean_mag (mag); NaN where missing. A
        value is missing, too, where its error is, or is negative or infinite, as is that of a flux without signal.
    covariance : (n, 7, 7) array
        Covariances in the same units; the errors of ra and dec are turned from mas into degrees, and that of
        the right ascension from the great circle into the coordinate.

    Raises
    ------
    DensityError
        If a column is missing, or a correlation of two values that are there.
    """
    values = np.stack([_column(table, name) for name in COLUMNS], axis=1)
    errors = _errors(table, values[:, 1])
    unknown = ~((errors >= 0) & np.isfinite(errors))
    values[unknown], errors[unknown] = np.nan, 0.0
    covariance = np.zeros((len(values), 7, 7))
    i = np.arange(7)
    covariance[:, i, i] = errors**2
    for a, b in _PAIRS:
        j, k = ASTROMETRY.index(a), ASTROMETRY.index(b)
        both = ~np.isnan(values[:, [j, k]]).any(axis=1)
        correlation = np.where(both, _column(table, f"{a}_{b}_corr"), 0.0)
        if np.isnan(correlation).any():
            row = int(np.argmax(np.isnan(correlation)))
            raise DensityError(f"table: {a}_{b}_corr of row {row} is missing, while {a} and {b} are not; mask one")
        covariance[:, j, k] = covariance[:, k, j] = correlation * errors[:, j] * errors[:, k]
    return values, covariance


def _errors(table, declination):
    """Standard errors of the seven columns in their units."""
    errors = np.stack([_column(table, f"{name}_error") for name in ASTROMETRY], axis=1)
    errors[:, 0] *= _MAS / np.maximum(np.abs(np.cos(np.radians(declination))), 1e-6)
    errors[:, 1] *= _MAS
    signals = np.stack([_column(table, f"phot_{band}_mean_flux_over_error") for band in ("g", "bp", "rp")], axis=1)
    green, blue, red = (_MAG / np.where(signals > 0, signals, np.nan)).T
    return np.column_stack([errors, np.hypot(blue, red), green])


def _column(table, name):
    try:
        column = table[name]
    except KeyError:
        raise DensityError(f"table: no column {name}; it needs those of Gaia's source table") from None
    return np.ma.filled(np.ma.asarray(column).astype(float), np.nan)


def simulate_gaia(n, rng=None, truth=None):
    """Simulated rows with the errors of Gaia, of which the true density is known.

    True values are drawn from a mixture. Errors of the astrometry have the correlations and the dependence on
    magnitude of the third data release, and 18 % of the rows have no parallax and proper motion, the faintest most
    often; 8 % have no colour. What decides on errors and gaps is the *observed* magnitude: then the density
    of the noisy rows is that of the truth convolved with the noise, and nothing else.

    Parameters
    ----------
    n : int
        Number of rows.
    rng : `numpy.random.Generator` or int, optional
        Source of randomness, or a seed.
    truth : GaussianMixture, optional
        In the seven columns; `~celestepy.density.milky_way.milky_way` by default.

    Returns
    -------
    table : `~astropy.table.Table`
        Columns of Gaia, for `gaia_rows`.
    true_values : (n, 7) array
        What the rows would be without noise.
    truth : GaussianMixture
        The density they were drawn from.

    Examples
    --------
    >>> from celestepy.density.gaia import gaia_rows, simulate_gaia
    >>> table, true_values, truth = simulate_gaia(1000, rng=1)
    >>> values, covariance = gaia_rows(table)
    >>> values.shape, covariance.shape
    ((1000, 7), (1000, 7, 7))
    >>> score = truth.log_density(values, covariance).mean()
    """
    rng = random_generator(rng)
    truth = milky_way() if truth is None else truth
    true_values = truth.sample(n, rng)
    table = Table()
    green_error = _error_at(true_values[:, 6], _G_ERROR, rng)
    magnitude = true_values[:, 6] + green_error * rng.standard_normal(n)
    errors = _error_at(magnitude, _PARALLAX_ERROR, rng)[:, None] * _RATIOS
    correlations, factors = _correlations(n, rng)
    noise = errors * np.einsum("nab,nb->na", factors, rng.standard_normal((n, 5)))
    noise[:, 0] *= _MAS / np.maximum(np.abs(np.cos(np.radians(true_values[:, 1]))), 1e-6)
    noise[:, 1] *= _MAS
    _fill_astrometry(table, true_values[:, :5] + noise, errors, correlations, _gaps(magnitude, rng))
    color_error = _error_at(magnitude, _COLOR_ERROR, rng)
    table["bp_rp"] = true_values[:, 5] + color_error * rng.standard_normal(n)
    table["phot_g_mean_mag"] = magnitude
    for band, error in (("g", green_error), ("bp", color_error * 0.8), ("rp", color_error * 0.6)):
        table[f"phot_{band}_mean_flux_over_error"] = _MAG / error
    colorless = rng.random(n) < np.interp(magnitude, (16, 20.5), (0.01, 0.13))
    for name in ("bp_rp", "phot_bp_mean_flux_over_error", "phot_rp_mean_flux_over_error"):
        table[name][colorless] = np.nan
    return table, true_values, truth


def _error_at(magnitude, errors, rng):
    """Errors that are typical of magnitudes, with scatter."""
    return np.exp(np.interp(magnitude, _G, np.log(errors)) + _SCATTER * rng.standard_normal(len(magnitude)))


def _gaps(magnitude, rng):
    """Rows without parallax and proper motion: hardly any to G = 19, most at 21."""
    return rng.random(len(magnitude)) < 0.9 * expit((magnitude - 20.25) / 0.3)


def _correlations(n, rng):
    """Correlation matrices that scatter about the mean ones, and their lower factors: a Wishart law, normalised."""
    mean = np.eye(5)
    mean[np.triu_indices(5, 1)] = _MEAN_CORRELATIONS
    mean = np.triu(mean) + np.triu(mean, 1).T
    lower = np.zeros((n, 5, 5))  # the decomposition of Bartlett (1933)
    below, i = np.tril_indices(5, -1), np.arange(5)
    lower[:, below[0], below[1]] = rng.standard_normal((n, 10))
    lower[:, i, i] = np.sqrt(rng.chisquare(_LOOKS - i, (n, 5)))
    factors = np.linalg.cholesky(mean) @ lower
    factors /= np.sqrt(np.sum(factors**2, axis=2, keepdims=True))
    return factors @ factors.transpose(0, 2, 1), factors


def _fill_astrometry(table, values, errors, correlations, gaps):
    """Columns of values, errors and correlations; those beyond the place are NaN in the gaps."""
    for k, name in enumerate(ASTROMETRY):
        table[name] = np.where(gaps & (k > 1), np.nan, values[:, k])
        table[f"{name}_error"] = np.where(gaps & (k > 1), np.nan, errors[:, k])
    for a, b in _PAIRS:
        j, k = ASTROMETRY.index(a), ASTROMETRY.index(b)
        table[f"{a}_{b}_corr"] = np.where(gaps & (k > 1), np.nan, correlations[:, j, k])
