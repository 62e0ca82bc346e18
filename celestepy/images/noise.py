"""Noise models: what is known about the pixel noise before any source is fitted.

Poisson counting noise follows the model of the scene and so needs the gain; Gaussian noise is a fixed
variance map, for calibrated coadds and resampled images whose pixels are no longer counts.
"""

from dataclasses import dataclass

import astropy.units as u
import numpy as np

from celestepy.images.errors import ImageError
from celestepy.images.native import in_unit

__all__ = ["GaussianNoise", "PoissonNoise"]


@dataclass(frozen=True, eq=False)
class PoissonNoise:
    """Photon counting noise, with read and dark noise as an added variance.

    Attributes
    ----------
    photons_per_nanomaggy : float or array_like (nx,)
        Detected photons (electrons) for one nanomaggy: gain [electron/count] divided by calibration
        [nmgy/count]. An array gives one value for each image column.
    variance : float, optional
        Variance that does not come from photons (read noise squared plus dark current), electrons^2 per
        pixel.

    Raises
    ------
    ImageError
        If the photon number is not finite and positive or the variance is not finite and >= 0.
    """

    photons_per_nanomaggy: np.ndarray
    variance: float = 0.0

    def __post_init__(self):
        photons = np.array(self.photons_per_nanomaggy, dtype=float)
        if photons.ndim > 1:
            raise ImageError(
                f"photons_per_nanomaggy: shape {photons.shape}, expected one number or one per image column"
            )
        bad = ~(np.isfinite(photons) & (photons > 0))
        if bad.any():
            raise ImageError(
                f"photons_per_nanomaggy: {photons[bad].flat[0]}, expected a finite value > 0;"
                " give gain [electron/count] / calibration [nmgy/count]"
            )
        variance = float(self.variance)
        if not (np.isfinite(variance) and variance >= 0):
            raise ImageError(
                f"variance: {variance}, expected a finite value >= 0, the read and dark variance in"
                " electron^2"
            )
        photons.setflags(write=False)
        object.__setattr__(self, "photons_per_nanomaggy", photons)
        object.__setattr__(self, "variance", variance)

    def fit_to(self, shape):
        """The same noise with one photon number per column of an image of `shape` (ny, nx).

        Parameters
        ----------
        shape : (int, int)
            (ny, nx) of the image.

        Returns
        -------
        PoissonNoise or GaussianNoise
            One number for each column or pixel.
        """
        photons = self.photons_per_nanomaggy
        if photons.ndim == 1 and photons.shape != (shape[1],):
            raise ImageError(
                f"photons_per_nanomaggy: {photons.size} values, expected {shape[1]}, one for each image"
                " column"
            )
        return PoissonNoise(np.broadcast_to(photons, (shape[1],)), self.variance)

    def variance_of(self, expected, box=(slice(None), slice(None))):
        """Noise variance [nmgy^2] where `expected` nmgy/pixel (sky and sources) fall on the pixels of a box.

        Parameters
        ----------
        expected : (h, w) array
            Expected pixel values, nmgy.
        box : (slice, slice), optional
            Rows and columns of the image that `expected` covers; the whole image by default.

        Returns
        -------
        (h, w) array
            Variance, nmgy^2.
        """
        photons = self.photons_per_nanomaggy[box[1]]
        return expected / photons + self.variance / photons**2


@dataclass(frozen=True, eq=False)
class GaussianNoise:
    """Noise of known variance, the same whatever the sources in the pixel.

    Attributes
    ----------
    variance : float or array_like (ny, nx)
        Variance of each pixel, nmgy^2. Infinite entries (zero weights) mark pixels that are not used; so do
        NaN, masked, zero and negative entries, none of which can be a variance.

    Raises
    ------
    ImageError
        If no entry is finite and positive.
    """

    variance: np.ndarray

    def __post_init__(self):
        variance = in_unit("variance", self.variance, u.nmgy**2)
        variance = np.ma.filled(np.ma.asarray(variance).astype(float), np.inf)
        usable = np.isfinite(variance) & (variance > 0)
        if not usable.any():
            raise ImageError(
                "variance: no entry is finite and > 0; give the noise variance in nmgy^2 (1 / weight, not"
                " the weight)"
            )
        variance = np.where(usable, variance, np.inf)
        variance.setflags(write=False)
        object.__setattr__(self, "variance", variance)

    def fit_to(self, shape):
        """The same noise as a map of `shape` (ny, nx).

        Parameters
        ----------
        shape : (int, int)
            (ny, nx) of the image.

        Returns
        -------
        PoissonNoise or GaussianNoise
            One number for each column or pixel.
        """
        if self.variance.ndim and self.variance.shape != tuple(shape):
            raise ImageError(
                f"variance: shape {self.variance.shape}, expected the shape of the pixels {tuple(shape)}"
            )
        return GaussianNoise(np.broadcast_to(self.variance, shape))

    def variance_of(self, expected, box=(slice(None), slice(None))):
        """Noise variance [nmgy^2] of the pixels of a box; it does not depend on what is expected there.

        Parameters
        ----------
        expected : (h, w) array
            Ignored.
        box : (slice, slice), optional
            Rows and columns of the image; all of it by default.

        Returns
        -------
        (h, w) array
            Variance, nmgy^2.
        """
        return self.variance[box]
