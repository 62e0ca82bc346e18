"""The matched filter of one image: the best linear estimate of a point source's flux at every pixel.

With sky-subtracted pixels d, noise variance v and PSF p, a point source centred on pixel x has the estimates

    numerator(x)   = sum_y p(y - x) d(y) / v(y)
    denominator(x) = sum_y p(y - x)^2 / v(y)
    flux = numerator / denominator,   S/N = numerator / sqrt(denominator)

(Zackay & Ofek 2017, ApJ 836, 187). Masked pixels have 1 / v = 0: they drop out of both sums, so
that a source under a mask keeps an unbiased flux, with a larger error. Numerators and denominators of images
add up.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import binary_dilation, map_coordinates, spline_filter

from celestepy.detection.background import lower_width, smooth_level
from celestepy.detection.positions import on_image

__all__ = ["FilteredImage", "filter_image"]

SOURCE_LEVEL = 4.0  # S/N of the pixels that are left out of sky and noise
STAMP_WIDTHS = 5.0  # half side of the kernel in Gaussian sigmas: holds all but 1e-5 of the S/N squared
BLOCK = 4096  # sources whose surroundings are looked at together: bounds memory
EMPTY = 1e-4  # denominators below this share of the full one count as zero


@dataclass(frozen=True, eq=False)
class FilteredImage:
    """An image with its matched-filter maps.

    Attributes
    ----------
    image : Image
    numerator, denominator : (ny, nx) float32
        See the module's text; nmgy^-1 and nmgy^-2, divided by the square of the noise scale.
    full : float
        Denominator of a source with no pixel masked or outside, at the image's median variance.
    kernel : (odd n, odd n) float64
        The PSF stamp that was used, pixel scale.
    sigma : float
        Effective Gaussian width of the PSF [pixel]: sum |grad p|^2 / sum p^2 = 1 / sigma^2.
    noise_scale : float
        The larger of the image's own noise scale and the measured width of the S/N map.
    """

    image: object
    numerator: np.ndarray
    denominator: np.ndarray
    full: float
    kernel: np.ndarray
    sigma: float
    noise_scale: float

    def spline(self):
        """Coefficients of the cubic spline through the numerator, for `sample`."""
        return spline_filter(self.numerator, order=3, output=np.float32, mode="mirror")

    def sample(self, x, y, spline):
        """Numerator (cubic spline) and denominator (linear) at pixel positions x, y; 0 outside the image."""
        where = np.stack([np.asarray(y, float), np.asarray(x, float)])
        inside = on_image(self.image, where[1], where[0])
        numerator = map_coordinates(spline, where, order=3, prefilter=False, mode="mirror")
        denominator = map_coordinates(self.denominator, where, order=1, mode="nearest")
        return np.where(inside, numerator, 0.0), np.where(inside, denominator, 0.0)

    def visible(self, x, y):
        """Share of the information on sources at pixels x, y that no mask or edge hides; (n,) float64."""
        parts = np.array_split(np.stack([x, y]), len(x) // BLOCK + 1, axis=1)
        return np.concatenate([self._visible(*part) for part in parts])

    def _visible(self, x, y):
        ny, nx = self.image.shape
        reach = np.arange(self.kernel.shape[0]) - self.kernel.shape[0] // 2
        rows = np.rint(y).astype(int)[:, None, None] + reach[:, None]
        columns = np.rint(x).astype(int)[:, None, None] + reach
        inside = (rows >= 0) & (rows < ny) & (columns >= 0) & (columns < nx)
        used = inside & ~self.image.mask[np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1)]
        return np.tensordot(used, self.kernel**2, 2) / np.sum(self.kernel**2)

    def neighbour_correlation(self):
        """Correlation of the numerator's white noise one pixel apart, along x and along y."""
        p = self.kernel
        power = np.sum(p * p)
        return np.sum(p[:, 1:] * p[:, :-1]) / power, np.sum(p[1:] * p[:-1]) / power


def filter_image(image, *, model=None):
    """Matched-filter maps of an image, or of what a model leaves of it.

    Parameters
    ----------
    image : Image
    model : (ny, nx) array_like, optional
        Model of the pixels [nmgy, sky included]. The maps are then those of the residual. Its noise holds the
        photon noise of the modelled sources and the error of the PSF, ``image.psf_error`` times their flux.

    Returns
    -------
    FilteredImage

    Notes
    -----
    The sky is refined on the S/N map and not on the pixels: there the noise is symmetric even where counts
    are low, and sources can be left out down to a faint level. (On SDSS frames a background of the pixels
    widens the S/N map by 10-20%.)
    """
    kernel, sigma = _kernel(image)
    sources = None if model is None else np.maximum(np.asarray(model, float) - image.sky, 0.0)
    weight = _weight(image, sources)
    known = image.sky if model is None else model
    values = np.where(image.mask, 0.0, image.pixels - known).astype(np.float32)
    correlation = _Correlation(kernel, image.shape)
    denominator = correlation.of_weight(weight)
    full = float(np.sum(kernel**2) * np.median(weight[~image.mask]))
    denominator[denominator < EMPTY * full] = 0.0
    numerator, width = _levelled(correlation.of_values(values * weight), denominator, image.mask, sigma)
    scale = max(image.noise_scale, width)
    numerator, denominator, full = (value / scale**2 for value in (numerator, denominator, full))
    if sources is not None and image.psf_error > 0:
        signal = correlation.of_values(sources.astype(np.float32) * weight) / scale**2
        shrink = _psf_error_factor(signal, denominator, image.psf_error)
        numerator, denominator = numerator * shrink, denominator * shrink
    return FilteredImage(image, numerator, denominator, full, kernel, sigma, scale)


def _weight(image, sources):
    """Inverse variance of the sky and the sources' photons, if any, (ny, nx) float32; 0 where masked."""
    variance = image.variance()
    if sources is not None:
        variance = variance + sources / getattr(image.noise, "photons_per_nanomaggy", np.inf)
    return np.divide(1.0, variance, out=np.zeros(image.shape), where=~image.mask).astype(np.float32)


def _psf_error_factor(signal, denominator, psf_error):
    """What multiplies both maps so that fluxes stay and their variance grows by (psf_error * source)^2.

    The error of a PSF is the same in all pixels of a star, so that it is a share of what the filter makes of
    the modelled sources, signal / denominator, and does not average out.
    """
    variance = np.divide(1.0, denominator, out=np.zeros_like(denominator), where=denominator > 0)
    return 1.0 / (1.0 + (psf_error * signal) ** 2 * variance)


def _kernel(image):
    """The PSF stamp at the image's centre, cut to where it holds signal, and its effective Gaussian width."""
    ny, nx = image.shape
    stamp = np.asarray(image.psf.stamp((nx - 1) / 2, (ny - 1) / 2), dtype=float)
    middle = stamp.shape[0] // 2
    half = min(middle, max(int(np.ceil(STAMP_WIDTHS * _effective_sigma(stamp))), 2))
    cut = slice(middle - half, middle + half + 1)
    kernel = stamp[cut, cut]
    return kernel, _effective_sigma(kernel)


def _effective_sigma(stamp):
    """Width of the Gaussian with the same sum |grad p|^2 / sum p^2, the gradient taken in Fourier space."""
    n = 2 * stamp.shape[0]
    power = np.abs(fft.fft2(stamp, s=(n, n))) ** 2
    wavenumber = (2 * np.pi * fft.fftfreq(n)) ** 2
    return float((power.sum() / np.sum(power * (wavenumber + wavenumber[:, None]))) ** 0.5)


class _Correlation:
    """Correlates maps of one shape with a kernel and its square, by FFT with zeros beyond the edges."""

    def __init__(self, kernel, shape):
        self.shape = shape
        self.half = kernel.shape[0] // 2
        self.padded = [fft.next_fast_len(n + kernel.shape[0] - 1, real=True) for n in shape]
        flipped = kernel[::-1, ::-1].astype(np.float32)
        self._kernel = fft.rfft2(flipped, s=self.padded)
        self._square = fft.rfft2(flipped**2, s=self.padded)

    def of_values(self, values):
        return self._apply(values, self._kernel)

    def of_weight(self, weight):
        return self._apply(weight, self._square)

    def _apply(self, values, kernel):
        whole = fft.irfft2(fft.rfft2(values, s=self.padded) * kernel, s=self.padded)
        ny, nx = self.shape
        return np.ascontiguousarray(whole[self.half : self.half + ny, self.half : self.half + nx])


def _levelled(numerator, denominator, mask, sigma):
    """The numerator with zero level away from sources, and the width of the S/N there (1 where unknown)."""
    error = np.sqrt(denominator)
    signal_to_noise = np.divide(numerator, error, out=np.zeros_like(numerator), where=error > 0)
    empty = mask | (error == 0)
    above = signal_to_noise - smooth_level(signal_to_noise, empty)
    sources = above > SOURCE_LEVEL * lower_width(above[~empty], sigma)
    unused = empty | binary_dilation(sources, iterations=max(int(round(2 * sigma)), 1))
    level = smooth_level(signal_to_noise, unused)
    sample = (signal_to_noise - level)[~unused]
    return numerator - level * error, lower_width(sample, sigma)
