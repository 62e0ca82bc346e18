"""Estimate minus truth of matched rows, from tables that need not be catalogues of celestepy."""

import numpy as np

from celestepy.catalog.crossmatch import positions
from celestepy.catalog.errors import CatalogError
from celestepy.model.parameters import Bands

__all__ = ["common_bands", "differences", "plain_column", "quantity"]

SHAPES = {"half_light_radius": "arcsec", "axis_ratio": "", "position_angle": "deg", "dev_fraction": ""}
ELONGATED = 0.6  # true axis ratios below which an angle is scored, as in Regier et al. (2019)


def differences(catalog, truth, rows, true_rows, bands):
    """Estimate minus truth, and the error of the estimate, of matched rows.

    Parameters
    ----------
    catalog, truth : table
        Any tables with the catalogue's column names; the truth has ``is_star`` where types are known.
    rows, true_rows : (n,) int arrays
        Matched rows of the two.
    bands : `~celestepy.model.parameters.Bands`
        The bands to compare.

    Returns
    -------
    dict of str to tuple
        By quantity ``(difference, error, unit)``, arrays (n,), NaN where not known: ``position`` (the
        distance), ``ra`` and ``dec`` in arcsec on the sky, ``mag_b``, ``color_bc``, and the shapes of true
        galaxies. Angles differ by 90 deg at most, and are NaN for galaxies rounder than an axis ratio of 0.6.
    """
    result = _of_positions(catalog, truth, rows, true_rows)
    names = [f"mag_{band}" for band in bands] + [f"color_{color}" for color in bands.color_names]
    result |= {name: _of_column(catalog, truth, name, rows, true_rows) for name in names}
    star = plain_column(truth, "is_star", true_rows) > 0.5
    for name in SHAPES:
        delta, error, unit = _of_column(catalog, truth, name, rows, true_rows)
        delta[star] = np.nan
        if name == "position_angle":
            delta = (delta + 90.0) % 180.0 - 90.0
            delta[~(plain_column(truth, "axis_ratio", true_rows) < ELONGATED)] = np.nan
        result[name] = (delta, error, unit)
    return result


def _of_positions(catalog, truth, rows, true_rows):
    (ra, dec), (true_ra, true_dec) = positions(catalog), positions(truth)
    east = (ra[rows] - true_ra[true_rows] + 180.0) % 360.0 - 180.0
    east *= 3600.0 * np.cos(np.radians(true_dec[true_rows]))
    north = 3600.0 * (dec[rows] - true_dec[true_rows])
    unknown = np.full(len(rows), np.nan)
    return {
        "position": (np.hypot(east, north), unknown, "arcsec"),
        "ra": (east, plain_column(catalog, "ra_err", rows, "arcsec"), "arcsec"),
        "dec": (north, plain_column(catalog, "dec_err", rows, "arcsec"), "arcsec"),
    }


def _of_column(catalog, truth, name, rows, true_rows):
    unit = SHAPES.get(name, "mag")
    error = plain_column(catalog, f"{name}_err", rows, unit)
    return quantity(catalog, name, rows) - quantity(truth, name, true_rows), error, unit


def quantity(table, name, rows=slice(None)):
    """Return a column, or what it follows from: a colour from magnitudes, a magnitude from a flux.

    Parameters
    ----------
    table : table
        Any table or mapping of columns.
    name : str
        Name of a magnitude, colour or shape.
    rows : index, optional
        Rows to take.

    Returns
    -------
    (n,) float array
        In mag, arcsec or deg; NaN where not known.
    """
    if name in _names(table):
        return plain_column(table, name, rows, SHAPES.get(name, "mag"))
    if name.startswith("mag_"):
        flux = plain_column(table, name.replace("mag_", "flux_"), rows, "nmgy")
        return 22.5 - 2.5 * np.log10(np.where(flux > 0, flux, np.nan))
    pair = name.removeprefix("color_")
    if len(pair) == 2:
        return quantity(table, f"mag_{pair[0]}", rows) - quantity(table, f"mag_{pair[1]}", rows)
    return plain_column(table, name, rows)


def plain_column(table, name, rows=slice(None), unit=""):
    """Return a column as plain floats, NaN where masked and where the table has none of this name.

    Parameters
    ----------
    table : table
        Any table or mapping of columns, with ``ra`` among them.
    name : str
        Name of the column.
    rows : index, optional
        Rows to take.
    unit : str, optional
        Unit to convert to, if the column has one.

    Returns
    -------
    (n,) float array
    """
    if name not in _names(table):
        return np.full(len(positions(table)[0]), np.nan)[rows]
    column = table[name]
    own = getattr(column, "unit", None)
    if hasattr(column, "filled") and column.dtype.kind == "f":
        column = column.filled(np.nan)
    values = np.array(getattr(column, "value", column), dtype=float)[rows]
    return values * own.to(unit) if own and unit else values


def common_bands(catalog, truth):
    """Return the bands of a catalogue in which the truth has a magnitude or flux.

    Parameters
    ----------
    catalog, truth : table
        A Catalog, or any table with columns ``mag_b``.

    Returns
    -------
    `~celestepy.model.parameters.Bands`

    Raises
    ------
    CatalogError
        If there are none.
    """
    meta, own, true = getattr(catalog, "meta", {}), _names(catalog), _names(truth)
    known = meta.get("bands") or [n[4:] for n in own if n.startswith("mag_") and not n.endswith("_err")]
    bands = [band for band in known if f"mag_{band}" in true or f"flux_{band}" in true]
    if not bands:
        raise CatalogError(
            f"the truth has no column mag_b or flux_b for any band b of the catalogue ({', '.join(known)}); "
            "rename its columns"
        )
    reference = meta.get("reference_band")
    return Bands.of(bands, reference if reference in bands else None)


def _names(table):
    return table.colnames if hasattr(table, "colnames") else list(table.keys())
