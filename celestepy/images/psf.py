"""Point spread functions: `psf.at(x, y)` gives a mixture of Gaussians anywhere on the image.

All PSFs here are effective PSFs: the response of a pixel is included, so that a model sampled at pixel
centres is the flux in the pixel. A stamp from an optical model without its pixel must be integrated over
pixels first.
"""

import warnings
from abc import ABC, abstractmethod

import numpy as np

from celestepy.images.errors import ImageError, PSFResidualWarning
from celestepy.images.psf_mixture import SIGMA_TO_FWHM, PSFMixture, fit_mixture
from celestepy.images.psf_stamp import checked_center, checked_stamp, moffat_stamp, resampled

__all__ = ["PSF", "GaussianPSF", "MixturePSF", "MoffatPSF", "ScaledPSF", "StampPSF", "VaryingPSF"]

WARN_RESIDUAL = 0.10
CELL = 128  # pixels; a survey PSF changes by well under a percent across one cell


class PSF(ABC):
    """A point spread function that may vary over the image."""

    @abstractmethod
    def at(self, x, y):
        """The `PSFMixture` at image pixel coordinates x, y.

        Parameters
        ----------
        x, y : float or array_like
            Pixel coordinates, 0-based.

        Returns
        -------
        PSFMixture
            The mixture there.
        """

    @abstractmethod
    def stamp(self, x, y):
        """Square array (odd side) of the PSF at image pixel scale, centred on its middle pixel.

        Parameters
        ----------
        x, y : float or array_like
            Pixel coordinates, 0-based.

        Returns
        -------
        (n, n) array
            Odd n; pixels of the size of the image's.
        """


class MixturePSF(PSF):
    """The same mixture of Gaussians everywhere.

    Parameters
    ----------
    mixture : PSFMixture
        In pixels of the image, about the source position.
    """

    def __init__(self, mixture):
        if not isinstance(mixture, PSFMixture):
            raise ImageError(
                f"mixture: {type(mixture).__name__}, expected a PSFMixture(amplitudes (n,), means (n, 2),"
                " covariances (n, 3))"
            )
        self.mixture = mixture

    def at(self, x, y):
        """The mixture, whatever x and y.

        Parameters
        ----------
        x, y : float or array_like
            Pixel coordinates, 0-based.

        Returns
        -------
        PSFMixture
            The mixture there.
        """
        return self.mixture

    def stamp(self, x, y):
        """Rendering of the mixture out to four times its widest rms width.

        Parameters
        ----------
        x, y : float or array_like
            Pixel coordinates, 0-based.

        Returns
        -------
        (n, n) array
            Odd n; pixels of the size of the image's.
        """
        return _rendered(self.mixture)


class GaussianPSF(MixturePSF):
    """A round Gaussian.

    Parameters
    ----------
    fwhm : float, optional
        Full width at half maximum, pixels.
    sigma : float, optional
        Standard deviation, pixels; give one of the two.
    """

    def __init__(self, fwhm=None, sigma=None):
        if (fwhm is None) == (sigma is None):
            raise ImageError(
                f"GaussianPSF: fwhm={fwhm}, sigma={sigma}, expected exactly one of them, in pixels"
            )
        sigma = _positive("sigma", sigma) if fwhm is None else _positive("fwhm", fwhm) / SIGMA_TO_FWHM
        super().__init__(PSFMixture([1.0], [[0.0, 0.0]], [[sigma**2, 0.0, sigma**2]]))


class StampPSF(PSF):
    """A PSF given as a pixel array, the same everywhere on the image.

    Parameters
    ----------
    stamp : array_like (ny, nx)
        Effective PSF (pixel response included) sampled every 1 / oversampling image pixels. Any
        normalisation: it is divided by its sum.
    oversampling : float, optional
        Stamp pixels per image pixel, usually 1 to 5.
    center : (float, float), optional
        Stamp pixel coordinates x, y (0-based) of the source position; the geometric centre by default, which
        lies on a pixel for odd sides and between pixels for even ones.
    n_components : int, optional
        Number of Gaussians; by default 3, or 4 where needed.

    Warns
    -----
    PSFResidualWarning
        If the rms misfit of the mixture exceeds 10% of the stamp's rms.
    """

    def __init__(self, stamp, oversampling=1, center=None, n_components=None):
        self.pixels = checked_stamp(stamp)
        self.oversampling = _positive("oversampling", oversampling)
        ny, nx = self.pixels.shape
        self.center = ((nx - 1) / 2, (ny - 1) / 2) if center is None else checked_center(center, (ny, nx))
        self._mixture = fit_mixture(
            self.pixels, self.center, oversampling=self.oversampling, n_components=n_components
        )
        _warn_if_poor(self._mixture, "PSF stamp")

    def at(self, x, y):
        """The mixture fitted to the stamp, whatever x and y.

        Parameters
        ----------
        x, y : float or array_like
            Pixel coordinates, 0-based.

        Returns
        -------
        PSFMixture
            The mixture there.
        """
        return self._mixture

    def stamp(self, x, y):
        """The stamp at image pixel scale, interpolated (cubic spline) where oversampled or off centre.

        Parameters
        ----------
        x, y : float or array_like
            Pixel coordinates, 0-based.

        Returns
        -------
        (n, n) array
            Odd n; pixels of the size of the image's.
        """
        return resampled(self.pixels, self.center, self.oversampling)


class MoffatPSF(StampPSF):
    """A round Moffat profile (1 + (r / a)^2)^-beta, integrated over pixels, as a mixture of Gaussians.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum before the pixel, pixels.
    beta : float, optional
        Slope of the wings, > 1.
    """

    def __init__(self, fwhm, beta=3.0):
        fwhm = _positive("fwhm", fwhm)
        if not (np.isfinite(beta) and beta > 1):
            raise ImageError(
                f"beta: {beta}, expected a finite number > 1: a shallower Moffat has no finite flux"
            )
        self.fwhm, self.beta = fwhm, float(beta)
        super().__init__(moffat_stamp(fwhm, self.beta))


class VaryingPSF(PSF):
    """Base of PSF models that vary with position, with one mixture fit for each cell of 128 x 128 pixels.

    Every cell's fit starts from the fit at `reference`, so results do not depend on the order of calls nor on
    threads. Subclasses give `pixel_model(x, y)`, the stamp of any position with its centre and oversampling.

    Parameters
    ----------
    reference : (float, float)
        Image position x, y at which the first fit is made, usually the image centre.
    name : str
        What the messages call this PSF, usually the file.
    """

    def __init__(self, reference, name):
        self.reference, self.name = reference, name
        self._cells = {}
        self._start = None

    @abstractmethod
    def pixel_model(self, x, y):
        """(stamp, (center x, center y), oversampling) at image position x, y; the stamp sums to one.

        Parameters
        ----------
        x, y : float or array_like
            Pixel coordinates, 0-based.

        Returns
        -------
        stamp : (ny, nx) array
            Of unit sum.
        center : (float, float)
            Stamp pixel coordinates x, y of the source position.
        oversampling : float
            Stamp pixels per image pixel.
        """

    def at(self, x, y):
        """The mixture of the cell that holds x, y.

        Parameters
        ----------
        x, y : float or array_like
            Pixel coordinates, 0-based.

        Returns
        -------
        PSFMixture
            The mixture there.
        """
        key = (int(x // CELL), int(y // CELL))
        found = self._cells.get(key)
        if found is None:
            found = self._cells.setdefault(key, self._fit_cell(key))
        return found

    def stamp(self, x, y):
        """The model at x, y at image pixel scale.

        Parameters
        ----------
        x, y : float or array_like
            Pixel coordinates, 0-based.

        Returns
        -------
        (n, n) array
            Odd n; pixels of the size of the image's.
        """
        return resampled(*self.pixel_model(x, y))

    def reference_mixture(self):
        """The mixture at the reference position, from which all others start.

        Returns
        -------
        PSFMixture
            The first fit.
        """
        if self._start is None:
            stamp, center, oversampling = self.pixel_model(*self.reference)
            mixture = fit_mixture(stamp, center, oversampling=oversampling)
            _warn_if_poor(mixture, self.name)
            self._start = mixture
        return self._start

    def _fit_cell(self, key):
        stamp, center, oversampling = self.pixel_model((key[0] + 0.5) * CELL, (key[1] + 0.5) * CELL)
        return fit_mixture(stamp, center, oversampling=oversampling, start=self.reference_mixture())


class ScaledPSF(PSF):
    """A PSF whose flux is multiplied by a factor: 1 / aperture correction.

    Parameters
    ----------
    psf : PSF
        The PSF that is scaled.
    flux : float
        Fraction of a star's calibrated flux that lies in `psf`.
    """

    def __init__(self, psf, flux):
        self.psf, self.flux = psf, _positive("flux", flux)
        self._scaled = {}

    def at(self, x, y):
        """The scaled mixture at x, y.

        Parameters
        ----------
        x, y : float or array_like
            Pixel coordinates, 0-based.

        Returns
        -------
        PSFMixture
            The mixture there.
        """
        mixture = self.psf.at(x, y)
        found = self._scaled.get(
            id(mixture)
        )  # mixtures live as long as the PSF's own cache, which `psf` keeps alive
        if found is None or found[0] is not mixture:
            found = self._scaled[id(mixture)] = (mixture, mixture.scaled(self.flux))
        return found[1]

    def stamp(self, x, y):
        """The scaled stamp at x, y.

        Parameters
        ----------
        x, y : float or array_like
            Pixel coordinates, 0-based.

        Returns
        -------
        (n, n) array
            Odd n; pixels of the size of the image's.
        """
        return self.flux * self.psf.stamp(x, y)


def _rendered(mixture):
    widest = np.sqrt(mixture.covariances[:, [0, 2]].max())
    half = int(np.ceil(4 * widest + np.abs(mixture.means).max()))
    return mixture.render((2 * half + 1, 2 * half + 1), half, half)


def _warn_if_poor(mixture, name):
    if mixture.residual > WARN_RESIDUAL:
        warnings.warn(
            f"{name}: {len(mixture)} Gaussians leave an rms residual of {mixture.residual:.0%} of the PSF,"
            " expected < 10%;"
            " fluxes will be biased; check the stamp's centre, background and oversampling",
            PSFResidualWarning,
            stacklevel=3,
        )


def _positive(argument, value):
    number = float(value)
    if not (np.isfinite(number) and number > 0):
        raise ImageError(f"{argument}: {number}, expected a finite number > 0")
    return number
