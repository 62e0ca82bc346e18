"""Calibrating an image on itself: its noise by its sky, its PSF by its stars."""

import logging
import warnings

import numpy as np

from celestepy.images.errors import CalibrationWarning, ImageError
from celestepy.images.noise_calibration import match_pixel_noise, measure_noise_scale
from celestepy.images.psf import ScaledPSF
from celestepy.images.psf_calibration import isolated_stars, measure_aperture_correction, measure_psf_error

__all__ = ["calibrated"]

logger = logging.getLogger(__name__)

FEWEST_STARS = 5


def calibrated(image, stars=None, n_amplifiers=0):
    """The image with its noise, aperture correction and PSF error measured on itself.

    Parameters
    ----------
    image : Image
        The image, whose PSF is not yet scaled.
    stars : list of CalibrationStar, optional
        By default those that `isolated_stars` finds.
    n_amplifiers : int, optional
        Number of equal blocks of columns with a gain of their own, whose noise is measured, see
        `match_pixel_noise`; 0 leaves the stated noise as it is.

    Returns
    -------
    Image
        `noise_scale` and `psf_error` set; `psf` scaled by 1 / aperture correction, whose error is added to
        `calibration_error`.

    Warns
    -----
    CalibrationWarning
        If fewer than five suitable stars are found: then the aperture correction is 1 and the PSF error the
        residual of the PSF's mixture of Gaussians. The noise scale is 1 where too little sky is free.
    """
    stars = isolated_stars(image) if stars is None else stars
    image = _with_noise_scale(image, n_amplifiers)
    correction, error, psf_error = _psf_quality(image, stars)
    logger.info(
        "%s: noise scale %.3f, aperture correction %.4f +- %.4f and PSF error %.3f from %d stars",
        *(image.name, image.noise_scale, correction, error, psf_error, len(stars)),
    )
    return image.replace(
        psf_error=psf_error,
        psf=ScaledPSF(image.psf, 1 / correction),
        calibration_error=float(np.hypot(image.calibration_error, np.nan_to_num(error))),
    )


def _with_noise_scale(image, n_amplifiers):
    try:
        image = match_pixel_noise(image, n_amplifiers) if n_amplifiers else image
        return image.replace(noise_scale=measure_noise_scale(image))
    except ImageError as error:
        warnings.warn(f"{error}; took the stated noise", CalibrationWarning, stacklevel=3)
        return image


def _psf_quality(image, stars):
    """Aperture correction, its error (NaN where it is a guess) and PSF error."""
    n_clear = sum(np.isfinite(star.aperture_flux) for star in stars)
    if n_clear >= FEWEST_STARS:
        return *measure_aperture_correction(image, stars), measure_psf_error(image, stars)
    ny, nx = image.shape
    residual = image.psf.at((nx - 1) / 2, (ny - 1) / 2).residual
    warnings.warn(
        f"image {image.name!r}: {n_clear} isolated bright stars, expected at least {FEWEST_STARS} to measure"
        f" the PSF; took aperture correction 1 and PSF error {residual:.3f}",
        CalibrationWarning,
        stacklevel=3,
    )
    return 1.0, np.nan, residual
