"""The deep catalogue of a field of Stripe 82 and Photo's of one exposure, in the catalogue's columns.

What is scored follows table 6 of Regier et al. (2019): sources of 16 < r < 22.5 that are not saturated, colours where
the deep magnitudes are good enough to be called true, radii and axis ratios of galaxies that are nearly pure
exponentials or de Vaucouleurs profiles, since the deep catalogue has a shape for each of these alone.
"""

import astropy.units as u
import numpy as np
from astropy.table import QTable, Table

from celestepy.catalog.differences import quantity
from celestepy.simulate import PIXEL_SCALE

BANDS = "ugriz"
COLORS = ("ug", "gr", "ri", "iz")
MAG_RANGE = (16.0, 22.5)
_DEPTH = {"u": 23.5, "g": 24.5, "r": 24.0, "i": 23.5, "z": 22.5}  # mag, of the deep catalogue
_SOFTENING = {"u": 1.4e-10, "g": 0.9e-10, "r": 1.2e-10, "i": 1.8e-10, "z": 7.4e-10}  # maggies, of asinh magnitudes
_PURE = 0.05  # of the other profile at most
_LARGEST = 20 * PIXEL_SCALE  # arcsec, half-light radius
_FRAME, _MARGIN = (1489, 2048), 10  # pixels (y, x) of the r frame, and its edge that is not scored
_STAR, _GALAXY = 6, 3  # Photo's types


def truth(path):
    """The deep catalogue, all sources for the matching, of which some are scored.

    Parameters
    ----------
    path : path-like
        ``coadd_truth_west.fits``.

    Returns
    -------
    QTable
        In the catalogue's columns, circularised radii, NaN where a quantity is not scored; ``x, y`` are pixels of
        the r frame, and ``scored`` says which sources count.
    """
    table = Table.read(path)
    star, dev = _plain(table, "probpsf") > 0.5, np.clip(_plain(table, "fracdev_r"), 0, 1)
    mags = {}
    for band in BANDS:
        fluxes = [10 ** (-0.4 * _plain(table, f"{profile}mag_{band}")) for profile in ("dev", "exp")]
        galaxy = -2.5 * np.log10(dev * fluxes[0] + (1 - dev) * fluxes[1])
        mags[band] = np.where(star, _plain(table, f"psfmag_{band}"), galaxy)
    names = [[f"{profile}{name}_r" for profile in ("dev", "exp")] for name in ("rad", "ab", "phi")]
    shape = [np.where(dev > 0.5, *(_plain(table, name) for name in pair)) for pair in names]
    result = _in_columns(table, star, dev, *shape)
    result["mag_r"] = mags["r"] * u.mag
    for color in COLORS:
        deep = (mags[color[0]] < _DEPTH[color[0]]) & (mags[color[1]] < _DEPTH[color[1]])
        result[f"color_{color}"] = np.where(deep, mags[color[0]] - mags[color[1]], np.nan) * u.mag
    mixed = (dev >= _PURE) & (dev <= 1 - _PURE)
    for name in ("half_light_radius", "axis_ratio"):
        result[name][star | mixed] = np.nan
    result["x"], result["y"] = _plain(table, "x"), _plain(table, "y")
    small = star | (shape[0] < _LARGEST)
    good = small & (_plain(table, "is_saturated") == 0) & (mags["r"] > MAG_RANGE[0]) & (mags["r"] < MAG_RANGE[1])
    inside = [(result[axis] > _MARGIN) & (result[axis] < size - _MARGIN) for axis, size in zip("yx", _FRAME)]
    result["scored"] = good & inside[0] & inside[1]
    return result


def photo(path):
    """Photo's own catalogue of the exposure.

    Parameters
    ----------
    path : path-like
        ``photoObj-000094-1-0012.fits``.

    Returns
    -------
    QTable
        In the catalogue's columns, circularised radii; ``star_probability`` is its type, 0 or 1, and
        ``point_likeness`` its ratio of PSF to composite flux, by which stars can be ranked.
    """
    table = Table.read(path)
    whole = (np.asarray(table["NCHILD"]) == 0) & np.isin(np.asarray(table["OBJC_TYPE"]), (_GALAXY, _STAR))
    table = table[whole]
    star, dev = np.asarray(table["OBJC_TYPE"]) == _STAR, np.clip(_plain(table, "FRACDEV"), 0, 1)
    r = BANDS.index("r")
    names = [("THETA_DEV", "THETA_EXP"), ("AB_DEV", "AB_EXP"), ("PHI_DEV_DEG", "PHI_EXP_DEG")]
    shape = [np.where(dev[:, r] > 0.5, *(_plain(table, name)[:, r] for name in pair)) for pair in names]
    result = _in_columns(table, star, dev[:, r], *shape)
    result["star_probability"] = star.astype(float)
    flux = dev * _plain(table, "DEVFLUX") + (1 - dev) * _plain(table, "EXPFLUX")
    flux = np.where(star[:, None], _plain(table, "PSFFLUX"), flux)
    for k, band in enumerate(BANDS):
        result[f"mag_{band}"] = _asinh_magnitude(flux[:, k], _SOFTENING[band]) * u.mag
    point, composite = (_plain(table, f"{name}FLUX")[:, 1:4].sum(axis=1) for name in ("PSF", "CMODEL"))
    result["point_likeness"] = point / np.maximum(composite, 1e-3)
    return result


def circularised(catalog):
    """A catalogue's table with circularised radii, as the two above have; rows without an estimate left out."""
    table = QTable(catalog.table, copy=True)
    table["half_light_radius"] = table["half_light_radius"] * np.sqrt(table["axis_ratio"])
    known = np.isfinite(np.asarray(table["star_probability"])) & np.isfinite(quantity(table, "mag_r"))
    return table[known], np.flatnonzero(known)


def _plain(table, name):
    column = table[name] if name in table.colnames else table[name.upper()]
    return np.asarray(column.filled(np.nan) if hasattr(column, "filled") else column, dtype=float)


def _in_columns(table, star, dev, radius, axis_ratio, angle):
    ra, dec = _plain(table, "ra"), _plain(table, "dec")
    result = QTable({"ra": ra * u.deg, "dec": dec * u.deg, "is_star": star})
    result["half_light_radius"] = radius * np.sqrt(axis_ratio) * u.arcsec
    result["axis_ratio"], result["position_angle"] = axis_ratio, angle % 180 * u.deg
    result["dev_fraction"] = dev
    return result


def _asinh_magnitude(flux, softening):
    """Magnitude of a flux in nanomaggies as SDSS publishes it (Lupton, Gunn & Szalay 1999): finite at any flux."""
    return -2.5 / np.log(10) * (np.arcsinh(flux * 1e-9 / (2 * softening)) + np.log(softening))
