"""One-to-one matching of two tables on the sky."""

from typing import NamedTuple

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from scipy.spatial import cKDTree

from celestepy.catalog.errors import CatalogError

__all__ = ["Match", "crossmatch", "positions"]


class Match(NamedTuple):
    """Pairs of rows, in the order of the first table.

    Attributes
    ----------
    left, right : (n,) int arrays
        Rows of the first and of the second table; no row is in two pairs.
    separation : (n,) array
        Distance on the sky in arcsec.
    """

    left: np.ndarray
    right: np.ndarray
    separation: np.ndarray


def crossmatch(left, right, radius=1.0):
    """Pair the rows of two tables that are each other's nearest neighbour within a radius.

    Parameters
    ----------
    left, right : Catalog, `~astropy.table.Table`, `~astropy.coordinates.SkyCoord` or mapping
        Tables with columns ``ra`` and ``dec`` (degrees, ICRS, if they have no unit). Rows whose position is
        not finite match nothing.
    radius : float or Quantity
        Largest distance, in arcsec if it has no unit.

    Returns
    -------
    Match
        The pairs.

    Raises
    ------
    CatalogError
        If a table has no positions or the radius is not positive.

    Examples
    --------
    >>> from celestepy.catalog.crossmatch import crossmatch
    >>> left = {"ra": [10.0, 20.0], "dec": [0.0, 0.0]}
    >>> right = {"ra": [20.0001, 10.0, 30.0], "dec": [0.0, 0.0001, 0.0]}
    >>> match = crossmatch(left, right, radius=1.0)
    >>> match.left.tolist(), match.right.tolist()
    ([0, 1], [1, 0])
    """
    radius = units.Quantity(radius, "arcsec").value if hasattr(radius, "unit") else float(radius)
    if not radius > 0:
        raise CatalogError(f"radius is {radius} arcsec, expected a positive number")
    a, b = _unit_vectors(left), _unit_vectors(right)
    rows_a, rows_b = (np.flatnonzero(np.isfinite(vectors).all(axis=1)) for vectors in (a, b))
    if not (len(rows_a) and len(rows_b)):
        return Match(np.empty(0, dtype=int), np.empty(0, dtype=int), np.empty(0))
    chord, nearest = cKDTree(b[rows_b]).query(a[rows_a])
    _, back = cKDTree(a[rows_a]).query(b[rows_b])
    separation = 3600 * np.degrees(2 * np.arcsin(np.minimum(0.5 * chord, 1.0)))
    mutual = (back[nearest] == np.arange(len(rows_a))) & (separation <= radius)
    return Match(rows_a[mutual], rows_b[nearest[mutual]], separation[mutual])


def positions(table):
    """Return right ascension and declination of a table's rows in degrees, as plain arrays.

    Parameters
    ----------
    table : Catalog, `~astropy.table.Table`, `~astropy.coordinates.SkyCoord` or mapping
        See `crossmatch`.

    Returns
    -------
    ra, dec : (n,) arrays
        Degrees; NaN where masked.
    """
    if isinstance(table, SkyCoord):
        return np.atleast_1d(table.icrs.ra.deg), np.atleast_1d(table.icrs.dec.deg)
    try:
        columns = table["ra"], table["dec"]
    except (KeyError, TypeError):
        raise CatalogError("a table to match has no columns 'ra' and 'dec'; rename its columns") from None
    return tuple(_degrees(column) for column in columns)


def _degrees(column):
    unit = getattr(column, "unit", None)
    if hasattr(column, "filled"):
        column = column.filled(np.nan)
    values = np.asarray(getattr(column, "value", column), dtype=float)
    return np.atleast_1d(values if unit is None else units.Quantity(values, unit).to_value("deg"))


def _unit_vectors(table):
    ra, dec = (np.radians(angle) for angle in positions(table))
    with np.errstate(invalid="ignore"):  # infinite positions become NaN and are left out
        return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
