"""The sources of a field as the division into blends needs them: where they are, and how far their light reaches."""

from dataclasses import dataclass

import numpy as np
from astropy.table import QTable, Table

from celestepy.catalog import Catalog
from celestepy.deblend.blends import HALF_LIGHT_TO_SIGMA, visible_radius
from celestepy.deblend.errors import DeblendError
from celestepy.deblend.starts import SHAPES, catalog_column
from celestepy.detection import Seeds, detect
from celestepy.images.psf_mixture import SIGMA_TO_FWHM
from celestepy.images.wcs import tangent_offsets

__all__ = ["FieldSources", "field_sources"]

@dataclass(frozen=True, eq=False)
class FieldSources:
    """Sources of a field.

    Attributes
    ----------
    rows : (n,) array
        Which rows of the table they were.
    ra, dec : (n,) arrays
        Degrees.
    origin : (float, float)
        ra, dec of the tangent point.
    offsets : (n, 2) array
        East and North of it, arcsec.
    radii : (n,) array
        How far they are seen, arcsec.
    fwhm : float
        Of the broadest PSF, arcsec.
    pixel_scale : float
        Of the image with the finest pixels, arcsec.
    catalog : QTable or None
        Types and shapes, where they are known.
    """

    rows: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    origin: tuple
    offsets: np.ndarray
    radii: np.ndarray
    fwhm: float
    pixel_scale: float
    catalog: object

    def __len__(self):
        return len(self.ra)


def field_sources(images, catalog=None, threshold=None):
    """Sources from a catalogue, from any table of positions, or detected.

    Parameters
    ----------
    images : list of Image
        The images.
    catalog : Catalog, Seeds or table, optional
        See `deblend_field`.
    threshold : float, optional
        Of the detection.

    Returns
    -------
    FieldSources
        Those on an image.

    Raises
    ------
    DeblendError
        If there are none, a threshold is given beside a catalogue, or the catalogue is no table of numbers.
    ImageError
        If the table has no positions.
    """
    if catalog is not None and threshold is not None:
        raise DeblendError(f"threshold: {threshold}, but the sources are given; leave one of the two out")
    if catalog is None:
        seeds = detect(images, **({} if threshold is None else {"threshold": threshold}))
        if not len(seeds):
            raise DeblendError("images: no source was found; give a catalogue, or a lower threshold")
        return _of_seeds(images, seeds, np.arange(len(seeds)), None)
    if isinstance(catalog, Seeds):
        return _of_seeds(images, catalog, np.arange(len(catalog)), None)
    table = QTable({name: catalog[name] for name in catalog.colnames}) if isinstance(catalog, Catalog) else catalog
    table = table if isinstance(table, Table) else _table(table)
    seeds = Seeds.from_table(table, images)
    rows = np.asarray(seeds["row"])
    known = table[rows] if set(SHAPES) <= set(table.colnames) else None
    return _of_seeds(images, seeds, rows, known)


def _table(given):
    """A table of what is none: a dictionary, a structured array, a data frame."""
    try:
        return Table.from_pandas(given) if hasattr(given, "iterrows") else Table(given)
    except (TypeError, ValueError) as error:
        raise DeblendError(f"catalog: {type(given).__name__} ({error}), expected a table with ra and dec; read a file "
                           "with astropy.table.QTable.read") from None


def _of_seeds(images, seeds, rows, known):
    ra, dec = seeds.ra, seeds.dec
    origin = float(ra[0]), float(dec[0])
    offsets = np.stack(tangent_offsets(ra, dec, *origin), axis=1)
    sigmas, pixels = zip(*(_seeing(image) for image in images), strict=True)
    half_light = seeds.half_light_radius if known is None else _radii(known)
    width = np.hypot(max(sigmas), HALF_LIGHT_TO_SIGMA * np.nan_to_num(half_light))
    radii = visible_radius(width, seeds.snr, float(np.median(pixels)))
    return FieldSources(rows, ra, dec, origin, offsets, radii, SIGMA_TO_FWHM * max(sigmas), min(pixels), known)


def _radii(known):
    """Half-light radii, arcsec; 0 for stars."""
    is_star = catalog_column(known, "star_probability") > 0.5
    return np.where(is_star, 0.0, catalog_column(known, "half_light_radius"))


def _seeing(image):
    """Width of the PSF (standard deviation) in the middle of an image, and side of a pixel, arcsec."""
    height, width = image.shape
    x, y = (width - 1) / 2, (height - 1) / 2
    ra, dec = (float(value) for value in image.pixel_to_sky(x, y))
    _, _, jacobian = image.local_affine((ra, dec))
    scale = 1 / np.sqrt(abs(np.linalg.det(jacobian)))
    return image.psf.at(x, y).fwhm / SIGMA_TO_FWHM * scale, scale
