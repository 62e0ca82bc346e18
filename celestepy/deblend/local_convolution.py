"""Convolution of an image that is dark outside of a small part, on just the pixels that its light can reach."""

import numpy as np
from scipy.fft import irfft2, next_fast_len, rfft2

__all__ = ["LocalConvolution", "lit_part"]

_STEP = 8  # pixels: sides are rounded up to multiples, so that few sizes of kernel spectra are kept
_WORTHWHILE = 0.8  # of the whole transform's pixels that a local one may have


def lit_part(image):
    """The smallest rectangle that holds all of an image's light.

    Parameters
    ----------
    image : (H, W) array
        Any values.

    Returns
    -------
    (slice, slice)
        Rows and columns; empty for a dark image.
    """
    lit = image != 0
    parts = []
    for axis in (1, 0):
        places = np.flatnonzero(lit.any(axis=axis))
        parts.append(slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0))
    return tuple(parts)


class LocalConvolution:
    """Kernels of several bands for images with little light.

    Parameters
    ----------
    kernels : sequence of (n, n) arrays
        Odd n.
    shape : (int, int)
        Of the images.
    whole : (int, int)
        Sides of the transforms that the whole image would take.
    """

    def __init__(self, kernels, shape, whole):
        self._kernels, self._shape, self._whole = kernels, shape, whole
        self._reach = max(len(kernel) for kernel in kernels) // 2
        self._spectra = {}

    def fft_shape(self, part):
        """Sides of the transforms for a part of the image.

        Parameters
        ----------
        part : (slice, slice)
            Of `lit_part`.

        Returns
        -------
        (int, int) or None
            None where the whole image takes hardly longer.
        """
        sides = (piece.stop - piece.start + 2 * self._reach for piece in part)
        sides = tuple(next_fast_len(-(-side // _STEP) * _STEP, real=True) for side in sides)
        return sides if sides[0] * sides[1] < _WORTHWHILE * self._whole[0] * self._whole[1] else None

    def add(self, image, part, target):
        """Convolve a part of an image with all kernels.

        Parameters
        ----------
        image : (H, W) array
            Dark outside of the part.
        part : (slice, slice)
            Where `fft_shape` is not None.
        target : (B, H, W) array
            The result is written to the pixels that the light can reach; others stay as they are.
        """
        sides = self.fft_shape(part)
        found = irfft2(rfft2(image[part], s=sides) * self._spectrum(sides), s=sides)
        on_image, in_found = [], []
        for piece, side in zip(part, self._shape, strict=True):
            first, last = max(piece.start - self._reach, 0), min(piece.stop + self._reach, side)
            on_image.append(slice(first, last))
            in_found.append(slice(first - piece.start + self._reach, last - piece.start + self._reach))
        target[:, *on_image] = found[:, *in_found]

    def _spectrum(self, sides):
        """(B, ...) spectra of the kernels, shifted by their reach."""
        if sides not in self._spectra:
            padded = np.zeros((len(self._kernels), *sides))
            for own, kernel in zip(padded, self._kernels, strict=True):
                first = self._reach - len(kernel) // 2
                own[first : first + len(kernel), first : first + len(kernel)] = kernel
            self._spectra[sides] = rfft2(padded)
        return self._spectra[sides]
