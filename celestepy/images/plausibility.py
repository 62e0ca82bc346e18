"""Images that are whole in form and impossible in content: dead detectors, and skies that are not theirs."""

import warnings

import numpy as np

from celestepy.images.errors import ImageError, SkyWarning

__all__ = ["check_plausible"]

_FEWEST = 100  # pixels; fewer say nothing of a level
_FAR_BELOW, _FAR_ABOVE = 10.0, 20.0  # standard deviations of a pixel
_LOW, _DEVIATION = 5.0, 15.87  # percentiles


def check_plausible(image):
    """Refuse an image of constant pixels, and warn of a sky level that cannot be that of the pixels.

    Sources only add light. So the sky is too high for the pixels if their median lies below it by ten standard
    deviations of a pixel, which no source can bring about; and too low if even their 5th percentile lies 20 above it,
    which takes a source of high surface brightness all over the image. The deviation is that of the noise model or
    that of the pixels' darker half about their median, whichever is larger. On SDSS, DECam and Stripe 82 images both
    numbers are within -1.6 and 1.1.

    Parameters
    ----------
    image : `~celestepy.images.Image`
        The image; with fewer than 100 usable pixels it passes.

    Raises
    ------
    ImageError
        If all usable pixels have the same value.

    Warns
    -----
    SkyWarning
        If the sky is impossible.
    """
    used = ~image.mask
    if np.count_nonzero(used) < _FEWEST:
        return
    pixels = image.pixels[used]
    if pixels.min() == pixels.max():
        raise ImageError(
            f"image {image.name!r}: all {pixels.size} usable pixels have the same value {pixels[0]:.6g} nmgy, expected"
            " noise; a dead detector or an empty file: leave this image out"
        )
    low, below, middle = np.percentile(pixels - image.sky[used], [_LOW, _DEVIATION, 50])
    deviation = max(float(np.sqrt(np.median(image.variance()[used]))), middle - below)
    if low > _FAR_ABOVE * deviation or middle < -_FAR_BELOW * deviation:
        warnings.warn(
            f"image {image.name!r}: the median of the pixels lies {abs(middle) / deviation:.0f} standard deviations"
            f" {'above' if middle > 0 else 'below'} the stated sky of {np.median(image.sky[used]):.4g} nmgy per pixel,"
            " so nothing can be trusted that is measured on it; check sky, sky_subtracted, the zero point and the gain",
            SkyWarning,
            stacklevel=3,
        )
