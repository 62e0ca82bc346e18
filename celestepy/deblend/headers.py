"""FITS headers for pixels of patches: where they lie on the sky."""

import warnings

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from celestepy.images.wcs import FITSAstrometry

__all__ = ["image_header", "linear_header", "tangent_header"]


def image_header(image, x0, y0, shape):
    """WCS of a part of an image.

    Parameters
    ----------
    image : Image
        The image.
    x0, y0 : int
        First pixel of the part.
    shape : (int, int)
        Its rows and columns.

    Returns
    -------
    `astropy.io.fits.Header`
        Exact where the image has a FITS WCS; else linear about the middle of the part.
    """
    if isinstance(image.astrometry, FITSAstrometry):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            return image.astrometry.wcs[y0:, x0:].to_header(relax=True)
    x, y = x0 + (shape[1] - 1) / 2, y0 + (shape[0] - 1) / 2
    ra, dec = (float(value) for value in image.pixel_to_sky(x, y))
    _, _, jacobian = image.local_affine((ra, dec))
    return tangent_header(ra, dec, x - x0, y - y0, np.linalg.inv(jacobian))


def tangent_header(ra, dec, x, y, jacobian):
    """WCS of pixels that are linear on the tangent plane.

    Parameters
    ----------
    ra, dec : float
        Tangent point, ICRS degrees.
    x, y : float
        Its pixel, 0-based.
    jacobian : (2, 2) array
        d(u, v) / d(x, y), arcsec per pixel, u to the East and v to the North.

    Returns
    -------
    `astropy.io.fits.Header`
        Of a gnomonic projection.
    """
    header = fits.Header([("CTYPE1", "RA---TAN"), ("CTYPE2", "DEC--TAN"), ("CUNIT1", "deg"), ("CUNIT2", "deg"),
                          ("CRVAL1", float(ra)), ("CRVAL2", float(dec)), ("RADESYS", "ICRS")])
    return _with_pixels(header, x, y, jacobian / 3600)


def linear_header(x, y, jacobian):
    """WCS of pixels whose place on the sky is not known.

    Parameters
    ----------
    x, y : float
        Pixel (0-based) of the origin of the plane.
    jacobian : (2, 2) array
        d(u, v) / d(x, y), arcsec per pixel.

    Returns
    -------
    `astropy.io.fits.Header`
        Of offsets in arcsec.
    """
    header = fits.Header([("CTYPE1", "LINEAR"), ("CTYPE2", "LINEAR"), ("CUNIT1", "arcsec"), ("CUNIT2", "arcsec"),
                          ("CRVAL1", 0.0), ("CRVAL2", 0.0)])
    return _with_pixels(header, x, y, jacobian)


def _with_pixels(header, x, y, matrix):
    header["CRPIX1"], header["CRPIX2"] = float(x) + 1, float(y) + 1
    for i in range(2):
        for j in range(2):
            header[f"CD{i + 1}_{j + 1}"] = float(matrix[i, j])
    return header
