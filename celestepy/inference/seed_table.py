"""Seeds as the engines need them: plain arrays in degrees and arcseconds."""

from contextlib import suppress
from dataclasses import dataclass, fields, replace

import astropy.units as u
import numpy as np
from scipy.spatial import cKDTree

from celestepy.detection.seeds import Seeds

__all__ = ["SeedArrays", "read_seeds"]

# Smallest prior width of a position (arcsec): detections are never better than their systematic errors.
_MIN_POSITION_SD, _DEFAULT_POSITION_SD = 0.15, 0.28
# Seeds closer than this (arcsec) are one source given twice.
_SAME_PLACE = 0.2


@dataclass(frozen=True)
class SeedArrays:
    """Positions and first fluxes of the sources to fit.

    Attributes
    ----------
    ra, dec : `~numpy.ndarray`
        Degrees, shape (S,).
    position_sd : `~numpy.ndarray`
        Prior standard deviation of each coordinate (arcsec), shape (S,).
    fluxes : dict of str to `~numpy.ndarray`
        First fluxes by band (nmgy), where the seeds have them.
    ids : `~numpy.ndarray`
        Number of each source in the catalogue, shape (S,).
    found : `~numpy.ndarray`
        True for sources that were not among the seeds but found by the fit itself, shape (S,).
    """

    ra: np.ndarray
    dec: np.ndarray
    position_sd: np.ndarray
    fluxes: dict
    ids: np.ndarray
    found: np.ndarray

    def __len__(self):
        return len(self.ra)

    def flux_of(self, k, bands):
        """First guess of the fluxes of one source, zero where nothing is known."""
        return np.array(
            [max(np.nan_to_num(self.fluxes[band][k]), 0.0) if band in self.fluxes else 0.0 for band in bands]
        )

    @property
    def brightness(self):
        """Largest first flux over the bands (nmgy), shape (S,); zero where nothing is known."""
        known = [np.nan_to_num(flux) for flux in self.fluxes.values()]
        return np.max(known, axis=0) if known else np.zeros(len(self))

    def first_of_each(self):
        """Whether each seed is the first one at its place, shape (S,)."""
        first = np.ones(len(self), dtype=bool)
        offsets = self.tangent_plane()
        if len(self) > 1:
            for i, j in sorted(map(sorted, cKDTree(offsets).query_pairs(_SAME_PLACE))):
                first[j] &= not first[i]
        return first

    def rows(self, index):
        """Some of the seeds."""
        parts = {each.name: getattr(self, each.name) for each in fields(self)}
        fluxes = {band: flux[index] for band, flux in parts.pop("fluxes").items()}
        return SeedArrays(**{name: part[index] for name, part in parts.items()}, fluxes=fluxes)

    def with_more(self, ra, dec, fluxes, position_sd=_DEFAULT_POSITION_SD):
        """These seeds and others that the fit has found, with fluxes by band."""
        n, bands = len(ra), set(self.fluxes) | set(fluxes)
        blank = {band: (self.fluxes.get(band, np.zeros(len(self))), fluxes.get(band, np.zeros(n))) for band in bands}
        return SeedArrays(
            np.concatenate([self.ra, ra]),
            np.concatenate([self.dec, dec]),
            np.concatenate([self.position_sd, np.full(n, position_sd)]),
            {band: np.concatenate(parts) for band, parts in blank.items()},
            np.concatenate([self.ids, self.ids.max(initial=-1) + 1 + np.arange(n)]),
            np.concatenate([self.found, np.ones(n, dtype=bool)]),
        )

    def with_fluxes(self, images):
        """These seeds, with fluxes of point sources measured on the images if none are known in any of their bands.

        Without any, a source would take its neighbours' light for its own in the first fit.
        """
        if any(image.band in self.fluxes for image in images):
            return self
        on = np.any([_is_on(image, self.ra, self.dec) for image in images], axis=0)
        fluxes = {}
        if on.any():
            measured = Seeds.from_table({"ra": self.ra[on], "dec": self.dec[on]}, images)
            for band, flux in zip(measured.bands, measured.flux.T, strict=True):
                fluxes[band] = np.zeros(len(self))
                fluxes[band][on] = np.nan_to_num(flux)
        return replace(self, fluxes=fluxes)

    def tangent_plane(self):
        """Offsets from the middle of the seeds to the East and North (arcsec), shape (S, 2)."""
        if not len(self):
            return np.zeros((0, 2))
        east = (self.ra - self.ra[0] + 180) % 360 - 180
        cosine = np.cos(np.radians(self.dec))
        return np.column_stack([east * cosine, self.dec - self.dec[0]]) * 3600


def _is_on(image, ra, dec):
    x, y = image.sky_to_pixel(ra, dec)
    ny, nx = image.shape
    return (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)


def read_seeds(seeds):
    """Arrays from a `~celestepy.detection.Seeds` or any table with ``ra`` and ``dec``.

    Parameters
    ----------
    seeds : `~celestepy.detection.Seeds`, `~astropy.table.Table` or mapping
        Columns ``ra`` and ``dec`` in degrees or with a unit; ``position_err`` (arcsec) and ``flux_b`` (nmgy) are used
        where present.

    Returns
    -------
    SeedArrays
        The seeds.

    Raises
    ------
    ValueError
        If a position is missing or not finite.
    TypeError
        If it is no table.
    """
    table = getattr(seeds, "table", seeds)
    if not callable(getattr(table, "keys", None)):
        raise TypeError(
            f"seeds: {type(seeds).__name__}, expected Seeds, as detect(images) gives, or a table with ra and "
            "dec in degrees"
        )
    names = set(table.keys())
    missing = [name for name in ("ra", "dec") if name not in names]
    if missing:
        raise ValueError(f"seeds: the column(s) {', '.join(missing)} are missing; expected ra and dec in degrees")
    ra, dec = (_plain(table[name], u.deg) for name in ("ra", "dec"))
    lost = np.flatnonzero(~(np.isfinite(ra) & np.isfinite(dec)))
    if len(lost):
        raise ValueError(
            f"seeds: a position is not finite, that of row {lost[0]} (of {len(lost)} such); remove the rows"
        )
    position_sd = np.full(len(ra), _DEFAULT_POSITION_SD)
    if "position_err" in names:
        error = _plain(table["position_err"], u.arcsec)
        position_sd = np.where(error > 0, np.maximum(error, _MIN_POSITION_SD), _DEFAULT_POSITION_SD)
    return SeedArrays(ra, dec, position_sd, _fluxes(table, names), np.arange(len(ra)), np.zeros(len(ra), dtype=bool))


def _fluxes(table, names):
    """First fluxes by band; what other tables call a flux but is none is not known."""
    fluxes = {}
    for name in sorted(names):
        if name.startswith("flux_") and not name.endswith("_err"):
            with suppress(u.UnitConversionError, TypeError, ValueError):
                fluxes[name[5:]] = _plain(table[name], u.nmgy)
    return fluxes


def _plain(column, unit):
    if getattr(column, "unit", None):
        column = u.Quantity(column).to_value(unit)
    return np.atleast_1d(np.ma.filled(np.ma.asarray(column, dtype=float), np.nan))
