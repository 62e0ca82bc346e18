"""The seeds: where sources may be, with all that a fit needs to begin."""

from enum import IntFlag

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from astropy.utils.exceptions import AstropyUserWarning

__all__ = ["SeedFlag", "SeedWarning", "Seeds"]


class SeedWarning(AstropyUserWarning):
    """Seeds that were given cannot all be used."""


class SeedFlag(IntFlag):
    """What is special about a seed, in the bits that the ``flags`` of a catalogue have for the same thing."""

    SATURATED = 1  #: a saturated pixel lies within the PSF's core in at least one image
    EDGE = 2  #: in some band every exposure that holds the source cuts off part of it
    MASKED = 4  #: in some band masks or edges hide more than a fifth of its information
    DUPLICATE = 256  #: lies on another seed that comes before it


class Seeds:
    """Seeds on an astropy `~astropy.table.QTable`.

    Made by `detect` or `Seeds.from_table`.

    Parameters
    ----------
    table : QTable
        Columns ``ra``, ``dec`` [deg, ICRS], ``position_err`` [arcsec, per coordinate], ``snr`` (combined),
        for each band b ``snr_b``, ``flux_b``, ``flux_b_err`` [nmgy, of a point source], ``half_light_radius``
        [arcsec, a hint], ``flags`` (see `SeedFlag`), and any others.
    bands : sequence of str
        Names of the bands.

    Notes
    -----
    ``len(seeds)`` counts them, ``seeds[...]`` selects rows by index, slice or mask, ``seeds["snr"]`` gives a
    column.
    """

    def __init__(self, table, bands):
        self.table = QTable(table, copy=False)
        self.bands = tuple(bands)

    @classmethod
    def from_table(cls, table, images):
        """Seeds at the positions of any table, measured on the images.

        Parameters
        ----------
        table : Table, QTable, dict or anything `~astropy.table.Table` accepts
            With columns ``ra`` and ``dec`` in any case, degrees ICRS where they have no unit. A column
            ``position_err`` [arcsec where it has no unit] is taken over; other columns are not.
        images : sequence of Image

        Returns
        -------
        Seeds
            In the order of the table, with a column ``row``, the index in the table. Seeds that coincide with
            one before are flagged.

        Raises
        ------
        ImageError
            If a column is missing or is no angle, or no seed lies on an image.

        Warns
        -----
        SeedWarning
            Where rows without a position, or outside all images, are dropped.
        """
        from celestepy.detection.seed_table import seeds_from_table

        return seeds_from_table(table, images)

    def __len__(self):
        return len(self.table)

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.table[key]
        if isinstance(key, (int, np.integer)):
            key = slice(int(key), int(key) + 1 or None)
        return Seeds(self.table[key], self.bands)

    def __repr__(self):
        flagged = int(np.count_nonzero(self.flags))
        return f"<Seeds: {len(self)} in bands {', '.join(self.bands)}, {flagged} flagged>"

    @property
    def coord(self):
        """Positions as a `~astropy.coordinates.SkyCoord`."""
        return SkyCoord(self.table["ra"], self.table["dec"])

    @property
    def ra(self):
        """(n,) right ascension, degrees."""
        return self.table["ra"].to_value(u.deg)

    @property
    def dec(self):
        """(n,) declination, degrees."""
        return self.table["dec"].to_value(u.deg)

    @property
    def position_err(self):
        """(n,) position error per coordinate, arcsec."""
        return self.table["position_err"].to_value(u.arcsec)

    @property
    def snr(self):
        """(n,) combined S/N."""
        return np.asarray(self.table["snr"])

    @property
    def snr_bands(self):
        """(n, n_bands) S/N of each band."""
        return np.column_stack([self.table[f"snr_{band}"] for band in self.bands])

    @property
    def flux(self):
        """(n, n_bands) point-source fluxes, nmgy."""
        return np.column_stack([self.table[f"flux_{band}"].to_value(u.nmgy) for band in self.bands])

    @property
    def flux_err(self):
        """(n, n_bands) errors of the fluxes, nmgy."""
        return np.column_stack([self.table[f"flux_{band}_err"].to_value(u.nmgy) for band in self.bands])

    @property
    def half_light_radius(self):
        """(n,) hint at the size, arcsec."""
        return self.table["half_light_radius"].to_value(u.arcsec)

    @property
    def flags(self):
        """(n,) int, sums of `SeedFlag`."""
        return np.asarray(self.table["flags"])

    def has(self, flag):
        """Tell which seeds have a flag.

        Parameters
        ----------
        flag : `SeedFlag` or int
            One flag, or a sum of several.

        Returns
        -------
        (n,) bool array
            Whether any of them is set.
        """
        return (self.flags & int(flag)) != 0
