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
    variance : float or array_like (nx,), optional
        Variance that does not come from photons (read noise squared plus dark current), electrons^2 per
        pixel. An array gives one value for each image column.

    Raises
    ------
    ImageError
        If the photon number is not finite and positive or the variance is not finite and >= 0.
    """

    photons_per_nanomaggy: np.ndarray
    variance: np.ndarray = 0.0

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
        variance = np.array(self.variance, dtype=float)
        bad = ~(np.isfinite(variance) & (variance >= 0))
        if bad.any() or variance.ndim > 1:
            raise ImageError(
                f"variance: {variance[bad].flat[0] if bad.any() else variance.shape}, expected a finite value"
                " >= 0 or one per image column, the read and dark variance in electron^2"
            )
        photons.setflags(write=False)
        variance.setflags(write=False)
        object.__setattr__(self, "photons_per_nanomaggy", photons)
        object.__setattr__(self, "variance", variance if variance.ndim else float(variance))

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
        for name in ("photons_per_nanomaggy", "variance"):
            values = getattr(self, name)
            if np.ndim(values) and values.shape != (shape[1],):
                raise ImageError(
                    f"{name}: {values.size} values, expected {shape[1]}, one for each image column"
                )
        return PoissonNoise(np.broadcast_to(self.photons_per_nanomaggy, (shape[1],)), self.variance)

    def rescaled(self, factor):
        """The same kind of noise with all variances in nmgy^2 multiplied by a factor.

        Parameters
        ----------
        factor : float or (nx,) array
            Factor > 0, of the image or of each column.

        Returns
        -------
        PoissonNoise
            With the gain divided by the factor, and the read and dark variance to match.
        """
        return PoissonNoise(self.photons_per_nanomaggy / factor, self.variance / factor)

    def shift(self, columns):
        """Read and dark variance over photon number, the constant of the shifted Poisson approximation.

        Parameters
        ----------
        columns : slice
            Columns of the image.

        Returns
        -------
        (w,) array
            Shift, nmgy: with it added, the variance of a pixel is its value over the photon number.
        """
        variance = self.variance[columns] if np.ndim(self.variance) else self.variance
        return variance / self.photons_per_nanomaggy[columns]

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
        return (expected + self.shift(box[1])) / self.photons_per_nanomaggy[box[1]]


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
