"""Where sky positions fall on an image, also where its astrometry has no answer."""

import numpy as np
from astropy.wcs import NoConvergence

__all__ = ["image_positions", "on_image"]

FAR = 1e6  # pixels


def image_positions(image, ra, dec):
    """Pixel x, y of ra, dec [deg]; far outside the image where a distorted astrometry cannot be inverted.

    Parameters
    ----------
    image : Image
    ra, dec : (n,) float
        Degrees.

    Returns
    -------
    x, y : (n,) float64
        Finite.
    """
    try:
        x, y = image.sky_to_pixel(ra, dec)
    except NoConvergence as error:
        x, y = np.array(error.best_solution, float).T
        failed = np.zeros(len(x), bool)
        for rows in (error.divergent, error.slow_conv):
            failed[[] if rows is None else rows] = True
        x[failed] = y[failed] = np.nan
    return tuple(np.clip(np.nan_to_num(values, nan=-FAR), -FAR, FAR) for values in (x, y))


def on_image(image, x, y):
    """(n,) bool: whether pixel positions lie on the image."""
    ny, nx = image.shape
    return (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
