"""Measuring the noise of an image on its own sky: how large it is in a pixel, and how much it is correlated.

The pixel scatter away from sources shows whether gain and dark variance are those of the detector. SDSS
tables give one pair for a CCD, but some CCDs are read through two amplifiers, whose noise differs by 20%.

The noise scale is the standard deviation of the PSF-matched signal-to-noise map away from sources: one for
white noise of the stated variance, more where noise is correlated, underestimated, or where faint undetected
sources add to it.
"""

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.signal import oaconvolve

from celestepy.images.errors import ImageError

__all__ = ["match_pixel_noise", "measure_noise_scale", "measure_pixel_noise", "signal_to_noise_map"]

SOURCE = 5.0  # sigma of the matched map above which a pixel belongs to a source
WINDOW = 768  # pixels of the middle that are used: ~20000 independent PSF areas, the scale to half a percent
# Structure on larger scales [pixels] is taken out by the sky level that is fitted with the sources.
LOCAL_SKY = 100
# Significance of a pixel: distance in pixels around it that is left out.
GROWTH = ((SOURCE, 8), (10 * SOURCE, 20), (100 * SOURCE, 50))
MARGIN = 12  # pixels along the edges, where the matched filter sees part of the PSF
LEAST_PIXELS = 2500  # about fifty independent PSF areas: below it the scale is not known to 10%
PLAUSIBLE = (0.6, 1.6)  # ratio of measured to stated scatter; beyond it something else is wrong


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
    data, weight, stamp, free = _sky_pixels(image, (0, image.shape[1]))
    return max(1.0, float(signal_to_noise_map(data, weight, stamp)[free].std()))


def measure_pixel_noise(image, columns):
    """Ratio of the scatter of single pixels away from sources to the stated one.

    Parameters
    ----------
    image : Image
        At least some 50 x 50 pixels free of sources.
    columns : (int, int)
        First column, and the column after the last, of the part that is measured.

    Returns
    -------
    float
        One where the noise is as stated.

    Raises
    ------
    ImageError
        If fewer than 2500 pixels are free of sources and masks.
    """
    data, weight, _, free = _sky_pixels(image, columns)
    chi = (data * np.sqrt(weight))[free]
    return float(chi[np.abs(chi) < SOURCE].std())


def match_pixel_noise(image, n_amplifiers):
    """Scale a Poisson noise model so that pixels away from sources scatter as it says.

    Parameters
    ----------
    image : Image
        With Poisson noise.
    n_amplifiers : int
        Number of equal blocks of columns, each of which is measured by itself.

    Returns
    -------
    Image
        With gain, and read and dark variance, changed in each block; the same image where a ratio beyond 0.6
        to 1.6 shows that something else is wrong.

    Raises
    ------
    ImageError
        If fewer than 2500 pixels of a block are free of sources and masks.
    """
    edges = np.linspace(0, image.shape[1], n_amplifiers + 1).astype(int)
    ratios = [measure_pixel_noise(image, block) for block in zip(edges, edges[1:], strict=False)]
    if min(ratios) < PLAUSIBLE[0] or max(ratios) > PLAUSIBLE[1]:
        return image
    by_column = np.repeat(np.square(ratios), np.diff(edges))
    return image.replace(noise=image.noise.rescaled(by_column))


def _sky_pixels(image, columns):
    """Data with local sky subtracted, inverse variance, PSF stamp and free pixels amid some columns."""
    box = _middle((0, image.shape[0])), _middle(columns)
    used = ~image.mask[box]
    weight = np.where(used, 1 / image.noise.variance_of(image.sky[box], box), 0.0).astype(np.float32)
    data = np.where(used, image.pixels[box] - image.sky[box], 0.0).astype(np.float32)
    centre = [0.5 * (edges.start + edges.stop - 1) for edges in box]
    stamp = image.psf.at(centre[1], centre[0]).render((21, 21), 10, 10).astype(np.float32)
    significance = signal_to_noise_map(data, weight, stamp)
    free = _far_from_sources(significance - np.median(significance), used)
    if free.sum() < LEAST_PIXELS:
        raise ImageError(
            f"image {image.name!r}: {free.sum()} pixels free of sources, expected at least {LEAST_PIXELS};"
            " give noise_scale instead of measuring it"
        )
    return np.where(free, data - _local_mean(data, free), data), weight, stamp, free


def _middle(edges):
    """At most WINDOW pixels in the middle between two edges."""
    cut = max(0, (edges[1] - edges[0] - WINDOW) // 2)
    return slice(edges[0] + cut, edges[1] - cut)


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
