"""Building `Seeds`: from measured peaks, or from any table of positions."""

import warnings

import astropy.units as u
import numpy as np
from astropy.table import QTable, Table
from scipy.spatial import cKDTree

from celestepy.detection.matched_filter import filter_image
from celestepy.detection.measure import Sampler, measure
from celestepy.detection.positions import image_positions, on_image
from celestepy.detection.saturation import near_saturated
from celestepy.detection.seeds import SeedFlag, Seeds, SeedWarning
from celestepy.detection.significance import combine
from celestepy.images.errors import ImageError, one_line
from celestepy.images.image import Image

__all__ = ["checked_images", "make_seeds", "seed_positions", "seeds_from_table"]

EDGE_REACH = 3.0  # PSF sigmas from the edge within which part of a source is cut off
LEAST_VISIBLE = 0.8  # share of the information below which a seed is flagged as masked
SAME_PLACE = 1e-3  # arcsec; closer seeds are duplicates
MOST_ERROR = 60.0  # arcsec; who knows no better does not know which source is meant
LEAST_ERROR = 0.28  # arcsec; of positions whose errors nobody has told: what is measured is the noise alone


def checked_images(images):
    """A list of images, from one or several."""
    images = [images] if isinstance(images, Image) else list(images)
    strange = [type(image).__name__ for image in images if not isinstance(image, Image)]
    if not images or strange:
        found = strange[0] if strange else "none"
        raise ImageError(f"images: {found}, expected one or more Image, as read_sdss_field or Image() give")
    return images


def make_seeds(maps, x, y, measured, rows, share):
    """Seeds from measurements.

    Parameters
    ----------
    maps : CombinedMaps
    x, y : (n,) float
        Grid positions.
    measured : Measurement
        Of at least these sources.
    rows : (n,) int
        Where they are in `measured`.
    share : (n_measured,) float
        Share of the S/N and fluxes that is the source's own, the rest being a neighbour's.
    """
    ra, dec = maps.grid.pixel_to_sky(x, y)
    own = share[rows]
    table = QTable({"ra": ra * u.deg, "dec": dec * u.deg})
    table["position_err"] = measured.position_err[rows] / own * u.arcsec
    table["snr"] = measured.snr[rows] * own
    for k, band in enumerate(maps.bands):
        flux, error = measured.flux[rows, k] * own, measured.flux_err[rows, k]
        table[f"snr_{band}"] = np.nan_to_num(flux / error)
        table[f"flux_{band}"], table[f"flux_{band}_err"] = flux * u.nmgy, error * u.nmgy
    table["half_light_radius"] = measured.half_light_radius[rows] * u.arcsec
    table["flags"] = _flags(maps.filtered, ra, dec, measured.visible[rows])
    return Seeds(table, maps.bands)


def seeds_from_table(table, images):
    """See `Seeds.from_table`."""
    images = checked_images(images)
    ra, dec, position_err = seed_positions(table)
    rows = _rows_on_images(ra, dec, images)
    maps = combine([filter_image(image) for image in images])
    x, y = maps.grid.sky_to_pixel(ra[rows], dec[rows])
    seeds = make_seeds(maps, x, y, measure(Sampler(maps), x, y), np.arange(len(rows)), np.ones(len(rows)))
    seeds.table["ra"], seeds.table["dec"] = ra[rows] * u.deg, dec[rows] * u.deg  # as given, to the last bit
    if position_err is None:
        seeds.table["position_err"] = np.maximum(seeds.position_err, LEAST_ERROR) * u.arcsec
    else:
        seeds.table["position_err"] = position_err[rows] * u.arcsec
    seeds.table["flags"] |= np.where(_repeats(ra[rows], dec[rows]), int(SeedFlag.DUPLICATE), 0)
    seeds.table["row"] = rows
    return seeds


def seed_positions(table):
    """Positions from any table.

    Parameters
    ----------
    table : Table or anything `~astropy.table.Table` accepts
        See `Seeds.from_table`.

    Returns
    -------
    ra, dec : (n,) float64
        Degrees, NaN where masked.
    position_err : (n,) float64 or None
        Arcsec.

    Raises
    ------
    ImageError
        If there are no rows, a column is missing or is no angle, or a declination is impossible.
    """
    table = table if isinstance(table, Table) else _as_table(table)
    names = {name.lower(): name for name in reversed(table.colnames)}
    missing = [name for name in ("ra", "dec") if name not in names]
    if missing:
        raise ImageError(
            f"seeds: no column {' nor '.join(missing)}, the table has {', '.join(table.colnames) or 'no columns'};"
            " expected ra and dec (any case), degrees ICRS; rename the columns of the table"
        )
    ra, dec = (_angle(table[names[name]], name, u.deg) for name in ("ra", "dec"))
    if not len(ra):
        raise ImageError("seeds: no rows, expected one position at least; leave the seeds out to have sources detected")
    error = names.get("position_err")
    error = None if error is None else _angle(table[error], "position_err", u.arcsec)
    if error is not None and ((error < 0) | (error > MOST_ERROR)).any():
        wrong = error[(error < 0) | (error > MOST_ERROR)][0]
        raise ImageError(
            f"seeds: position_err {wrong:g}, expected errors of 0 to {MOST_ERROR:g} arcsec; give the column its unit,"
            " or leave it out"
        )
    beyond = np.abs(dec) > 90
    if beyond.any():
        raise ImageError(f"seeds: dec {dec[beyond][0]:g}, expected -90 to 90 deg; are ra and dec swapped?")
    return ra, dec, error


def _as_table(table):
    try:
        return Table(table)
    except (TypeError, ValueError) as error:
        raise ImageError(
            f"seeds: {type(table).__name__}, expected a table with columns ra and dec ({one_line(error)})"
        ) from None


def _angle(column, name, unit):
    """A column as float64 in `unit`, which is also assumed where it has none."""
    try:
        values = np.ma.asarray(column.value if isinstance(column, u.Quantity) else column)
        numbers = np.ma.filled(values.astype(float), np.nan)
        given = u.Unit(getattr(column, "unit", None) or unit)
        return np.atleast_1d((numbers * given).to_value(unit))
    except u.UnitConversionError as error:
        raise ImageError(
            f"seeds: column {name} is no angle ({one_line(error)}); expected {unit} or another unit of angle"
        ) from None
    except (ValueError, TypeError, AttributeError):
        first = _first_text(column)
        raise ImageError(
            f"seeds: column {name} holds {first!r}, expected numbers in {unit} or with a unit of angle; convert"
            " sexagesimal positions with astropy.coordinates.SkyCoord"
        ) from None


def _first_text(column):
    """The first entry of a column that is no number."""
    for entry in np.ravel(np.ma.filled(np.ma.asarray(column), "masked") if hasattr(column, "mask") else column):
        try:
            float(entry)
        except (TypeError, ValueError):
            return str(entry)
    return str(column)


def _rows_on_images(ra, dec, images):
    """Rows that lie on at least one image; warns about the others."""
    known = np.isfinite(ra) & np.isfinite(dec)
    on = np.zeros(len(ra), bool)
    for image in images:
        on[known] |= on_image(image, *image_positions(image, ra[known], dec[known]))
    if not on.any():
        raise ImageError(
            f"seeds: none of {len(ra)} lies on any of the {len(images)} images; check that ra and dec are in"
            " degrees ICRS and belong to this field"
        )
    reasons = [f"{np.count_nonzero(~known)} without a position"] if not known.all() else []
    outside = np.count_nonzero(known & ~on)
    reasons += [f"{outside} outside all images"] if outside else []
    if reasons:
        warnings.warn(f"seeds: dropped {' and '.join(reasons)}, of {len(ra)}", SeedWarning, stacklevel=4)
    return np.flatnonzero(on)


def _repeats(ra, dec):
    """(n,) bool: whether an earlier row has the same position."""
    lon, lat = np.radians(ra), np.radians(dec)
    points = np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    pairs = cKDTree(points).query_pairs(np.radians(SAME_PLACE / 3600), output_type="ndarray")
    repeated = np.zeros(len(ra), bool)
    repeated[pairs.max(axis=1) if len(pairs) else []] = True
    return repeated


def _flags(filtered, ra, dec, visible):
    """(n,) int sums of SATURATED, EDGE and MASKED."""
    flags = np.where(near_saturated(filtered, ra, dec), int(SeedFlag.SATURATED), 0)
    touched, whole = _seen(filtered, ra, dec)
    flags |= np.where((touched & ~whole).any(axis=1), int(SeedFlag.EDGE), 0)
    return flags | np.where((touched & (visible < LEAST_VISIBLE)).any(axis=1), int(SeedFlag.MASKED), 0)


def _seen(filtered, ra, dec):
    """Whether an exposure of the band holds the centre, and one the whole, of a source; (n, n_bands) bool."""
    bands = list(dict.fromkeys(one.image.band for one in filtered))
    touched, whole = (np.zeros((len(ra), len(bands)), bool) for _ in range(2))
    for one in filtered:
        x, y = image_positions(one.image, ra, dec)
        ny, nx = one.image.shape
        room = np.minimum(np.minimum(x, nx - 1 - x), np.minimum(y, ny - 1 - y))
        k = bands.index(one.image.band)
        touched[:, k] |= room > -0.5
        whole[:, k] |= room >= EDGE_REACH * one.sigma
    return touched, whole
