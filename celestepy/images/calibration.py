"""Measuring on an image itself how much its noise is correlated, and what its stars say about its PSF.

The noise scale is the standard deviation of the PSF-matched signal-to-noise map away from sources: one for
white noise of the stated variance, more where noise is correlated, underestimated, or faint undetected
sources add to it.
"""

import logging
import warnings

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.signal import oaconvolve

from celestepy.images.errors import CalibrationWarning, ImageError
from celestepy.images.psf import ScaledPSF
from celestepy.images.psf_calibration import isolated_stars, measure_aperture_correction, measure_psf_error

__all__ = ["calibrated", "measure_noise_scale", "signal_to_noise_map"]

logger = logging.getLogger(__name__)

SOURCE = 5.0  # sigma of the matched map above which a pixel belongs to a source
WINDOW = 768  # pixels of the middle that are used: ~20000 independent PSF areas, the scale to half a percent
LOCAL_SKY = (
    100  # pixels; structure on larger scales is taken out by the sky level that is fitted with the sources
)
GROWTH = (
    (SOURCE, 8),
    (10 * SOURCE, 20),
    (100 * SOURCE, 50),
)  # peak in sigma: distance in pixels that is left out
MARGIN = 12  # pixels along the edges, where the matched filter sees part of the PSF
LEAST_PIXELS = 2500  # about fifty independent PSF areas: below it the scale is not known to 10%
FEWEST_STARS = 5


def signal_to_noise_map(data, weight, stamp):
    """Flux over error of a point source at each pixel.

    Parameters
    ----------
    data, weight : (ny, nx) array
        Sky-subtracted pixels and inverse variances (0 where masked).
    stamp : (h, w) array
        PSF, centred, odd sides.

    Returns
    -------
    (ny, nx) array
        Zero where no pixel contributes.
    """
    flux = oaconvolve(data * weight, stamp[::-1, ::-1], mode="same")
    information = oaconvolve(weight, stamp[::-1, ::-1] ** 2, mode="same")
    floor = 1e-6 * information.max()
    return np.where(information > floor, flux / np.sqrt(np.maximum(information, floor)), 0.0)


def measure_noise_scale(image):
    """Factor by which the errors of fluxes exceed those of independent pixels of the stated variance.

    Parameters
    ----------
    image : Image
        At least some 50 x 50 pixels free of sources.

    Returns
    -------
    float
        Standard deviation of the PSF-matched signal-to-noise map away from sources over 5 sigma, with the sky
        subtracted on a scale of 100 pixels; at least 1.

    Raises
    ------
    ImageError
        If fewer than 2500 pixels are free of sources and masks.
    """
    data, weight, stamp = _central_window(image)
    significance = signal_to_noise_map(data, weight, stamp)
    free = _far_from_sources(significance - np.median(significance), weight > 0)
    if free.sum() < LEAST_PIXELS:
        raise ImageError(
            f"image {image.name!r}: {free.sum()} pixels free of sources, expected at least {LEAST_PIXELS};"
            " give noise_scale instead of measuring it"
        )
    data = np.where(free, data - _local_mean(data, free), data)
    significance = signal_to_noise_map(data, weight, stamp)
    return max(1.0, float(significance[free].std()))


def calibrated(image, stars=None):
    """The image with its noise scale, aperture correction and PSF error measured on itself.

    Parameters
    ----------
    image : Image
        The image, whose PSF is not yet scaled.
    stars : list of CalibrationStar, optional
        By default those that `isolated_stars` finds.

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
    noise_scale = _noise_scale_or_one(image)
    stars = isolated_stars(image) if stars is None else stars
    n_clear = sum(np.isfinite(star.aperture_flux) for star in stars)
    if n_clear < FEWEST_STARS:
        correction, error, psf_error = 1.0, np.nan, _central_mixture(image).residual
        warnings.warn(
            f"image {image.name!r}: {n_clear} isolated bright stars, expected at least {FEWEST_STARS} to"
            " measure the PSF;"
            f" took aperture correction 1 and PSF error {psf_error:.3f}",
            CalibrationWarning,
            stacklevel=2,
        )
    else:
        correction, error = measure_aperture_correction(image, stars)
        psf_error = measure_psf_error(image, stars)
    logger.info(
        "%s: noise scale %.3f, aperture correction %.4f +- %.4f and PSF error %.3f from %d stars",
        image.name,
        noise_scale,
        correction,
        error,
        psf_error,
        len(stars),
    )
    return image.replace(
        noise_scale=noise_scale,
        psf_error=psf_error,
        psf=ScaledPSF(image.psf, 1 / correction),
        calibration_error=float(np.hypot(image.calibration_error, np.nan_to_num(error))),
    )


def _noise_scale_or_one(image):
    try:
        return measure_noise_scale(image)
    except ImageError as error:
        warnings.warn(f"{error}; took 1", CalibrationWarning, stacklevel=3)
        return 1.0


def _central_mixture(image):
    ny, nx = image.shape
    return image.psf.at((nx - 1) / 2, (ny - 1) / 2)


def _central_window(image):
    """Sky-subtracted data, inverse variance and PSF stamp of the image's middle, in single precision."""
    box = tuple(
        slice(max(0, (size - WINDOW) // 2), max(0, (size - WINDOW) // 2) + WINDOW) for size in image.shape
    )
    used = ~image.mask[box]
    weight = np.where(used, 1 / image.noise.variance_of(image.sky[box], box), 0.0)
    data = np.where(used, image.pixels[box] - image.sky[box], 0.0)
    stamp = _central_mixture(image).render((21, 21), 10, 10)
    return data.astype(np.float32), weight.astype(np.float32), stamp.astype(np.float32)


def _far_from_sources(significance, used):
    far = used.copy()
    for threshold, distance in GROWTH:
        near = uniform_filter((significance > threshold).astype(np.float32), 2 * distance + 1) > 1e-6
        far &= ~near
    margin = min(MARGIN, min(far.shape) // 4)
    far[:margin] = far[-margin:] = False
    far[:, :margin] = far[:, -margin:] = False
    return far


def _local_mean(data, free):
    share = uniform_filter(free.astype(np.float32), LOCAL_SKY)
    total = uniform_filter(np.where(free, data, 0).astype(np.float32), LOCAL_SKY)
    return total / np.maximum(share, 0.05)
