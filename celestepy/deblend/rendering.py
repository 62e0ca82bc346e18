"""From a model of the sky to the pixels of every observation, and the exact adjoint of that.

All that is linear and does not change while a scene is fitted is made ready here once: the spectra of the difference
kernels and the resampling matrices. The model's arrays are convolved by fast Fourier transforms on squares padded so
that nothing wraps round.
"""

import numpy as np
from scipy.fft import irfft2, next_fast_len, rfft2

from celestepy.deblend.errors import DeblendError
from celestepy.deblend.local_convolution import LocalConvolution, lit_part
from celestepy.deblend.observation import Observation
from celestepy.deblend.psf_matching import check_sampling, difference_kernel, model_psf_for
from celestepy.deblend.resampling import REACH, resampled_psf, resampling_matrix

__all__ = ["DEFAULT_PSF", "Frame"]

DEFAULT_PSF = "default"


class Frame:
    """The pixels and the PSF of the model, and its way to the observations.

    Parameters
    ----------
    observations : Observation or sequence of Observation
        Of one patch of sky.
    model_psf : PSFMixture, None or "default", optional
        PSF of the model, in its pixels; None for a deconvolved model; by default a Gaussian narrower than all PSFs.
    grid : Grid, optional
        Pixels of the model; by default those of the observation with the smallest pixels.

    Attributes
    ----------
    observations : tuple of Observation
        With weight 0 where a pixel lies outside of the model's grid.
    bands : tuple of str
        Union of the observations' bands in the order of their first appearance.
    grid : Grid
        Pixels of the model.
    model_psf : PSFMixture or None
        Its PSF.
    kernel_residuals : tuple of (B_o,) arrays
        How well each difference kernel reproduces its PSF, for each observation.
    """

    def __init__(self, observations, *, model_psf=DEFAULT_PSF, grid=None):
        observations = [observations] if isinstance(observations, Observation) else list(observations)
        if not observations:
            raise DeblendError("observations: none given, expected at least one Observation")
        self.grid = min((o.grid for o in observations), key=lambda g: g.pixel_area) if grid is None else grid
        self.bands = tuple(dict.fromkeys(band for o in observations for band in o.bands))
        stamps = [[resampled_psf(psf, o.grid, self.grid) for psf in o.psfs] for o in observations]
        if model_psf is not None:
            check_sampling([psf for o in observations for psf in o.psfs])
        default = isinstance(model_psf, str)
        self.model_psf = model_psf_for([stamp for own in stamps for stamp in own]) if default else model_psf
        kernels = [[difference_kernel(stamp, self.model_psf) for stamp in own] for own in stamps]
        self.kernel_residuals = tuple(np.array([residual for _, residual in own]) for own in kernels)
        kernels = [[kernel for kernel, _ in own] for own in kernels]
        margins = [0 if o.grid.is_same(self.grid) else REACH + 1 for o in observations]
        self._fft_shape = self._padded(kernels, max(margins))
        self._channels = [_Channel(self, *each) for each in zip(observations, kernels, margins, strict=True)]
        self.observations = tuple(channel.observation for channel in self._channels)

    def _padded(self, kernels, margin):
        """Sides of the padded arrays: kernels beyond the model's own size reach no pixel."""
        reach = max(len(kernel) for own in kernels for kernel in own) // 2
        sides = [n + min(reach, n - 1 + margin) + margin for n in self.grid.shape]
        return tuple(next_fast_len(side, real=True) for side in sides)

    @property
    def band_indices(self):
        """Band of the frame of each image, an array for each observation."""
        return [channel.band_indices for channel in self._channels]

    @property
    def n_bands(self):
        """Number of bands."""
        return len(self.bands)

    def spectra(self, images):
        """Fourier transforms of images on the model's grid.

        Parameters
        ----------
        images : (n, H, W) array
            Model images.

        Returns
        -------
        (n, ...) complex array
            On the padded squares.
        """
        return rfft2(images, s=self._fft_shape)

    def render(self, cube):
        """Images of a model as every observation sees it.

        Parameters
        ----------
        cube : (B, H, W) array
            Flux per model pixel in each band of the frame.

        Returns
        -------
        list of (B_o, h, w) arrays
            Flux per observed pixel.
        """
        spectra = self.spectra(cube)
        return [channel.render(spectra[channel.band_indices]) for channel in self._channels]

    def adjoint(self, images):
        """The transpose of `render`.

        Parameters
        ----------
        images : list of (B_o, h, w) arrays
            One for each observation.

        Returns
        -------
        (B, H, W) array
            On the model's grid.
        """
        total = np.zeros((self.n_bands, *self._half_shape), complex)
        for channel, own in zip(self._channels, images, strict=True):
            np.add.at(total, channel.band_indices, channel.adjoint(own))
        return self._cropped(irfft2(total, s=self._fft_shape))

    def columns(self, images):
        """What each image looks like alone, with flux 1 per unit in every band.

        Parameters
        ----------
        images : (K, H, W) array
            Morphologies on the model's grid.

        Returns
        -------
        list of (B_o, K, pixels) arrays
            One for each observation; the columns of the linear problem for the SEDs.
        """
        parts = [lit_part(image) for image in images]
        return [channel.columns(images, parts) for channel in self._channels]

    def pull_back(self, images, seds):
        """Gradient with respect to morphologies of the scalar product of `images` with the rendered scene.

        Parameters
        ----------
        images : list of (B_o, h, w) arrays
            One for each observation.
        seds : (K, B) array
            Flux of each source in each band.

        Returns
        -------
        (K, H, W) array
            sum_b A_kb P_b' images_b.
        """
        total = np.zeros((len(seds), *self._half_shape), complex)
        flat = total.reshape(len(seds), -1)
        for channel, own in zip(self._channels, images, strict=True):
            flat += seds[:, channel.band_indices] @ channel.adjoint(own).reshape(len(own), -1)
        return self._cropped(irfft2(total, s=self._fft_shape))

    def curvatures(self):
        """Bounds on the curvature of half chi^2 in a model pixel of unit flux.

        Returns
        -------
        (B,) array
            Largest weight times the largest squared transfer of the band's kernel, summed over observations.
        """
        bounds = np.zeros(self.n_bands)
        for channel in self._channels:
            np.add.at(bounds, channel.band_indices, channel.curvatures)
        return bounds

    def information(self):
        """Fisher information that each band has on each pixel of the model, all others known.

        Returns
        -------
        (B, H, W) array
            The diagonal of P' w P with the weights w of all observations of the band: the inverse variance of the
            flux of one model pixel. Exact on the model's own grid; for observations of other grids the squared
            response is interpolated, good to a per cent where their PSF is sampled well by the model's pixels.
        """
        total = np.zeros((self.n_bands, *self.grid.shape))
        for channel in self._channels:
            np.add.at(total, channel.band_indices, self._cropped(channel.information()))
        return np.maximum(total, 0.0)  # rounding of the transforms, and the sinc's ringing at masks

    @property
    def _half_shape(self):
        return self._fft_shape[0], self._fft_shape[1] // 2 + 1

    def _cropped(self, images):
        return images[:, : self.grid.shape[0], : self.grid.shape[1]]


class _Channel:
    """One observation, its kernels' spectra and its resampling."""

    def __init__(self, frame, observation, kernels, margin):
        self.band_indices = np.array([frame.bands.index(band) for band in observation.bands])
        self.fft_shape = frame._fft_shape
        self.matrix = None
        if margin:
            self.matrix, inside = resampling_matrix(observation.grid, frame.grid, margin)
            observation = _within(observation, inside)
        self.observation = observation
        self.view = tuple(n + 2 * margin for n in frame.grid.shape)
        self.kernels = np.stack([_kernel_spectrum(k, frame.grid.shape, margin, self.fft_shape) for k in kernels])
        self.local = LocalConvolution(kernels, frame.grid.shape, self.fft_shape)
        self.gain = 1.0 if self.matrix is None else observation.grid.pixel_area / frame.grid.pixel_area
        largest = observation.weights.max(axis=(1, 2)) * self.gain
        self.curvatures = largest * (np.abs(self.kernels) ** 2).max(axis=(1, 2))

    def render(self, spectra):
        """(B_o, h, w) images of (B_o, ...) spectra of the model in this channel's bands."""
        images = irfft2(spectra * self.kernels, s=self.fft_shape)[:, : self.view[0], : self.view[1]]
        if self.matrix is None:
            return images
        flat = self.matrix @ images.reshape(len(images), -1).T
        return np.ascontiguousarray(flat.T).reshape(self.observation.shape)

    def columns(self, images, parts):
        """(B_o, K, pixels) images of every morphology; one by one, which stays in the cache."""
        n_bands, height, width = self.observation.shape
        result = np.zeros((n_bands, len(images), height * width))
        shaped = result.reshape(n_bands, len(images), height, width)
        is_local = [self.matrix is None and self.local.fft_shape(part) is not None for part in parts]
        wide = np.flatnonzero(np.logical_not(is_local))
        spectra = rfft2(images[wide], s=self.fft_shape) if len(wide) else ()
        for k, spectrum in zip(wide, spectra, strict=True):
            shaped[:, k] = self.render(spectrum[None])
        for k in np.flatnonzero(is_local):
            if images[k].any():  # a source without light in the frame stays dark
                self.local.add(images[k], parts[k], shaped[:, k])
        return result

    def information(self):
        """(B_o, H', W') sums over the observed pixels of weight times squared response to each model pixel."""
        squares = rfft2(irfft2(self.kernels, s=self.fft_shape) ** 2)
        if self.matrix is None:
            weights, gain = self.observation.weights, 1.0
        else:
            flat = self.matrix.T @ self.observation.weights.reshape(len(squares), -1).T
            weights, gain = np.ascontiguousarray(flat.T).reshape(len(squares), *self.view), self.gain
        return gain * irfft2(rfft2(weights, s=self.fft_shape) * squares.conj(), s=self.fft_shape)

    def adjoint(self, images):
        """Spectra (B_o, ...) of the transpose of `render`."""
        if self.matrix is not None:
            flat = self.matrix.T @ images.reshape(len(images), -1).T
            images = np.ascontiguousarray(flat.T).reshape(len(images), *self.view)
        return rfft2(images, s=self.fft_shape) * self.kernels.conj()


def _within(observation, inside):
    """The observation with weight 0 where the model has no pixels."""
    return Observation.from_arrays(
        observation.images,
        observation.weights * inside,
        psfs=observation.psfs,
        bands=observation.bands,
        grid=observation.grid,
    )


def _kernel_spectrum(kernel, shape, margin, fft_shape):
    """Spectrum of a kernel that shifts by `margin`, cut to the offsets that pixels of the grid can have."""
    half = len(kernel) // 2
    reaches = [min(half, n - 1 + margin) for n in shape]
    offsets = [np.arange(-reach, reach + 1) for reach in reaches]
    padded = np.zeros(fft_shape)
    places = [(offset + margin) % side for offset, side in zip(offsets, fft_shape, strict=True)]
    padded[np.ix_(*places)] = kernel[np.ix_(*(offset + half for offset in offsets))]
    return rfft2(padded)
